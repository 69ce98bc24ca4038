//! A process that runs one smoke test, as the caller that an executable attacks.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use d8_agent::smoke::{Sandbox, SmokeFailure, Subject};
use nix::sys::signal::{SigSet, Signal};
use rustix::{fs::OFlags, pty, termios};
use serde::{Deserialize, Serialize};

use crate::{block_on, own, scratch};

/// Longest run of an executable.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Who requests the test, and what the system allows.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// User and group id; `None` for the user of this test, usually root.
    pub uid: Option<u32>,
    /// Failpoints: what is refused.
    pub refused: &'static str,
}

const NAMESPACES: &str = "smoke.namespaces#*=fail";
const BOTH: &str = "smoke.namespaces#*=fail,smoke.landlock#*=fail";

/// All callers. Only root can test as both.
pub fn callers() -> Vec<Caller> {
    let user = if rustix::process::geteuid().is_root() { Some(rand::random_range(20_000..60_000)) } else { None };
    let mut all: Vec<Caller> = ["", NAMESPACES, BOTH].map(|refused| Caller { uid: user, refused }).into();
    if user.is_some() {
        all.extend(["", NAMESPACES, BOTH].map(|refused| Caller { uid: None, refused }));
    }
    all
}

impl Caller {
    /// Whether the executable runs as the user who requested the test.
    pub fn same_user(self) -> bool {
        self.uid.is_some() || !rustix::process::geteuid().is_root()
    }

    pub fn has_namespaces(self) -> bool {
        self.refused.is_empty()
    }

    /// Whether nothing but the user id restricts the executable.
    pub fn unrestricted(self) -> bool {
        self.refused == BOTH
    }

    /// Returns a directory of this user, in one that others can pass.
    pub fn directory(self) -> tempfile::TempDir {
        let directory = scratch();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(directory.path(), self.uid, self.uid).unwrap();
        directory
    }

    /// Returns this program as a command of the user, through a shell that runs `prepare`.
    pub fn command(self, prepare: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        // By a descriptor: this user may not be allowed to pass the path of this program.
        command.args(["-c", &format!("{prepare}\nexec \"$0\" \"$@\""), "/proc/self/fd/5"]);
        let program = FdMapping { parent_fd: fs::File::open(own()).unwrap().into(), child_fd: 5 };
        command.fd_mappings(vec![program]).unwrap();
        command.env("D8_FAILPOINT", self.refused).current_dir("/");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Runs the smoke test of a script in a process of this user.
    pub fn probe(self, script: &str) -> Probe {
        let directory = self.directory();
        self.probe_in(directory.path(), script, None, "")
    }

    /// As [`Self::probe`], for a script with this text as `program` in a directory.
    pub fn probe_in(self, directory: &Path, script: &str, terminal: Option<&Path>, prepare: &str) -> Probe {
        let program = directory.join("program");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&program, self.uid, self.uid).unwrap();
        let output = self.command(prepare).arg("probe").arg(&program).args(terminal).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{self:?}: {error}: {output:?}"))
    }
}

/// What a probe found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Probe {
    pub result: Result<String, SmokeFailure>,
    /// Keys that were pushed into the terminal.
    pub pushed: String,
    /// Whether the process group in the foreground of the terminal is another one.
    pub foreground_changed: bool,
}

impl Probe {
    pub fn output(&self) -> &str {
        self.result.as_ref().unwrap_or_else(|failure| panic!("{failure}"))
    }
}

/// The terminal of a probe: the side of the terminal emulator, and the path of the other side.
pub fn terminal(owner: Option<u32>) -> (OwnedFd, PathBuf) {
    let emulator = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
    pty::grantpt(&emulator).unwrap();
    pty::unlockpt(&emulator).unwrap();
    let path = PathBuf::from(pty::ptsname(&emulator, Vec::new()).unwrap().into_string().unwrap());
    chown(&path, owner, owner).unwrap();
    (emulator, path)
}

/// Runs a smoke test and prints what it found: `probe <program> [<terminal>]`.
pub fn main(arguments: &[String]) -> ExitCode {
    let program = Path::new(&arguments[0]);
    let terminal = arguments.get(1).map(|path| {
        rustix::process::setsid().unwrap();
        // The first terminal that the leader of a session opens becomes its controlling terminal.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).unwrap()
    });
    // The sandbox inherits it.
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGUSR1]).thread_block().unwrap();
    let group = terminal.as_ref().map(|terminal| termios::tcgetpgrp(terminal).unwrap());
    let subject = Subject::read(program, "program").unwrap();
    let seconds = std::env::var("D8_TEST_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let timeout = seconds.map_or(TIMEOUT, Duration::from_secs);
    let result = block_on(Sandbox::default().test(&subject, timeout, program.parent().unwrap()));
    let foreground_changed = terminal.as_ref().map(|terminal| termios::tcgetpgrp(terminal).unwrap()) != group;
    let mut pushed = [0; 64];
    let pushed = match terminal.map(|mut terminal| terminal.read(&mut pushed)) {
        Some(Ok(count)) => String::from_utf8_lossy(&pushed[..count]).into_owned(),
        Some(Err(error)) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            String::new()
        }
        None => String::new(),
    };
    println!("{}", serde_json::to_string(&Probe { result, pushed, foreground_changed }).unwrap());
    ExitCode::SUCCESS
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
