//! How a smoke test fails, with the cause and the fix.

use std::fmt;

use d8_rpp::Advice;
use serde::{Deserialize, Serialize};

/// Why an executable failed its smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SmokeFailure {
    /// The test could not be run. The executable may be good.
    Setup {
        /// What failed, as the end of a sentence: `it cannot be killed`.
        why: String,
    },
    /// No program can be run from the file system of the store.
    NoExec {
        /// Path that the file system is mounted on.
        mount: String,
    },
    /// The system cannot run the executable: another architecture, a missing interpreter, or not a program.
    Format {
        /// Error of the system.
        why: String,
    },
    /// The executable exited with a status other than 0.
    Exit {
        /// Exit status, 1 to 255.
        status: i32,
        /// First 200 characters of the output.
        output: String,
    },
    /// The executable was ended by a signal.
    Signal {
        /// Number of the signal.
        signal: i32,
        /// First 200 characters of the output.
        output: String,
    },
    /// The executable was still running at the timeout.
    Timeout {
        /// Length of the timeout in seconds.
        seconds: u64,
        /// First 200 characters of the output.
        output: String,
    },
    /// The executable passed, and is not the file that was verified any more.
    Changed,
}

impl fmt::Display for SmokeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |output: &str| if output.is_empty() { String::new() } else { format!(": {output}") };
        match self {
            Self::Setup { why } => write!(f, "the test could not be run: {why}"),
            Self::NoExec { mount } => write!(f, "no program can be run from {mount}, which is mounted with `noexec`"),
            Self::Format { why } => write!(f, "it cannot be run on this machine: {why}"),
            Self::Exit { status, output } => write!(f, "it exited with status {status}{}", suffix(output)),
            Self::Signal { signal, output } => write!(f, "it was ended by signal {signal}{}", suffix(output)),
            Self::Timeout { seconds, output } => write!(f, "it did not end within {seconds} s{}", suffix(output)),
            Self::Changed => f.write_str("its file was changed during the test"),
        }
    }
}

impl SmokeFailure {
    /// Returns the likeliest cause and its fix.
    pub fn advice(&self) -> Advice {
        if let Self::NoExec { mount } = self {
            let cause = "an admin mounted the file system so that no program on it runs".to_owned();
            let fix = format!(
                "install into another root with `--plugins-dir`, or ask an admin: `mount -o remount,exec {mount}`"
            );
            return Advice { cause, fix };
        }
        let (cause, fix) = match self {
            Self::Setup { .. } => (
                "the test needs a process and a directory of its own",
                "free memory or disk space, then run the command again",
            ),
            Self::Format { .. } => (
                "it was built for another platform, or it needs a loader that this machine does not have",
                "choose another version with `--version`, and report it to the publisher",
            ),
            Self::Changed => (
                "the executable changed itself, or another program changed it",
                "do not run it, and report it to the publisher and to the admin of this machine",
            ),
            _ => (
                "the executable does not start here, or supports neither `--version` nor `version`",
                "choose another version with `--version`, and report it to the publisher",
            ),
        };
        Advice { cause: cause.to_owned(), fix: fix.to_owned() }
    }
}
