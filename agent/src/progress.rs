//! What a change tells while it runs, for progress bars and notes.

use std::path::Path;

use d8_crds::values::name::{Component, Tag};

use crate::error::LockHolder;

/// Something that happened.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ProgressEvent<'a> {
    /// Somebody holds the lock; told once for each holder.
    Waiting {
        /// What is changed.
        name: &'a Component,
        /// Who.
        holder: &'a LockHolder,
        /// The lock file.
        path: &'a Path,
    },
    /// A crash's leftovers were put in order.
    Repaired {
        /// What was done.
        what: &'a str,
    },
    /// Bytes of the compressed layer came; told at the start (0), about every 256 KiB and at the end.
    Downloading {
        /// What is changed.
        name: &'a Component,
        /// The version.
        tag: &'a Tag,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// The smoke test begins.
    Testing {
        /// What is changed.
        name: &'a Component,
        /// The version.
        tag: &'a Tag,
    },
    /// The version is active.
    Switched {
        /// What is changed.
        name: &'a Component,
        /// The version.
        tag: &'a Tag,
    },
}

/// Who is told. Called from async code: must not block.
pub trait ProgressReporter: Send + Sync {
    /// Something happened.
    fn report(&self, event: ProgressEvent<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentReporter;

impl ProgressReporter for SilentReporter {
    fn report(&self, _: ProgressEvent<'_>) {}
}
