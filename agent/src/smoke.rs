//! The smoke test: does a downloaded executable start on this machine?
//!
//! The test runs foreign bytes, so it comes only after the digest check. It runs them in a process of this program that
//! is started again as a sandbox ([`child_main`]) and limits what they can do.

mod child;
mod home;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use d8_rpp::Advice;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

pub use self::child::child_main;
use self::{child::TestReport, home::TemporaryHome};
use crate::disk;

/// First argument that tells this program to be the sandbox.
pub const CHILD_ARG: &str = "__d8-smoke-test";

/// Timeout for a plugin.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest run of a d8 executable in its smoke test.
pub const D8_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an executable failed its smoke test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SmokeFailure {
    /// The test could not be run. The executable may be good.
    Setup {
        /// What failed.
        why: String,
    },
    /// The system cannot run the executable: another architecture, a missing interpreter, or not a program.
    Format {
        /// Error of the system.
        why: String,
    },
    /// The executable exited with a status other than 0.
    Exit {
        /// Exit status.
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
}

impl fmt::Display for SmokeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |output: &str| if output.is_empty() { String::new() } else { format!(": {output}") };
        match self {
            Self::Setup { why } => write!(f, "the test could not be run: {why}"),
            Self::Format { why } => write!(f, "it can't be run on this machine: {why}"),
            Self::Exit { status, output } => write!(f, "it exited with status {status}{}", suffix(output)),
            Self::Signal { signal, output } => write!(f, "it was ended by signal {signal}{}", suffix(output)),
            Self::Timeout { seconds, output } => write!(f, "it did not end within {seconds} s{}", suffix(output)),
        }
    }
}

impl SmokeFailure {
    /// Returns the likeliest cause and its fix.
    pub fn advice(&self) -> Advice {
        let (cause, fix) = match self {
            Self::Setup { .. } => (
                "the test needs a process and a directory of its own",
                "free memory or disk space, then repeat the command",
            ),
            Self::Format { .. } => (
                "it was built for another platform, or it needs a loader that this machine does not have",
                "choose another version with `--version`, and report it to the publisher",
            ),
            _ => (
                "the executable does not support `--version` or `version`",
                "choose another version with `--version`, and report it to the publisher",
            ),
        };
        Advice { cause: cause.to_owned(), fix: fix.to_owned() }
    }
}

/// Runs smoke tests in processes of a program, usually this one.
#[derive(Debug, Clone)]
pub struct Sandbox {
    program: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Self {
        // This link works even after the file was replaced.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() { own.to_owned() } else { std::env::current_exe().unwrap_or_default() };
        Self { program }
    }
}

/// User ids that no user has: the range of systemd for dynamic users.
const UIDS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// How long the start of a file that another process has open for writing is retried.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for the sandbox itself, in addition to the timeout of the executable.
const GRACE: Duration = Duration::from_secs(8);

/// Size of the report of the sandbox, in bytes.
const REPORT_BYTES: u64 = 64 * 1024;

/// One run of an executable.
struct Run<'a> {
    file: &'a Path,
    /// Name that the executable is started with (`argv[0]`).
    name: &'a str,
    arguments: &'a [&'a str],
    /// Characters of the output to return.
    wanted: usize,
    /// The timeout, as messages name it.
    timeout: Duration,
    /// The part of the timeout that is left.
    left: Duration,
    scratch: &'a Path,
}

impl Sandbox {
    /// A sandbox in processes of `program`, which calls [`child_main`] if its first argument is [`CHILD_ARG`].
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Runs `file --version`, and if that fails `file version`. Passes if one of them exits with status 0, and returns
    /// the first 200 characters of its output. No process may have the file open for writing. `scratch` is a directory
    /// for temporary files, which are removed.
    ///
    /// If the future is dropped, the test and all processes that it started end.
    pub async fn test(
        &self,
        file: &Path,
        name: &str,
        timeout: Duration,
        scratch: &Path,
    ) -> Result<String, SmokeFailure> {
        let deadline = Instant::now() + timeout;
        let mut first = None;
        for argument in ["--version", "version"] {
            let left = deadline.saturating_duration_since(Instant::now());
            let run = Run { file, name, arguments: &[argument], wanted: child::SHOWN, timeout, left, scratch };
            match self.run(run).await {
                Ok(output) => return Ok(output),
                // Another argument makes no difference to these failures.
                Err(
                    failure @ (SmokeFailure::Setup { .. } | SmokeFailure::Format { .. } | SmokeFailure::Timeout { .. }),
                ) => {
                    return Err(first.unwrap_or(failure));
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        Err(first.unwrap_or(SmokeFailure::Setup { why: "nothing was run".to_owned() }))
    }

    /// Runs `file` once with these arguments, as [`Self::test`] does. Returns the first 4,096 bytes of its output.
    pub async fn output(
        &self,
        file: &Path,
        name: &str,
        arguments: &[&str],
        timeout: Duration,
        scratch: &Path,
    ) -> Result<String, SmokeFailure> {
        self.run(Run { file, name, arguments, wanted: child::OUTPUT, timeout, left: timeout, scratch }).await
    }

    async fn run(&self, run: Run<'_>) -> Result<String, SmokeFailure> {
        let setup = |why: &str| Err(SmokeFailure::Setup { why: why.to_owned() });
        let begun = Instant::now();
        let mut user_namespace = true;
        loop {
            let request = child::TestRequest {
                name: run.name.to_owned(),
                arguments: run.arguments.iter().map(|&argument| argument.to_owned()).collect(),
                path: run.file.to_owned(),
                home: PathBuf::new(),
                uid: rustix::process::geteuid().is_root().then(|| rand::random_range(UIDS)),
                user_namespace,
                timeout: run.left.saturating_sub(begun.elapsed()),
                seconds: run.timeout.as_secs(),
                wanted: run.wanted,
            };
            let report = self.start(request, run.scratch).await;
            match report.map_err(|error| SmokeFailure::Setup { why: error.to_string() })? {
                TestReport::Passed(output) => return Ok(output),
                TestReport::Failed(failure) => return Err(failure),
                TestReport::NoNamespace if user_namespace => user_namespace = false,
                TestReport::NoNamespace => return setup("the sandbox reports a namespace that it was not to enter"),
                TestReport::Busy if begun.elapsed() < BUSY_TIMEOUT => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                TestReport::Busy => return setup("another program has the executable open for writing"),
            }
        }
    }

    /// Starts the sandbox and waits for its report.
    async fn start(&self, mut request: child::TestRequest, scratch: &Path) -> io::Result<TestReport> {
        let home = TemporaryHome::create(scratch, request.uid)?;
        home.path().clone_into(&mut request.home);
        let executable = disk::open_regular(&request.path)?;
        let mut command = Command::new(&self.program);
        command.arg(CHILD_ARG).arg(serde_json::to_string(&request)?).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
            .fd_mappings(vec![FdMapping { parent_fd: executable.into(), child_fd: child::EXECUTABLE_FD }])
            .map_err(io::Error::other)?;
        let mut sandbox = tokio::process::Command::from(command).spawn()?;
        // Closed when this future is dropped. The sandbox then ends the processes that it started, and itself.
        let lifeline = sandbox.stdin.take();
        let report = sandbox.stdout.take();
        let mut json = Vec::new();
        let read = async {
            if let Some(report) = report {
                report.take(REPORT_BYTES).read_to_end(&mut json).await?;
            }
            sandbox.wait().await
        };
        let ended = tokio::time::timeout(request.timeout + GRACE, read).await;
        drop(lifeline);
        let Ok(status) = ended else {
            sandbox.start_kill()?;
            return Err(io::Error::other("the sandbox does not respond"));
        };
        let status = status?;
        serde_json::from_slice(&json)
            .map_err(|_| io::Error::other(format!("the sandbox ended without a report ({status})")))
    }
}
