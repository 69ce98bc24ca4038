//! Runs the fallback d8 for a command that this d8 does not have.

use std::process::Command;

use crate::{
    context::Context,
    exec,
    running_d8::Own,
    terminal::failure::{Code, Failure},
};

/// How many fallbacks this was started by, one through the other: a fallback that comes back here, by
/// whichever way, must end, and one that calls d8 for another of its commands may.
const DEPTH: &str = "D8_FALLBACK_DEPTH";

/// Deeper than scripts call one another.
const DEEPEST: u32 = 8;

/// Becomes the fallback, with all that was typed; returns only if there is none, or it cannot be started.
pub(super) fn exec_fallback(context: &Context) -> Option<Failure> {
    let own = Own::find(context).ok()?;
    let fallback = match own.fallback() {
        Ok(fallback) => fallback?,
        Err(failure) => return Some(failure),
    };
    let depth = std::env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0);
    if depth >= DEEPEST {
        return Some(
            Failure::new(Code::Usage, "the fallback d8 leads back to this one")
                .because(fallback.display().to_string())
                .advise("neither has the command", "d8 cli fallback unset"),
        );
    }
    let mut command = Command::new(&fallback);
    command.args(std::env::args_os().skip(1)).env(DEPTH, (depth + 1).to_string());
    let error = exec::exec(&mut command);
    Some(
        Failure::new(Code::Failed, "the fallback d8 cannot be started")
            .because(fallback.display().to_string())
            .caused_by(&error)
            .advise("it was removed or changed", "d8 cli fallback set PATH, or: d8 cli fallback unset"),
    )
}
