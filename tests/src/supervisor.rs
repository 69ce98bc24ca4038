//! The processes between a test and its servers. They make sure that no server outlives the test, however the
//! test ends.
//!
//! `d8-lab` starts itself again in one of three hidden roles:
//! - `supervise` starts a program and kills its process group when its own stdin closes. Its stdin is a pipe whose
//!   other end only the owner has, so it closes when the owner is killed too.
//! - `sweep` removes a directory when its stdin closes. The owner and all its supervisors have the other end of this
//!   pipe, so the directory is removed after the last of them has ended.
//! - `tie` asks the kernel to kill it when its parent dies, then replaces itself by the program. This covers a
//!   supervisor that is killed. For the kernel, the parent is a *thread*: the thread that starts a tied program
//!   must wait for it.
//!
//! [`crate::process`] decides what is started.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};

/// First argument of the role that supervises one program.
pub const SUPERVISE: &str = "supervise";
/// First argument of the role that removes a directory.
pub const SWEEP: &str = "sweep";
/// First argument of the role that is killed with its parent.
pub const TIE: &str = "tie";

/// The exit code of a shell for a program that cannot be started.
const CANNOT_RUN: u8 = 127;

/// Runs a hidden role if the arguments (without the name of the program) select one.
pub fn role(args: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = args.split_first()?;
    let done = match role.to_str()? {
        SUPERVISE => supervise(rest),
        SWEEP => sweep(rest),
        TIE => tie(rest),
        _ => return None,
    };
    Some(done.unwrap_or_else(|error| {
        eprintln!("d8-lab {}: {error}", role.display());
        ExitCode::from(CANNOT_RUN)
    }))
}

/// Returns a command that runs `program` and is killed with this process.
pub(crate) fn tied(lab: &Path, program: &OsStr) -> Command {
    let mut command = Command::new(lab);
    command.arg(TIE).arg(std::process::id().to_string()).arg(program);
    command
}

/// `supervise PID-FILE STDOUT-FILE PROGRAM ARGS…`
fn supervise(args: &[OsString]) -> io::Result<ExitCode> {
    let [pid_file, stdout, program, args @ ..] = args else { return Err(usage()) };
    // Our stdout is the pipe that keeps the directory. The program must not inherit it.
    let stdout = File::options().create(true).append(true).open(stdout)?;
    let mut child = tied(&std::env::current_exe()?, program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(stdout)
        .process_group(0)
        .spawn()?;
    let group = rustix::process::Pid::from_child(&child);
    std::fs::write(pid_file, group.as_raw_nonzero().to_string())?;
    std::thread::spawn(move || {
        wait_for_close();
        // The group may have ended already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    });
    Ok(exit_code(child.wait()?))
}

/// `sweep DIRECTORY`: removes the directory after stdin is closed.
fn sweep(args: &[OsString]) -> io::Result<ExitCode> {
    let [directory] = args else { return Err(usage()) };
    wait_for_close();
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// `tie PARENT PROGRAM ARGS…`
fn tie(args: &[OsString]) -> io::Result<ExitCode> {
    let [parent, program, args @ ..] = args else { return Err(usage()) };
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
        // The parent may have died before the line above.
        let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
        if now.as_deref() != parent.to_str() {
            return Err(io::Error::other("the parent is gone"));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    let error = Command::new(program).args(args).exec();
    Err(io::Error::new(error.kind(), format!("{}: {error}", program.display())))
}

fn wait_for_close() {
    let mut byte = [0];
    let mut stdin = io::stdin().lock();
    while matches!(stdin.read(&mut byte), Ok(1..)) {}
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn usage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not meant to be started by hand")
}
