//! Completion: the script for a shell, and the answers to what it asks. Nothing here reaches the network;
//! what cannot be read completes to nothing.

use std::{ffi::OsString, io::Write as _};

use clap::builder::StyledStr;
use clap_complete::{
    CompletionCandidate, Shell,
    engine::ArgValueCandidates,
    env::{CompleteEnv, Shells},
};
use d8_agent::{Roots, roots::ROOT_VARIABLE};
use d8_crds::values::text::printable;

use crate::{
    args,
    context::Context,
    failure::{Code, Failure},
    self_update::Own,
};

/// By this variable a shell's script asks.
const VARIABLE: &str = "_D8_COMPLETE";

/// Answers a shell's script; `false`: it was none that asked.
pub(crate) fn answer(words: &[OsString]) -> bool {
    let directory = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(args::command).var(VARIABLE).bin("d8");
    // A shell has no use for an error.
    std::env::var_os(VARIABLE).is_some() && asked.try_complete(words.to_vec(), directory.as_deref()).is_ok()
}

/// Prints the script that makes a shell ask.
///
/// # Errors
/// A shell that can't be asked for, or no stdout.
pub(crate) fn script(shell: Shell) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let Some(completer) = shells.completer(&name) else {
        return Err(Failure::new(Code::Usage, format!("there is no completion for {name}")));
    };
    let mut script = Vec::new();
    let written = completer
        .write_registration(VARIABLE, "d8", "d8", "d8", &mut script)
        .and_then(|()| std::io::stdout().write_all(&script));
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::Failed, "the script cannot be printed").caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// The names of installed plugins, each with what its contract says of it.
pub(crate) fn plugins() -> Vec<CompletionCandidate> {
    let Ok(roots) = Roots::from_env(None) else { return Vec::new() };
    let (stores, _) = roots.for_reading();
    let installed = stores.into_iter().flat_map(|store| {
        let entries = store.list().unwrap_or_default();
        entries.into_iter().map(move |entry| {
            let contract = store.contract(&entry.name).ok().flatten();
            let help = contract.map(|contract| contract.description).filter(|text| !text.is_empty());
            CompletionCandidate::new(entry.name.as_str()).help(help.map(|text| shown(&text)))
        })
    });
    installed.collect()
}

/// The same, and `all`.
pub(crate) fn plugins_or_all() -> Vec<CompletionCandidate> {
    let mut candidates = plugins();
    candidates.push(CompletionCandidate::new("all").help(Some("everything installed".into())));
    candidates
}

/// The versions of d8 in the store, newest first.
fn stored() -> Vec<CompletionCandidate> {
    // Flags of the line that is being typed are not looked at.
    let plugins_dir = std::env::var_os(ROOT_VARIABLE).filter(|root| !root.is_empty()).map(Into::into);
    let context = Context::new(args::Global { plugins_dir, ..args::Global::default() });
    let Ok(own) = Own::find(&context) else { return Vec::new() };
    let current = own.current().ok();
    let Ok(store) = own.store() else { return Vec::new() };
    let versions = store.versions().unwrap_or_default().into_iter().enumerate();
    let candidate = |(order, stored): (usize, d8_agent::d8_store::D8Version)| {
        let active = current.as_ref().is_some_and(|current| current.is(&stored.version));
        let help = if active { "current" } else { "installed" };
        CompletionCandidate::new(stored.tag.as_str()).help(Some(help.into())).display_order(Some(order))
    };
    versions.map(candidate).collect()
}

/// For an argument that is a stored version.
pub(crate) fn of_stored() -> ArgValueCandidates {
    ArgValueCandidates::new(stored)
}

/// For an argument that is an installed plugin.
pub(crate) fn of_plugins() -> ArgValueCandidates {
    ArgValueCandidates::new(plugins)
}

/// The same, or `all`.
pub(crate) fn of_plugins_or_all() -> ArgValueCandidates {
    ArgValueCandidates::new(plugins_or_all)
}

fn shown(text: &str) -> StyledStr {
    printable(text).into_owned().into()
}
