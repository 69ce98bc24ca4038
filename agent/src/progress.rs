//! Events of a running change, for progress bars and notes.

use std::path::Path;

use d8_crds::values::name::{Component, Tag};

use crate::error::LockHolder;

/// An event of a running change.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ProgressEvent<'a> {
    /// Another process holds the lock. Reported once for each holder.
    Waiting {
        /// The component to change.
        name: &'a Component,
        /// The process that holds the lock.
        holder: &'a LockHolder,
        /// Path of the lock file.
        path: &'a Path,
    },
    /// Files that a crash left were repaired.
    Repaired {
        /// The repair, in words.
        what: &'a str,
    },
    /// Bytes of the compressed layer arrived. Reported at the start (0), about every 256 KiB, and at the end.
    Downloading {
        /// The component to change.
        name: &'a Component,
        /// Tag of the version.
        tag: &'a Tag,
        /// Bytes that have arrived.
        done: u64,
        /// Size of the layer in bytes, if it is known.
        total: Option<u64>,
    },
    /// The smoke test begins.
    Testing {
        /// The component to change.
        name: &'a Component,
        /// Tag of the version.
        tag: &'a Tag,
    },
    /// The version is active.
    Switched {
        /// The component that was changed.
        name: &'a Component,
        /// Tag of the version.
        tag: &'a Tag,
    },
}

/// Receives the events of a change. Called from async code: it must not block.
pub trait ProgressReporter: Send + Sync {
    /// Receives one event of a running operation. Must return quickly.
    fn report(&self, event: ProgressEvent<'_>);
}

/// A reporter that ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentReporter;

impl ProgressReporter for SilentReporter {
    fn report(&self, _: ProgressEvent<'_>) {}
}
