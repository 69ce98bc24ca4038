//! `d8 plugins update`: updates installed plugins in parallel. `update all` also installs what policies require.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use d8_agent::cluster::{ClusterView, RecordSelection};
use d8_crds::{
    decisions::{
        plan::Request,
        verdict::{PolicySet, Required},
    },
    values::name::{Component, PluginName},
};

use super::{execute::Execution, options::ExecuteOptions, report::ChangeResults, request};
use crate::{
    args,
    context::Context,
    installed, required,
    terminal::{
        failure::{Advice, Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PluginsUpdateArgs) -> Result<(), Failure> {
    let installed = installed::all(context)?.into_keys().collect::<BTreeSet<_>>();
    match request::parse_names(&args.names)? {
        Some(names) => update_named(context, args, names, &installed).await,
        None => update_all(context, args, installed).await,
    }
}

/// Updates the named plugins. One that fails does not stop the others.
async fn update_named(
    context: &Context,
    args: &args::PluginsUpdateArgs,
    names: Vec<PluginName>,
    installed: &BTreeSet<PluginName>,
) -> Result<(), Failure> {
    let is_one = names.len() == 1;
    let (names, missing): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| installed.contains(name));
    let mut results = ChangeResults::default();
    if !names.is_empty() {
        request::warn_if_waived(context);
        let components: Vec<Component> = names.iter().cloned().map(Component::Plugin).collect();
        let view = context.view(RecordSelection::Named(&components)).await?;
        let policies = Arc::new(view.policy_set());
        results = update(context, args, (view, policies), names, false).await?;
    }
    for name in missing {
        let failure = Failure::new(Code::Failed, format!("{name} is not installed"))
            .advise("only installed plugins can be updated", format!("`d8 plugins install {name}`"));
        results.insert(name, Err(failure));
    }
    let mut failures = print_successes(results);
    // One failure alone is shown with all its causes.
    if is_one && let Some((_, failure)) = failures.pop() { Err(failure) } else { combine(&failures) }
}

/// Updates all plugins that are installed, and installs those that policies require (`docs/policies.md`, rule 24).
async fn update_all(
    context: &Context,
    args: &args::PluginsUpdateArgs,
    installed: BTreeSet<PluginName>,
) -> Result<(), Failure> {
    let view = match context.view(RecordSelection::All).await {
        Ok(view) => view,
        // Without plugins and without a cluster there is nothing to update. A cluster that does not answer may require
        // plugins.
        Err(failure) if installed.is_empty() && failure.code != Code::Unreachable => {
            output::warn(format!("it is not known which plugins policies require: {}", failure.summary()));
            output::print("No plugins are installed.");
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let policies = Arc::new(view.policy_set());
    let missing = required::missing(context, &policies.for_host(context.host(view.caller.person())));
    if installed.is_empty() && missing.is_empty() {
        output::print("No plugins are installed.");
        return Ok(());
    }
    request::warn_if_waived(context);
    for Required { plugin, by } in &missing {
        context.printer.note(format!("{by}: {plugin} is required on this machine and not installed"));
    }
    let names = installed.into_iter().chain(missing.into_iter().map(|required| required.plugin)).collect();
    let results = update(context, args, (view, policies), names, true).await?;
    combine(&print_successes(results))
}

async fn update(
    context: &Context,
    args: &args::PluginsUpdateArgs,
    (view, policies): (ClusterView, Arc<PolicySet>),
    names: Vec<PluginName>,
    is_all: bool,
) -> Result<ChangeResults, Failure> {
    let here = policies.for_host(context.host(view.caller.person()));
    let mut requests = BTreeMap::new();
    for name in names {
        let request = match args.plan.use_major {
            Some(major) => Request::Major(major),
            None => request::newest(context, &here, &name)?,
        };
        requests.insert(name, request);
    }
    let options = ExecuteOptions {
        dry_run: args.plan.dry_run,
        no_dependencies: args.plan.no_dependencies,
        is_update: true,
        is_all,
        ..ExecuteOptions::default()
    };
    Execution { context, view, policies, options }.run(requests).await
}

/// Prints what succeeded. Returns the failures.
fn print_successes(results: ChangeResults) -> Vec<(PluginName, Failure)> {
    let mut failures = Vec::new();
    for (name, result) in results {
        match result {
            Ok(line) => output::print(line),
            Err(failure) => failures.push((name, failure)),
        }
    }
    failures
}

/// Combines the failures of plugins into one.
fn combine(failures: &[(PluginName, Failure)]) -> Result<(), Failure> {
    let Some(code) = combined_code(failures.iter().map(|(_, failure)| failure.code)) else { return Ok(()) };
    let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
    let headline = Failure::new(code, format!("failed to update {}", names.join(", ")));
    Err(failures.iter().fold(headline, |combined, (name, failure)| {
        let advice = failure.advice().iter();
        let of_plugin =
            advice.map(|Advice { cause, fix }| Advice { cause: format!("{name}: {cause}"), fix: fix.clone() });
        combined.because(format!("{name}: {}", failure.summary())).with_advice(of_plugin)
    }))
}

/// Returns the exit code for several failures: the largest of 5, 4 and 3, or 1 if there was any other failure.
fn combined_code(codes: impl Iterator<Item = Code>) -> Option<Code> {
    codes.max_by_key(|code| match code {
        Code::Interrupted => 6,
        Code::Failed | Code::Usage => 5,
        Code::Unreachable => 4,
        Code::Requirements => 3,
        Code::Refused => 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_code_of_several_failures() {
        for (codes, want) in [
            (vec![], None),
            (vec![Code::Refused], Some(Code::Refused)),
            (vec![Code::Refused, Code::Requirements], Some(Code::Requirements)),
            (vec![Code::Unreachable, Code::Requirements], Some(Code::Unreachable)),
            (vec![Code::Failed, Code::Unreachable], Some(Code::Failed)),
        ] {
            assert_eq!(combined_code(codes.into_iter()), want);
        }
    }
}
