//! `d8 cli fallback`: shows and sets the executable that unknown commands are forwarded to.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    args,
    context::Context,
    running_d8::RunningD8,
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
    version,
};

#[derive(Serialize)]
struct FallbackReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// The path was set by `d8 cli fallback set`; else it was found in the store.
    set: bool,
}

pub(crate) fn show(context: &Context, args: &args::FallbackShowArgs) -> Result<(), Failure> {
    let d8 = RunningD8::locate(context)?;
    let report = FallbackReport { path: d8.fallback()?, set: d8.store()?.fallback_path().is_some() };
    let names = report.path.iter().map(|path| path.display());
    output::print_document(args.output.format, &report, names, |report| {
        output::print(match (&report.path, report.set) {
            (None, _) => "No fallback is set. Set one: `d8 cli fallback set PATH`".to_owned(),
            (Some(path), true) => path.display().to_string(),
            (Some(path), false) => format!("{} (found in the store)", path.display()),
        });
    })
}

pub(crate) async fn set(context: &Context, args: &args::FallbackSetArgs) -> Result<(), Failure> {
    let d8 = RunningD8::locate(context)?;
    let path = validate(&args.path, &d8.executable)?;
    let progress = Progress::new(context.printer);
    let store = d8.store()?;
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.set_fallback(&path)
    };
    change.await.map_err(|error| d8.store_failure(error))?;
    output::print(format!("Unknown commands are forwarded to {}.", path.display()));
    Ok(())
}

pub(crate) async fn unset(context: &Context) -> Result<(), Failure> {
    let d8 = RunningD8::locate(context)?;
    let store = d8.store()?;
    if store.fallback_path().is_none() {
        output::print("No fallback is set.");
        return Ok(());
    }
    let progress = Progress::new(context.printer);
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.unset_fallback()
    };
    change.await.map_err(|error| d8.store_failure(error))?;
    output::print(match d8.fallback()? {
        Some(path) => format!("Setting removed; falling back to {} found in the store.", path.display()),
        None => "Setting removed; unknown commands are not forwarded.".to_owned(),
    });
    Ok(())
}

/// Returns the absolute path of an executable that can be the fallback.
fn validate(given: &Path, running: &Path) -> Result<PathBuf, Failure> {
    let invalid = |why: &str| {
        Failure::new(Code::Usage, format!("{} cannot be the fallback: {why}", given.display())).advise(
            "the fallback must be a d8 with other commands, such as the d8 written in Go",
            "d8 cli fallback set PATH",
        )
    };
    let path = std::path::absolute(given).map_err(|_| invalid("the path is empty"))?;
    let target = path.canonicalize().map_err(|_| invalid("it does not exist"))?;
    if !target.is_file() || rustix::fs::access(&target, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(invalid("it is not an executable file"));
    }
    if let Ok(Some(why)) = d8_agent::smoke::unsupported_format(&target) {
        return Err(invalid(&why));
    }
    if target == running || version::has_stamp(&target) {
        return Err(invalid("it has the same commands as this d8"));
    }
    Ok(path)
}
