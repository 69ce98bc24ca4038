//! The smoke test: does a freshly downloaded executable start on this machine?
//!
//! It runs foreign bytes, so it happens after the digest check only, in a program of our own that is
//! re-executed for it ([`child_main`]) and puts limits around them. Safe code throughout.

mod child;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::child::child_main;
use crate::error::Advice;

/// First argument by which the program knows that it is to play the sandbox.
pub const CHILD_ARG: &str = "__d8-smoke-test";

/// How long a plugin has.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a d8 has.
pub const D8_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an executable did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Failure {
    /// The test could not be set up; says nothing about the executable.
    Setup {
        /// What failed.
        why: String,
    },
    /// The system cannot run it: another architecture, a missing interpreter, not a program.
    Format {
        /// What the system said.
        why: String,
    },
    /// It ended with a status other than 0.
    Exit {
        /// The status.
        status: i32,
        /// Its first 200 characters of output.
        output: String,
    },
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Its first 200 characters of output.
        output: String,
    },
    /// It was still running.
    Timeout {
        /// Seconds it had.
        seconds: u64,
        /// Its first 200 characters of output.
        output: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |output: &str| if output.is_empty() { String::new() } else { format!(": {output}") };
        match self {
            Self::Setup { why } => write!(f, "the test could not be run: {why}"),
            Self::Format { why } => write!(f, "it can't be run on this machine: {why}"),
            Self::Exit { status, output } => write!(f, "it exited with status {status}{}", said(output)),
            Self::Signal { signal, output } => write!(f, "it was ended by signal {signal}{}", said(output)),
            Self::Timeout { seconds, output } => write!(f, "it did not end within {seconds} s{}", said(output)),
        }
    }
}

impl Failure {
    /// Cause and fix.
    pub fn advice(&self) -> Advice {
        let (cause, fix) = match self {
            Self::Setup { .. } => (
                "the sandbox needs to start a process of its own and a directory to run it in",
                "free what is short, then repeat",
            ),
            Self::Format { .. } => (
                "the publisher built it for another platform, or it needs a loader this machine lacks",
                "choose another version with --version, and tell its publisher",
            ),
            _ => (
                "the executable does not answer `--version` or `version`",
                "choose another version with --version, and tell its publisher",
            ),
        };
        Advice { cause: cause.to_owned(), fix: fix.to_owned() }
    }
}
