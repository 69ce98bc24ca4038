//! `d8 plugins update`: moves what is installed, in parallel, and tells how each ended.

use d8_agent::view::{View, Wanted};
use d8_crds::{
    name::{Component, PluginName},
    verdict::PolicySet,
};
use futures::{StreamExt as _, stream};

use crate::{
    args,
    catalog::Catalog,
    context::Context,
    failure::{Code, Failure},
    installed, output,
    plugins::{
        decide::Wish,
        install::{Task, plan, warn_if_waived},
        targets,
    },
    progress::Progress,
};

/// How many plugins are worked on at once.
const PARALLEL: usize = 8;

pub(crate) async fn run(context: &Context, args: &args::Update) -> Result<(), Failure> {
    let all = installed::all(context)?;
    let typed = targets(&args.names)?;
    let is_all = typed.is_none();
    let names = typed.unwrap_or_else(|| all.keys().cloned().collect());
    if let Some(missing) = names.iter().find(|name| !all.contains_key(*name)) {
        return Err(Failure::new(Code::Failed, format!("{missing} is not installed"))
            .advise("update moves what is installed", format!("d8 plugins install {missing}")));
    }
    if names.is_empty() {
        output::result("No plugins are installed.");
        return Ok(());
    }
    warn_if_waived(context);
    let components: Vec<Component> = names.iter().cloned().map(Component::Plugin).collect();
    let wanted = if is_all { Wanted::All } else { Wanted::Named(&components) };
    let view = context.view(wanted).await?;
    let policies = view.policy_set();
    let wish = args.use_major.map_or(Wish::Newest, Wish::Major);
    let progress = Progress::new(context.out);
    let results: Vec<(PluginName, Result<String, Failure>)> = stream::iter(names)
        .map(|name| {
            let (view, policies, progress) = (&view, &policies, &progress);
            async move {
                let result = one(context, view, policies, &name, wish, args.dry_run, progress).await;
                (name, result)
            }
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    for (_, result) in &results {
        if let Ok(told) = result {
            output::result(told);
        }
    }
    let failed: Vec<(PluginName, Failure)> =
        results.into_iter().filter_map(|(name, result)| Some((name, result.err()?))).collect();
    if is_all { summary(&failed) } else { failed.into_iter().next().map_or(Ok(()), |(_, failure)| Err(failure)) }
}

async fn one(
    context: &Context,
    view: &View,
    policies: &PolicySet,
    name: &PluginName,
    wish: Wish<'_>,
    dry_run: bool,
    progress: &Progress,
) -> Result<String, Failure> {
    let catalog = Catalog::open(context, view, name).await?;
    let plan = plan(context, policies, &catalog, wish, false).await?;
    Task { context, policies, catalog: &catalog, wish, force: false, dry_run }.carry_out(plan, progress).await
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
