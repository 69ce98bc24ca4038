//! `d8 cli fallback`: the d8 of another kind that has commands which this one has not.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

use crate::{
    args,
    context::Context,
    failure::{Code, Failure},
    output,
    progress::Progress,
    run,
    self_update::{Own, refused},
    version,
};

/// How many fallbacks this was started by, one through the other: a fallback that comes back here, by
/// whichever way, must end, and one that calls d8 for another of its commands may.
const DEPTH: &str = "D8_FALLBACK_DEPTH";

/// Deeper than scripts call one another.
const DEEPEST: u32 = 8;

#[derive(Serialize)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// It was set; else it was found in the store.
    set: bool,
}

pub(crate) fn show(context: &Context, args: &args::FallbackShow) -> Result<(), Failure> {
    let own = Own::find(context)?;
    let document = Document { path: own.fallback()?, set: own.store()?.remembered_fallback().is_some() };
    if let Some(format) = args.output.output {
        let names: Vec<String> = document.path.iter().map(|path| path.display().to_string()).collect();
        return output::document(format, &document, &names);
    }
    output::result(match (&document.path, document.set) {
        (None, _) => "There is no fallback. Set one: d8 cli fallback set PATH".to_owned(),
        (Some(path), true) => path.display().to_string(),
        (Some(path), false) => format!("{} (found in the store)", path.display()),
    });
    Ok(())
}

pub(crate) async fn set(context: &Context, args: &args::FallbackSet) -> Result<(), Failure> {
    let own = Own::find(context)?;
    let path = usable(&args.path, &own.executable)?;
    let progress = Progress::new(context.out);
    let store = own.store()?;
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.set_fallback(&path)
    };
    change.await.map_err(|error| refused(&own, error))?;
    output::result(format!("Commands that d8 has not go to {}.", path.display()));
    Ok(())
}

pub(crate) async fn unset(context: &Context) -> Result<(), Failure> {
    let own = Own::find(context)?;
    if own.store()?.remembered_fallback().is_none() {
        output::result("No fallback was set.");
        return Ok(());
    }
    let progress = Progress::new(context.out);
    let store = own.store()?;
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.unset_fallback()
    };
    change.await.map_err(|error| refused(&own, error))?;
    output::result("The fallback is forgotten.");
    Ok(())
}

/// The absolute path of a program that can be one.
fn usable(given: &Path, own: &Path) -> Result<PathBuf, Failure> {
    let bad = |why: &str| {
        Failure::new(Code::Usage, format!("{} cannot be the fallback: {why}", given.display()))
            .advise("the fallback is a d8 of another kind, such as the former one", "d8 cli fallback set PATH")
    };
    let path = std::path::absolute(given).map_err(|_| bad("it is no path"))?;
    let real = path.canonicalize().map_err(|_| bad("it is not there"))?;
    if !real.is_file() || rustix::fs::access(&real, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(bad("it is not an executable file"));
    }
    if real == own || version::is_ours(&real) {
        return Err(bad("it is a d8 of this kind, which has no other commands"));
    }
    Ok(path)
}

/// Becomes the fallback, with all that was typed; returns only if there is none, or it cannot be started.
pub(crate) fn become_it(context: &Context) -> Option<Failure> {
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
    let error = run::exec(&mut command);
    Some(
        Failure::new(Code::Failed, "the fallback d8 cannot be started")
            .because(fallback.display().to_string())
            .caused_by(&error)
            .advise("it was removed or changed", "d8 cli fallback set PATH, or: d8 cli fallback unset"),
    )
}
