//! `d8 plugins install`.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::{plan::Request, verdict::HostPolicies},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

use super::{execute::Execution, options::ExecuteOptions, request};
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
    let here = policies.for_host(context.host(view.caller.person()));
    let requests = requests(context, args, &here, version.as_ref())?;
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

fn requests(
    context: &Context,
    args: &args::PluginsInstallArgs,
    policies: &HostPolicies<'_>,
    version: Option<&Version>,
) -> Result<BTreeMap<PluginName, Request>, Failure> {
    let request = |name: &PluginName| match (version, args.plan.use_major) {
        (Some(version), _) => Ok(Request::Exact(version.clone())),
        (None, Some(major)) => Ok(Request::Major(major)),
        (None, None) => request::newest(context, policies, name),
    };
    args.names.iter().map(|name| Ok((name.clone(), request(name)?))).collect()
}
