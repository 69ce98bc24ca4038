//! The directory and the servers of a control plane or lab, owned by one process.
//!
//! [`Scratch`] is the directory. It is removed when it is dropped, or by its sweeper process when the owner dies.
//! [`Server`] is a program in the background. It is killed when it is dropped, or by its supervisor process when
//! the owner dies. Both use SIGKILL: these servers have no data to save, and a kube-apiserver can take a minute to
//! end after SIGTERM.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{PipeWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::supervisor::{SUPERVISE, SWEEP};
use crate::{Error, Result, tools};

/// The interval between two checks of a condition.
const POLL: Duration = Duration::from_millis(50);
/// The number of log lines in an error.
const LOG_LINES: usize = 12;

/// A directory outside of the checkout that is removed when its owner ends.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    alive: Option<PipeWriter>,
    sweeper: Child,
}

impl Scratch {
    /// Creates the directory. Other users can pass through it to files that are given to them, and cannot list it.
    pub fn new() -> Result<Self> {
        let (ours, alive) = std::io::pipe().map_err(Error::io("pipe to the sweeper"))?;
        let directory = tempfile::Builder::new()
            .prefix("d8-lab-")
            .disable_cleanup(true)
            .permissions(Permissions::from_mode(0o711))
            .tempdir()
            .map_err(Error::io("temporary directory"))?;
        let path = directory.path().to_owned();
        let lab = tools::lab_binary()?;
        let sweeper = Command::new(&lab)
            .arg(SWEEP)
            .arg(&path)
            .stdin(ours)
            .stdout(Stdio::null())
            // In its own process group: Ctrl-C in a terminal must reach the owner only.
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {}", lab.display())))?;
        Ok(Self { path, alive: Some(alive), sweeper })
    }

    /// Returns the path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a directory in it.
    pub fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(Error::io(path.display().to_string()))?;
        Ok(path)
    }

    /// Writes a file in it that only this user can read. The file is renamed into place, because parallel tests
    /// write and read the same kubeconfigs.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        let fail = || Error::io(path.display().to_string());
        let mut staged = tempfile::NamedTempFile::new_in(&self.path).map_err(fail())?;
        staged.write_all(content.as_ref()).map_err(fail())?;
        staged.persist(&path).map_err(|error| fail()(error.error))?;
        Ok(path)
    }

    /// Starts a program in the background. Its stdout goes to `<name>.out` in this directory, its stderr to
    /// `<name>.log`. It inherits the environment; `setup` may change the command before it starts.
    pub fn start(
        &self,
        name: &str,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
        setup: impl FnOnce(&mut Command),
    ) -> Result<Server> {
        let program = program.as_ref();
        let log = self.path.join(format!("{name}.log"));
        let out = self.path.join(format!("{name}.out"));
        let pid_file = self.path.join(format!("{name}.pid"));
        // Files of an earlier start must not be read as the new server's.
        for stale in [&out, &pid_file] {
            let _ = fs::remove_file(stale);
        }
        let stderr = File::options().create(true).append(true).open(&log).map_err(Error::io(name))?;
        let alive = self.alive.as_ref().map(PipeWriter::try_clone).transpose().map_err(Error::io(name))?;
        let mut command = Command::new(tools::lab_binary()?);
        command.arg(SUPERVISE).arg(&pid_file).arg(&out).arg(program).args(args);
        setup(&mut command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(alive.map_or_else(Stdio::null, Stdio::from))
            .stderr(stderr)
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {name}")))?;
        let lifeline = child.stdin.take();
        Ok(Server { name: name.to_owned(), out, log, pid_file, supervisor: child, lifeline })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.alive = None;
        // The directory stays while a server of it still runs.
        let deadline = Instant::now() + Duration::from_secs(2);
        while matches!(self.sweeper.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A program in the background. It ends with its owner.
#[derive(Debug)]
pub struct Server {
    name: String,
    out: PathBuf,
    log: PathBuf,
    pid_file: PathBuf,
    supervisor: Child,
    lifeline: Option<ChildStdin>,
}

impl Server {
    /// Its stderr so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// Returns the last lines of [`Self::log`].
    pub fn log_end(&self) -> String {
        tail(&self.log())
    }

    /// Its stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.out)
    }

    /// Waits for the first line of its stdout.
    pub fn first_line(&mut self, limit: Duration) -> Result<String> {
        let out = self.out.clone();
        self.wait_for("its first line", limit, || read(&out).split_once('\n').map(|(line, _)| line.trim().to_owned()))
    }

    /// Its process ID, for tests that send signals. It is known shortly after the start.
    pub fn pid(&self) -> Option<i32> {
        fs::read_to_string(&self.pid_file).ok()?.parse().ok()
    }

    /// Its exit status if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Fails with the end of its log if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => {
                Err(Error::Ended { name: self.name.clone(), status: status.to_string(), log: self.log_end() })
            }
        }
    }

    /// Waits until `probe` returns a value. Fails if the program ends, or after `limit`.
    pub fn wait_for<T>(&mut self, what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            self.check()?;
            if let Some(found) = probe() {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let what = format!("{}: {what}", self.name);
                return Err(Error::Timeout { what, seconds: limit.as_secs(), log: self.log_end() });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Kills it with its child processes, and waits until it has ended.
    pub fn kill(&mut self) {
        self.lifeline = None;
        let _ = self.supervisor.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until `probe` returns a value. Fails after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout { what: what.to_owned(), seconds: limit.as_secs(), log: String::new() });
        }
        std::thread::sleep(POLL);
    }
}

/// Reads a file. Empty if the server has not created it yet.
fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
