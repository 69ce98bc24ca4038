//! `d8 cli fallback`: the d8 of another kind that has commands which this one has not.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    args,
    context::Context,
    running_d8::{Own, refused},
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
    version,
};

#[derive(Serialize)]
struct Document {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    /// It was set; else it was found in the store.
    set: bool,
}

pub(crate) fn show(context: &Context, args: &args::FallbackShowArgs) -> Result<(), Failure> {
    let own = Own::find(context)?;
    let document = Document { path: own.fallback()?, set: own.store()?.remembered_fallback().is_some() };
    let names = document.path.iter().map(|path| path.display());
    output::print_document(args.output.format, &document, names, |document| {
        output::print(match (&document.path, document.set) {
            (None, _) => "There is no fallback. Set one: d8 cli fallback set PATH".to_owned(),
            (Some(path), true) => path.display().to_string(),
            (Some(path), false) => format!("{} (found in the store)", path.display()),
        });
    })
}

pub(crate) async fn set(context: &Context, args: &args::FallbackSetArgs) -> Result<(), Failure> {
    let own = Own::find(context)?;
    let path = usable(&args.path, &own.executable)?;
    let progress = Progress::new(context.printer);
    let store = own.store()?;
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.set_fallback(&path)
    };
    change.await.map_err(|error| refused(&own, error))?;
    output::print(format!("Commands that d8 has not go to {}.", path.display()));
    Ok(())
}

pub(crate) async fn unset(context: &Context) -> Result<(), Failure> {
    let own = Own::find(context)?;
    if own.store()?.remembered_fallback().is_none() {
        output::print("No fallback was set.");
        return Ok(());
    }
    let progress = Progress::new(context.printer);
    let store = own.store()?;
    let change = async {
        let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
        locked.unset_fallback()
    };
    change.await.map_err(|error| refused(&own, error))?;
    output::print("The fallback is forgotten.");
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
