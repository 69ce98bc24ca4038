//! `d8 plugins install`.

use std::collections::BTreeMap;

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::{plan::Request, verdict::PolicySet},
    records::policy::MajorUpdates,
    values::name::{Component, PluginName},
};

use crate::{
    args,
    commands::plugins::execute::{self, How},
    context::Context,
    installed,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, args: &args::PluginsInstallArgs) -> Result<(), Failure> {
    let mut named = BTreeMap::new();
    for name in &args.names {
        let version = args.version.as_deref().map(|typed| execute::typed_version(name, typed)).transpose()?;
        named.insert(name.clone(), version);
    }
    warn_if_waived(context);
    let components: Vec<Component> = named.keys().cloned().map(Component::Plugin).collect();
    let view = context.view(RecordSelection::Named(&components)).await?;
    let policies = view.policy_set();
    let mut requests = BTreeMap::new();
    for (name, version) in named {
        let request = match (version, args.plan.use_major) {
            (Some(version), _) => Request::Exact(version),
            (None, Some(major)) => Request::Major(major),
            (None, None) => newest(context, &policies, &name)?,
        };
        requests.insert(name, request);
    }
    let how =
        How { force: args.force, dry_run: args.plan.dry_run, no_dependencies: args.plan.no_dependencies, go_on: false };
    let ended = execute::carry_out(context, &view, requests, how).await?;
    for (_, end) in ended {
        output::print(end?);
    }
    Ok(())
}

/// The newest, within the installed major unless every policy that speaks of majors lets it cross.
pub(crate) fn newest(context: &Context, policies: &PolicySet, name: &PluginName) -> Result<Request, Failure> {
    let active = installed::find(context, name)?.and_then(|found| found.version());
    let component = Component::Plugin(name.clone());
    let guidance = policies.guidance(&context.host(), &component, active.as_ref());
    Ok(if guidance.major_updates == MajorUpdates::Cross { Request::NewestOfAll } else { Request::Newest })
}

pub(crate) fn warn_if_waived(context: &Context) {
    if context.skips_cluster_checks() {
        output::warn("Kubernetes, Deckhouse and module requirements are not checked (--skip-cluster-checks)");
    }
}
