//! The smoke test: does a freshly downloaded executable start on this machine?
//!
//! It runs foreign bytes, so it happens after the digest check only, in a program of our own that is
//! re-executed for it ([`child_main`]) and puts limits around them. Safe code throughout.

mod child;

use std::{
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use command_fds::{CommandFdExt as _, FdMapping};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;

use self::child::Report;
pub use self::child::child_main;
use crate::{disk, error::Advice};

/// First argument by which the program knows that it is to play the sandbox.
pub const CHILD_ARG: &str = "__d8-smoke-test";

/// How long a plugin has.
pub const PLUGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a d8 has.
pub const D8_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an executable did not pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SmokeFailure {
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

impl fmt::Display for SmokeFailure {
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

impl SmokeFailure {
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

/// The program that plays the sandbox: as a rule this very one.
#[derive(Debug, Clone)]
pub struct Sandbox {
    program: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Self {
        // By this link it can be run although the file was replaced meanwhile.
        let own = Path::new("/proc/self/exe");
        let program = if own.exists() { own.to_owned() } else { std::env::current_exe().unwrap_or_default() };
        Self { program }
    }
}

/// Uids of which no user has one: systemd's range for dynamic users.
const UIDS: std::ops::RangeInclusive<u32> = 61_184..=65_519;

/// How long a file that somebody has open for writing is tried again.
const BUSY: Duration = Duration::from_secs(2);

/// How long the sandbox has for itself beside the executable's time.
const GRACE: Duration = Duration::from_secs(8);

impl Sandbox {
    /// A sandbox played by another program, which calls [`child_main`] when its first argument is
    /// [`CHILD_ARG`].
    pub fn of(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Runs `file --version`, and if that fails `file version`; a clean exit of either passes and gives
    /// its first 200 characters of output. Nothing may have the file open for writing any more.
    /// `scratch` is a directory for what the test needs; it leaves nothing there.
    ///
    /// Dropping the future ends the test and all that it started.
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
            match self.run(file, name, &[argument], child::SHOWN, (timeout, left), scratch).await {
                Ok(output) => return Ok(output),
                // Asking in another way changes nothing about these.
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

    /// Runs `file` once with these arguments, as [`Self::test`] does, and gives its first 4,096 bytes.
    pub async fn ask(
        &self,
        file: &Path,
        name: &str,
        arguments: &[&str],
        timeout: Duration,
        scratch: &Path,
    ) -> Result<String, SmokeFailure> {
        self.run(file, name, arguments, child::OUTPUT, (timeout, timeout), scratch).await
    }

    async fn run(
        &self,
        file: &Path,
        name: &str,
        arguments: &[&str],
        wanted: usize,
        (timeout, left): (Duration, Duration),
        scratch: &Path,
    ) -> Result<String, SmokeFailure> {
        let begun = Instant::now();
        let mut user_namespace = true;
        loop {
            let task = child::Task {
                name: name.to_owned(),
                arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
                path: file.to_owned(),
                home: PathBuf::new(),
                uid: rustix::process::geteuid().is_root().then(|| rand::random_range(UIDS)),
                user_namespace,
                timeout: left.saturating_sub(begun.elapsed()),
                seconds: timeout.as_secs(),
                wanted,
            };
            match self.once(task, scratch).await.map_err(|error| SmokeFailure::Setup { why: error.to_string() })? {
                Report::Passed(output) => return Ok(output),
                Report::Failed(failure) => return Err(failure),
                Report::NoNamespace if user_namespace => user_namespace = false,
                Report::NoNamespace => {
                    return Err(SmokeFailure::Setup { why: "it makes namespaces unasked".to_owned() });
                }
                Report::Busy if begun.elapsed() < BUSY => tokio::time::sleep(Duration::from_millis(10)).await,
                Report::Busy => {
                    return Err(SmokeFailure::Setup { why: "another program has it open for writing".to_owned() });
                }
            }
        }
    }

    async fn once(&self, mut task: child::Task, scratch: &Path) -> io::Result<Report> {
        let home = Home::make(scratch, task.uid)?;
        task.home.clone_from(&home.0);
        let executable = disk::open_regular(&task.path)?;
        let mut command = Command::new(&self.program);
        command.arg(CHILD_ARG).arg(serde_json::to_string(&task)?).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
            .fd_mappings(vec![FdMapping { parent_fd: executable.into(), child_fd: child::EXECUTABLE_FD }])
            .map_err(io::Error::other)?;
        let mut sandbox = tokio::process::Command::from(command).spawn()?;
        // Closed when this future is dropped; then the sandbox ends what it started, and itself.
        let lifeline = sandbox.stdin.take();
        let answer = sandbox.stdout.take();
        let mut json = Vec::new();
        let read = async {
            if let Some(answer) = answer {
                answer.take(64 * 1024).read_to_end(&mut json).await?;
            }
            sandbox.wait().await
        };
        let ended = tokio::time::timeout(task.timeout + GRACE, read).await;
        drop(lifeline);
        let Ok(status) = ended else {
            sandbox.start_kill()?;
            return Err(io::Error::other("the sandbox does not answer"));
        };
        let status = status?;
        serde_json::from_slice(&json)
            .map_err(|_| io::Error::other(format!("the sandbox ended without an answer ({status})")))
    }
}

/// The directory that the executable has to itself.
struct Home(PathBuf);

impl Home {
    /// In `scratch`, or in the system's temporary directory if another uid can't get at `scratch`.
    fn make(scratch: &Path, uid: Option<u32>) -> io::Result<Self> {
        let reachable = |path: &Path| {
            path.ancestors().all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.permissions().mode() & 1 != 0))
        };
        let parent = if uid.is_none() || reachable(scratch) {
            scratch.to_owned()
        } else {
            sweep(&std::env::temp_dir());
            std::env::temp_dir()
        };
        let path = parent.join(format!("{HOME_PREFIX}{}", disk::random_name()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let home = Self(path);
        fs::set_permissions(&home.0, fs::Permissions::from_mode(0o700))?;
        if let Some(uid) = uid {
            std::os::unix::fs::chown(&home.0, Some(uid), Some(uid))?;
        }
        Ok(home)
    }
}

/// What the directory's name begins with.
const HOME_PREFIX: &str = "d8-smoke-";

/// After this long nobody uses such a directory any more.
const STALE: Duration = Duration::from_hours(1);

/// Removes what a killed command left in the system's temporary directory: only what belongs to a uid
/// that no user has. In a staging directory it goes with that.
fn sweep(folder: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    for found in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = found.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if found.file_name().as_encoded_bytes().starts_with(HOME_PREFIX.as_bytes())
            && metadata.is_dir()
            && UIDS.contains(&metadata.uid())
            && age > STALE
        {
            let _ = disk::remove_tree(&found.path());
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = disk::remove_tree(&self.0);
    }
}
