//! `d8 plugins install`.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::RecordSelection;
use d8_crds::{
    decisions::plan::Request,
    values::name::{Component, PluginName},
};

use super::{
    execute::{ExecuteOptions, execute},
    request,
};
use crate::{
    args,
    context::Context,
    planning::messages::parse_version,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, args: &args::PluginsInstallArgs) -> Result<(), Failure> {
    let mut versions = BTreeMap::new();
    for name in &args.names {
        let component = Component::Plugin(name.clone());
        let version = args.version.as_deref().map(|typed| parse_version(&component, typed)).transpose()?;
        versions.insert(name.clone(), version);
    }
    request::warn_if_waived(context);
    let components: Vec<Component> = versions.keys().cloned().map(Component::Plugin).collect();
    let view = context.view(RecordSelection::Named(&components)).await?;
    let policies = Arc::new(view.policy_set());
    let mut requests: BTreeMap<PluginName, Request> = BTreeMap::new();
    for (name, version) in versions {
        let request = match (version, args.plan.use_major) {
            (Some(version), _) => Request::Exact(version),
            (None, Some(major)) => Request::Major(major),
            (None, None) => request::newest(context, &policies, &name)?,
        };
        requests.insert(name, request);
    }
    let options = ExecuteOptions {
        force: args.force,
        dry_run: args.plan.dry_run,
        no_dependencies: args.plan.no_dependencies,
        keep_going: false,
    };
    for (_, result) in execute(context, &view, &policies, requests, options).await? {
        output::print(result?);
    }
    Ok(())
}
