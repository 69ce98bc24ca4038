//! `d8 plugins update`: moves what is installed, in parallel, and tells how each ended.

use std::collections::BTreeMap;

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::plan::Request,
    values::name::{Component, PluginName},
};

use crate::{
    args,
    commands::plugins::{
        execute::{self, How},
        install::{newest, warn_if_waived},
        targets,
    },
    context::Context,
    installed,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PluginsUpdateArgs) -> Result<(), Failure> {
    let all = installed::all(context)?;
    let typed = targets(&args.names)?;
    let is_all = typed.is_none();
    let names = typed.unwrap_or_else(|| all.keys().cloned().collect());
    if let Some(missing) = names.iter().find(|name| !all.contains_key(*name)) {
        return Err(Failure::new(Code::Failed, format!("{missing} is not installed"))
            .advise("update moves what is installed", format!("d8 plugins install {missing}")));
    }
    if names.is_empty() {
        output::print("No plugins are installed.");
        return Ok(());
    }
    warn_if_waived(context);
    let components: Vec<Component> = names.iter().cloned().map(Component::Plugin).collect();
    let wanted = if is_all { RecordSelection::All } else { RecordSelection::Named(&components) };
    let view = context.view(wanted).await?;
    let policies = view.policy_set();
    let mut requests = BTreeMap::new();
    for name in names {
        let request = match args.plan.use_major {
            Some(major) => Request::Major(major),
            None => newest(context, &policies, &name)?,
        };
        requests.insert(name, request);
    }
    let how =
        How { force: false, dry_run: args.plan.dry_run, no_dependencies: args.plan.no_dependencies, go_on: is_all };
    let mut failed = Vec::new();
    for (name, end) in execute::carry_out(context, &view, requests, how).await? {
        match end {
            Ok(told) => output::print(told),
            Err(failure) => failed.push((name, failure)),
        }
    }
    summary(&failed)
}

/// All failures in one: 1 if anything failed otherwise, else the largest of 5, 4, 3 that happened.
fn summary(failed: &[(PluginName, Failure)]) -> Result<(), Failure> {
    let Some(code) = worst(failed.iter().map(|(_, failure)| failure.code)) else { return Ok(()) };
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    let failure = Failure::new(code, format!("not updated: {}", names.join(", ")));
    Err(failed.iter().fold(failure, |failure, (name, one)| {
        failure.because(format!("{name}: {}", one.headline())).with_all(one.advice().iter().cloned())
    }))
}

fn worst(codes: impl Iterator<Item = Code>) -> Option<Code> {
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
    fn the_code_of_many() {
        for (codes, want) in [
            (vec![], None),
            (vec![Code::Refused], Some(Code::Refused)),
            (vec![Code::Refused, Code::Requirements], Some(Code::Requirements)),
            (vec![Code::Unreachable, Code::Requirements], Some(Code::Unreachable)),
            (vec![Code::Failed, Code::Unreachable], Some(Code::Failed)),
        ] {
            assert_eq!(worst(codes.into_iter()), want);
        }
    }
}
