//! Replaces this process with another program.

use std::{
    io::ErrorKind,
    os::unix::process::CommandExt as _,
    process::Command,
    time::{Duration, Instant},
};

/// How long `exec` retries on "text file busy". A process forked during an update inherits the open descriptor
/// of the new file until its own `exec`; the longest measured was 20 ms.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Replaces this process with `command`. Returns only on failure. Retries for [`BUSY_TIMEOUT`] while another
/// process has the file open for writing.
pub(crate) fn exec(command: &mut Command) -> std::io::Error {
    let started = Instant::now();
    loop {
        let error = command.exec();
        if error.kind() != ErrorKind::ExecutableFileBusy || started.elapsed() > BUSY_TIMEOUT {
            return error;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
