//! Forwards unknown commands to the fallback.

use std::process::Command;

use crate::{
    context::Context,
    exec,
    running_d8::RunningD8,
    terminal::failure::{Advice, Code, Failure},
};

/// Environment variable that counts how many fallbacks started each other. A fallback may call d8 for another of its
/// commands; one that forwards the same command back must end.
const DEPTH_VARIABLE: &str = "D8_FALLBACK_DEPTH";

/// Maximum depth. Scripts do not nest this deep.
const MAX_DEPTH: u32 = 8;

/// Replaces this process with the fallback and its unchanged arguments. Returns `None` if there is no fallback, else
/// why it did not start.
pub(super) fn exec_fallback(context: &Context) -> Option<Failure> {
    let d8 = RunningD8::locate(context).ok()?;
    let fallback = match d8.fallback() {
        Ok(fallback) => fallback?,
        Err(failure) => return Some(failure),
    };
    let depth = std::env::var(DEPTH_VARIABLE).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0);
    if depth >= MAX_DEPTH {
        return Some(
            Failure::new(Code::Usage, "the fallback forwards the command back to this d8")
                .because(fallback.display().to_string())
                .advise("neither this d8 nor the fallback has the command", "remove the fallback with `d8 cli fallback unset`, or set another one with `d8 cli fallback set PATH`"),
        );
    }
    let mut command = Command::new(&fallback);
    command.args(std::env::args_os().skip(1)).env(DEPTH_VARIABLE, (depth + 1).to_string());
    let error = exec::exec(&mut command);
    let advice = Advice {
        cause: "the file was removed or changed, or no program can be run from its file system".to_owned(),
        fix: "set another one with `d8 cli fallback set PATH`, or remove the setting with `d8 cli fallback unset`"
            .to_owned(),
    };
    Some(exec::start_failure("failed to start the fallback".to_owned(), &fallback, &error, None, advice))
}
