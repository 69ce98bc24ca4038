//! Replaces this process with another program.

use std::{
    io::{self, ErrorKind},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use d8_agent::smoke::{SmokeFailure, unsupported_format};
use d8_crds::values::name::Component;

use crate::terminal::failure::{Advice, Code, Failure};

/// How long `exec` retries on "text file busy". A process forked during an update inherits the open descriptor
/// of the new file until its own `exec`; the longest measured was 20 ms.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Replaces this process with `command`, whose program is a path. Returns only on failure. Retries for [`BUSY_TIMEOUT`]
/// while another process has the file open for writing.
pub(crate) fn exec(command: &mut Command) -> io::Error {
    // `execvp` of some systems passes a file that the kernel does not recognise to a shell. A file that may be run and
    // not read is left to the kernel.
    if let Ok(Some(why)) = unsupported_format(Path::new(command.get_program())) {
        return io::Error::other(why);
    }
    let started = Instant::now();
    loop {
        let error = command.exec();
        if error.kind() != ErrorKind::ExecutableFileBusy || started.elapsed() > BUSY_TIMEOUT {
            return error;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the failure of [`exec`]: `advice` unless the cause is known. `component` is what the program belongs to, `None`
/// for a program outside of the stores.
pub(crate) fn start_failure(
    headline: String,
    program: &Path,
    error: &io::Error,
    component: Option<&Component>,
    advice: Advice,
) -> Failure {
    let failure = Failure::new(Code::Failed, headline).because(program.display().to_string());
    let refused = error.kind() == ErrorKind::PermissionDenied;
    match d8_agent::noexec_mount(program).filter(|_| refused) {
        Some(mount) => {
            let refused = SmokeFailure::NoExec { mount: mount.display().to_string() };
            let known = component.map_or(advice, |component| refused.advice(component));
            failure.because(refused.to_string()).with_advice([known])
        }
        None => failure.caused_by(error).with_advice([advice]),
    }
}
