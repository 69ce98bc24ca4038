//! `d8 plugins install`.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::plan::Request,
    values::name::{Component, PluginName},
};

use super::{
    execute::{ExecuteOptions, Execution},
    request,
};
use crate::{
    args,
    context::Context,
    planning::messages::parse_version,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, args: &args::PluginsInstallArgs) -> Result<(), Failure> {
    let components: Vec<Component> = args.names.iter().cloned().map(Component::Plugin).collect();
    let version = match (&components[..], &args.version) {
        ([first, ..], Some(typed)) => Some(parse_version(first, typed)?),
        _ => None,
    };
    request::warn_if_waived(context);
    let view = context.view(RecordSelection::Named(&components)).await?;
    let policies = Arc::new(view.policy_set());
    let mut requests: BTreeMap<PluginName, Request> = BTreeMap::new();
    for name in &args.names {
        let request = match (&version, args.plan.use_major) {
            (Some(version), _) => Request::Exact(version.clone()),
            (None, Some(major)) => Request::Major(major),
            (None, None) => request::newest(context, &policies, name)?,
        };
        requests.insert(name.clone(), request);
    }
    let options = ExecuteOptions {
        force: args.force,
        verify: true,
        dry_run: args.plan.dry_run,
        no_dependencies: args.plan.no_dependencies,
        ..ExecuteOptions::default()
    };
    for (_, result) in (Execution { context, view, policies, options }).run(requests).await? {
        output::print(result?);
    }
    Ok(())
}
