//! The smoke test: does a downloaded executable start on this machine?
//!
//! The test runs foreign bytes, so it comes only after the digest check. It runs them in a process of this program that
//! is started again as a sandbox ([`child_main`]) and limits what they can do. [`resources`] lists what the executable
//! can reach. After a test that passed, the file is compared with what was verified.

mod child;
mod descendants;
mod failure;
mod format;
mod home;
#[cfg(target_os = "linux")]
mod landlock;
mod protocol;
mod resources;
mod starter;
mod subject;
mod supervisor;
#[cfg(target_os = "linux")]
mod view;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::io::AsyncReadExt as _;

pub use self::{child::child_main, failure::SmokeFailure, format::unsupported as unsupported_format, subject::Subject};
use self::{
    home::TemporaryHome,
    protocol::{Stage, TestReport, TestRequest},
};
use crate::disk::{self, failpoint};

/// First argument that tells this program to be the sandbox.
pub const CHILD_ARG: &str = "__d8-smoke-test";

/// Timeout for a plugin.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest run of a d8 executable in its smoke test.
pub const D8_TIMEOUT: Duration = Duration::from_secs(30);

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

/// Time for the sandbox itself, in addition to the timeout of the executable. It is short of processor time if the
/// executable starts many processes.
const GRACE: Duration = Duration::from_secs(30);

/// Size of the report of the sandbox, in bytes.
const REPORT_BYTES: u64 = 64 * 1024;

/// One run of an executable.
struct Run<'a> {
    subject: &'a Subject<'a>,
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

    /// Runs the executable with `--version`, and if that fails with `version`. Passes if one of them exits with status 0
    /// and the file is still what was verified, and returns the first 200 characters of the output. No process may have
    /// the file open for writing. `scratch` is a directory for temporary files, which are removed.
    ///
    /// If the future is dropped, the test and all processes that it started end.
    ///
    /// # Errors
    /// [`SmokeFailure::Changed`] if the file is not what was verified, however the test ended: its failure says nothing
    /// about the version.
    pub async fn test(&self, subject: &Subject<'_>, timeout: Duration, scratch: &Path) -> Result<String, SmokeFailure> {
        let deadline = Instant::now() + timeout;
        let mut first = None;
        for argument in ["--version", "version"] {
            let left = deadline.saturating_duration_since(Instant::now());
            let run = Run { subject, arguments: &[argument], wanted: protocol::SHOWN, timeout, left, scratch };
            match self.run(run).await {
                Ok(output) => return subject.check_unchanged().await.map(|()| output),
                // Another argument makes no difference to these failures.
                Err(
                    failure @ (SmokeFailure::Setup { .. }
                    | SmokeFailure::NoExec { .. }
                    | SmokeFailure::Format { .. }
                    | SmokeFailure::Timeout { .. }),
                ) => {
                    first = first.or(Some(failure));
                    break;
                }
                Err(failure) => first = first.or(Some(failure)),
            }
        }
        let failure = first.unwrap_or(SmokeFailure::Setup { why: "nothing was run".to_owned() });
        Err(match subject.check_unchanged().await {
            Err(SmokeFailure::Changed) => SmokeFailure::Changed,
            _ => failure,
        })
    }

    /// Runs the executable once with these arguments, as [`Self::test`] does. Returns the first 4,096 bytes of its
    /// output.
    pub async fn output(
        &self,
        subject: &Subject<'_>,
        arguments: &[&str],
        timeout: Duration,
        scratch: &Path,
    ) -> Result<String, SmokeFailure> {
        let output =
            self.run(Run { subject, arguments, wanted: protocol::OUTPUT, timeout, left: timeout, scratch }).await;
        subject.check_unchanged().await.and(output)
    }

    async fn run(&self, run: Run<'_>) -> Result<String, SmokeFailure> {
        let setup = |why: &str| Err(SmokeFailure::Setup { why: why.to_owned() });
        let begun = Instant::now();
        if let Some(mount) = disk::noexec_mount(run.subject.file) {
            return Err(SmokeFailure::NoExec { mount: mount.display().to_string() });
        }
        let mut user_namespace = true;
        loop {
            let request = TestRequest {
                name: run.subject.name.to_owned(),
                arguments: run.arguments.iter().map(|&argument| argument.to_owned()).collect(),
                path: run.subject.file.to_owned().into(),
                home: PathBuf::new().into(),
                hidden: std::env::home_dir().into_iter().map(Into::into).collect(),
                uid: rustix::process::geteuid().is_root().then(|| rand::random_range(UIDS)),
                namespaces: failpoint::hit("smoke.namespaces").is_ok(),
                landlock: failpoint::hit("smoke.landlock").is_ok(),
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
    async fn start(&self, mut request: TestRequest, scratch: &Path) -> io::Result<TestReport> {
        resources::protect_memory();
        let home = TemporaryHome::create(scratch, request.uid)?;
        request.home = home.path().to_owned().into();
        let executable = disk::open_regular(&request.path)?;
        let mut command = Command::new(&self.program);
        command.args(Stage::Supervise.arguments(&request)?).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
            .fd_mappings(vec![FdMapping { parent_fd: executable.into(), child_fd: protocol::EXECUTABLE_FD }])
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
        // It is not killed: it still has to end the processes of the executable, and then ends itself.
        let Ok(status) = ended else { return Err(io::Error::other("the sandbox does not respond")) };
        let status = status?;
        serde_json::from_slice(&json)
            .map_err(|_| io::Error::other(format!("the sandbox ended without a report ({status})")))
    }
}
