//! The two processes of the sandbox: the supervisor, and the starter, which becomes the executable. Both are this
//! program, with a [`Stage`] and a [`TestRequest`] as arguments.
//!
//! The supervisor stays the parent of the executable. It reads only the first bytes of the executable and its output,
//! and writes and unpacks nothing.

use std::{
    fs,
    io::{self, Write as _},
};

use super::{
    protocol::{Stage, TestRequest},
    starter, supervisor,
};

/// Runs as a process of the sandbox. Call this first in `main` if the first argument is [`super::CHILD_ARG`]. Returns
/// the exit status, or does not return in the process that becomes the executable.
pub fn child_main() -> i32 {
    let request = std::env::args().nth(2).and_then(|json| serde_json::from_str(&json).ok());
    let Some((stage, request)): Option<(Stage, TestRequest)> = request else { return 2 };
    match stage {
        Stage::Supervise => {
            let report = supervisor::run(&request);
            let _ = fs::remove_dir_all(&*request.home);
            let Ok(json) = serde_json::to_vec(&report) else { return 1 };
            i32::from(io::stdout().write_all(&json).is_err())
        }
        Stage::Start => starter::run(&request),
    }
}
