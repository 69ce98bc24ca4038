//! How a smoke test fails, with the cause and the fix.

use std::fmt;

use d8_crds::values::name::Component;
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
    /// Returns the likeliest cause and its fix, for a version of this component.
    pub fn advice(&self, component: &Component) -> Advice {
        if let Self::NoExec { mount } = self {
            return noexec_advice(mount, component);
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

/// Returns the advice for a store on a file system that no program can be run from. The store of d8 is where d8 runs from,
/// or a default.
fn noexec_advice(mount: &str, component: &Component) -> Advice {
    let cause = "an admin mounted the file system so that no program on it runs".to_owned();
    let remount = format!("ask an admin: `mount -o remount,exec {mount}`");
    let fix = match component {
        Component::Plugin(_) => format!("install into another root with `--plugins-dir`, or {remount}"),
        Component::D8 => remount,
    };
    Advice { cause, fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_without_programs_has_a_fix_that_helps_the_component() {
        let refused = SmokeFailure::NoExec { mount: "/home".to_owned() };
        let remount = "`mount -o remount,exec /home`";
        for (component, other_root) in [(Component::Plugin("a".parse().unwrap()), true), (Component::D8, false)] {
            let fix = refused.advice(&component).fix;
            assert_eq!(
                (fix.contains("--plugins-dir"), fix.contains(remount)),
                (other_root, true),
                "{component}: {fix}"
            );
        }
    }
}
