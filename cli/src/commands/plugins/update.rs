//! `d8 plugins update`: updates installed plugins in parallel.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::plan::Request,
    values::name::{Component, PluginName},
};

use super::{
    execute::{ExecuteOptions, Execution},
    report::ChangeResults,
    request,
};
use crate::{
    args,
    context::Context,
    installed,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PluginsUpdateArgs) -> Result<(), Failure> {
    let installed = installed::all(context)?;
    let given = request::parse_names(&args.names)?;
    let is_all = given.is_none();
    let names = given.unwrap_or_else(|| installed.keys().cloned().collect());
    if let Some(missing) = names.iter().find(|name| !installed.contains_key(*name)) {
        return Err(Failure::new(Code::Failed, format!("{missing} is not installed"))
            .advise("only installed plugins can be updated", format!("`d8 plugins install {missing}`")));
    }
    if names.is_empty() {
        output::print("No plugins are installed.");
        return Ok(());
    }
    let results = update(context, args, names, is_all).await?;
    let mut failures = Vec::new();
    for (name, result) in results {
        match result {
            Ok(line) => output::print(line),
            Err(failure) => failures.push((name, failure)),
        }
    }
    combine(&failures)
}

async fn update(
    context: &Context,
    args: &args::PluginsUpdateArgs,
    names: Vec<PluginName>,
    is_all: bool,
) -> Result<ChangeResults, Failure> {
    request::warn_if_waived(context);
    let components: Vec<Component> = names.iter().cloned().map(Component::Plugin).collect();
    let records = if is_all { RecordSelection::All } else { RecordSelection::Named(&components) };
    let view = context.view(records).await?;
    let policies = Arc::new(view.policy_set());
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
        keep_going: is_all,
        ..ExecuteOptions::default()
    };
    Execution { context, view, policies, options }.run(requests).await
}

/// Combines the failures of plugins into one.
fn combine(failures: &[(PluginName, Failure)]) -> Result<(), Failure> {
    let Some(code) = combined_code(failures.iter().map(|(_, failure)| failure.code)) else { return Ok(()) };
    let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
    let headline = Failure::new(code, format!("failed to update {}", names.join(", ")));
    Err(failures.iter().fold(headline, |combined, (name, failure)| {
        combined.because(format!("{name}: {}", failure.summary())).with_advice(failure.advice().iter().cloned())
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
