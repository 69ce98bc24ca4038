//! The starter: gives up what the executable must not have, then becomes the executable.

use std::{
    fs,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::io::Errno;

use super::{
    SmokeFailure, format,
    protocol::{EXECUTABLE_FD, TestReport, TestRequest},
    resources, supervisor,
};

/// Becomes the executable. Returns only if that fails, after it has reported why to its standard input, a pipe that the
/// start of the executable closes.
pub(super) fn run(request: &TestRequest) -> i32 {
    let Ok(pipe) = io::stdin().as_fd().try_clone_to_owned() else { return 1 };
    let report = start(request).unwrap_or_else(|error| TestReport::setup("cannot start it", &error));
    let _ = serde_json::to_vec(&report).map(|json| fs::File::from(pipe).write_all(&json));
    1
}

/// Returns why the executable could not be started.
fn start(request: &TestRequest) -> io::Result<TestReport> {
    resources::lower_priority();
    resources::reset_signals()?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let (program, home) = isolate(request);
    // Closed by the start of the executable.
    let (program, _executable) = program.map_or_else(|| open_program(request), |path| Ok((path, None)))?;
    resources::drop_identity(request.uid)?;
    #[cfg(target_os = "linux")]
    {
        // A change of the user id resets this.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    let mut command = Command::new(program);
    command.arg0(&request.name).args(&request.arguments).env_clear().current_dir(&home).stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").env("HOME", &home).env("TMPDIR", &home).env("LANG", "C");
    let error = command.exec();
    Ok(match Errno::from_io_error(&error) {
        Some(Errno::TXTBSY) => TestReport::Busy,
        Some(Errno::NOEXEC | Errno::NOENT | Errno::INVAL) => {
            TestReport::Failed(SmokeFailure::Format { why: error.to_string() })
        }
        _ => TestReport::setup("cannot start it", &error),
    })
}

/// Returns a path of an executable without a path that its user can pass, and the file behind it.
fn open_program(request: &TestRequest) -> io::Result<(PathBuf, Option<fs::File>)> {
    let inherited = supervisor::inherited_program(request);
    // The interpreter opens it after the start.
    if !cfg!(target_os = "linux") || format::is_script(&inherited)? {
        return Ok((inherited, None));
    }
    let executable = fs::File::open(inherited)?;
    let _ = nix::unistd::close(EXECUTABLE_FD);
    Ok((format!("/proc/self/fd/{}", executable.as_raw_fd()).into(), Some(executable)))
}

/// Enters the namespaces that this process may create. Returns the path of the executable, if it has one, and of its
/// home.
#[cfg(target_os = "linux")]
fn isolate(request: &TestRequest) -> (Option<PathBuf>, PathBuf) {
    use std::path::Path;

    use super::{landlock, view};
    use nix::sched::{CloneFlags, unshare};
    // The kernel kills this process first when memory is short.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let mut view = None;
    if request.namespaces {
        let _ = unshare(CloneFlags::CLONE_NEWNET);
        let _ = unshare(CloneFlags::CLONE_NEWIPC);
        view = view::enter(request);
    }
    let home = view.as_ref().map_or_else(|| request.home.to_path_buf(), |view| view.home.clone());
    if request.landlock {
        let shared_memory = view.is_some().then_some(Path::new("/dev/shm"));
        landlock::restrict(&[Some(home.as_path()), shared_memory]);
    }
    let program = view.and_then(|view| view.program);
    if program.is_some() {
        let _ = nix::unistd::close(EXECUTABLE_FD);
    }
    (program, home)
}

/// Returns the path of the home.
#[cfg(not(target_os = "linux"))]
fn isolate(request: &TestRequest) -> (Option<PathBuf>, PathBuf) {
    (None, request.home.to_path_buf())
}
