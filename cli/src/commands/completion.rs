//! `d8 completion`: prints completion scripts and answers their requests. Never uses the network; a value that
//! cannot be read has no candidates.

use std::{ffi::OsString, process::ExitCode};

use clap_complete::{
    CompletionCandidate, Shell,
    engine::{ArgValueCandidates, SubcommandCandidates},
    env::{CompleteEnv, Shells},
};
use d8_agent::d8_store::D8Version;
use d8_crds::values::text::printable;

use crate::{
    args,
    context::Context,
    running_d8::RunningD8,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// The variable that a completion script sets to request candidates.
const VARIABLE: &str = "_D8_COMPLETE";

/// Answers the request of a completion script, and returns the exit code. Returns `None` if this process was not
/// started by one.
pub(crate) fn answer(words: &[OsString]) -> Option<ExitCode> {
    std::env::var_os(VARIABLE)?;
    let directory = std::env::current_dir().ok();
    let completer = CompleteEnv::with_factory(command).var(VARIABLE).bin("d8");
    match completer.try_complete(words.to_vec(), directory.as_deref()) {
        Ok(answered) => answered.then_some(ExitCode::SUCCESS),
        // A shell cannot show an error here.
        Err(_) => Some(ExitCode::FAILURE),
    }
}

/// Prints the completion script of a shell.
///
/// # Errors
/// An unsupported shell.
pub(crate) fn print_script(shell: Shell) -> Result<(), Failure> {
    let shells = Shells::builtins();
    let name = shell.to_string();
    let Some(completer) = shells.completer(&name) else {
        return Err(Failure::new(Code::Usage, format!("completion for {name} is not supported"))
            .advise("d8 has no completion script for this shell", "`d8 completion --help`"));
    };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "d8", "d8", "d8", &mut script)
        .map_err(|error| Failure::new(Code::Failed, "failed to write the completion script").caused_by(&error))?;
    output::print_raw(&script);
    Ok(())
}

/// Returns the command tree with candidates for names and versions.
fn command() -> clap::Command {
    add_candidates(args::command()).add(SubcommandCandidates::new(installed_plugins))
}

fn add_candidates(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    command
        .mut_args(|arg| match candidates(&name, arg.get_id().as_str()) {
            Some(candidates) => arg.add(candidates),
            None => arg,
        })
        .mut_subcommands(add_candidates)
}

/// Returns the candidates for an argument of a command, both by name.
fn candidates(command: &str, arg: &str) -> Option<ArgValueCandidates> {
    match (command, arg) {
        ("install", "names") | ("why", "name") => Some(ArgValueCandidates::new(installed_plugins)),
        ("update" | "remove", "names") => Some(ArgValueCandidates::new(installed_plugins_or_all)),
        ("use", "version") => Some(ArgValueCandidates::new(stored_versions)),
        _ => None,
    }
}

/// Returns the context of a completion. Flags on the completed line are not evaluated.
fn context() -> Context {
    Context::new(args::GlobalArgs::of_environment(), false)
}

/// Returns the names of installed plugins, with the description in each contract.
fn installed_plugins() -> Vec<CompletionCandidate> {
    let (stores, _) = context().roots().for_reading();
    let installed = stores.into_iter().flat_map(|store| {
        let names = store.names().unwrap_or_default();
        names.into_iter().map(move |name| {
            let contract = store.contract(&name).ok().flatten();
            let help = contract.map(|contract| contract.description).filter(|text| !text.is_empty());
            CompletionCandidate::new(name.as_str()).help(help.map(|text| printable(&text).into_owned().into()))
        })
    });
    installed.collect()
}

fn installed_plugins_or_all() -> Vec<CompletionCandidate> {
    let mut candidates = installed_plugins();
    candidates.push(CompletionCandidate::new("all").help(Some("all installed plugins".into())));
    candidates
}

/// Returns the versions of d8 in the store, newest first.
fn stored_versions() -> Vec<CompletionCandidate> {
    let context = context();
    let Ok(own) = RunningD8::locate(&context) else { return Vec::new() };
    let current = own.current().ok();
    let Ok(store) = own.store() else { return Vec::new() };
    let versions = store.versions().unwrap_or_default().into_iter().enumerate();
    let candidate = |(order, stored): (usize, D8Version)| {
        let active = current.as_ref().is_some_and(|current| current.is(&stored.version));
        let help = if active { "current" } else { "installed" };
        CompletionCandidate::new(stored.tag.as_str()).help(Some(help.into())).display_order(Some(order))
    };
    versions.map(candidate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the paths of the arguments that have candidates.
    fn completed(path: &str, command: &clap::Command) -> Vec<String> {
        let args = command.get_arguments().filter(|arg| arg.get::<ArgValueCandidates>().is_some());
        let args = args.map(|arg| format!("{path}{}", arg.get_id()));
        let below = command
            .get_subcommands()
            .flat_map(|subcommand| completed(&format!("{path}{} ", subcommand.get_name()), subcommand));
        args.chain(below).collect()
    }

    #[test]
    fn arguments_with_candidates() {
        let plugins = ["install names", "update names", "why name", "remove names"];
        let expected: Vec<String> = plugins
            .iter()
            .map(|arg| format!("plugins {arg}"))
            .chain(["cli use version".to_owned()])
            .chain(plugins.iter().map(|arg| format!("cli plugins {arg}")))
            .collect();
        assert_eq!(completed("", &command()), expected);
        command().debug_assert();
    }
}
