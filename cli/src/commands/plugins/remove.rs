//! `d8 plugins remove`: removes plugins, unless a policy requires them.

use std::collections::BTreeMap;

use d8_agent::cluster::Caller;
use d8_crds::{
    decisions::{explain, verdict::PolicySet},
    values::{name::PluginName, spelling::nearest},
};

use super::request::parse_names;
use crate::{
    args,
    context::{Context, PoliciesInForce},
    installed::{self, InstalledPlugin},
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PluginsRemoveArgs) -> Result<(), Failure> {
    let all = installed::all(context)?;
    let names = if let Some(names) = parse_names(&args.names)? {
        names
    } else {
        let names: Vec<PluginName> = all.keys().cloned().collect();
        if names.is_empty() {
            output::print("No plugins are installed.");
            return Ok(());
        }
        confirm(&names, args.yes).await?;
        names
    };
    // Nobody waits for the cluster if there is nothing to remove.
    let is_any = names.iter().any(|name| all.contains_key(name));
    let policies = if is_any { context.policies_in_force().await? } else { PoliciesInForce::default() };
    for name in &names {
        let Some(plugin) = all.get(name) else {
            output::print(format!("{name} is not installed."));
            if let Some(near) = nearest(name.as_str(), all.keys().map(PluginName::as_str)) {
                context.printer.note(format!("{near} is installed; to remove it: `d8 plugins remove {near}`"));
            }
            continue;
        };
        check_policies(context, &policies, name)?;
        for dependent in dependents(&all, name, &names) {
            output::warn(format!("{dependent} needs {name} and will not run without it"));
        }
        remove(context, plugin, name).await?;
    }
    Ok(())
}

/// Fails if a policy forbids the removal.
fn check_policies(context: &Context, policies: &PoliciesInForce, name: &PluginName) -> Result<(), Failure> {
    let allowed =
        |(caller, set): &(Caller, PolicySet)| set.for_host(context.host(caller.person())).remove_allowed(name);
    let refused = policies.sets.iter().try_for_each(allowed);
    refused.map_err(|reason| {
        let failure = Failure::new(Code::Refused, format!("{name} may not be removed"));
        let failure = failure.because(explain::to_person(&reason));
        match &policies.unreachable {
            None => failure,
            Some(why) => failure.advise(
                format!("these are cached policies, because the cluster cannot be read: {why}"),
                "if they have changed, run the command again when the cluster can be read",
            ),
        }
    })
}

async fn remove(context: &Context, plugin: &InstalledPlugin, name: &PluginName) -> Result<(), Failure> {
    let progress = Progress::new(context.printer);
    let mut locked = plugin.store.lock(std::slice::from_ref(name), context.global.lock_timeout, &progress).await?;
    if locked.remove(name)? {
        output::print(format!("Removed {name}."));
    } else {
        output::print(format!("{name} is not installed."));
    }
    Ok(())
}

/// Returns the installed plugins that need `name` and are not in `removed`.
fn dependents<'a>(
    all: &'a BTreeMap<PluginName, InstalledPlugin>,
    name: &PluginName,
    removed: &[PluginName],
) -> Vec<&'a PluginName> {
    let needs = |plugin: &InstalledPlugin| {
        let contract = plugin.store.contract(&plugin.entry.name).ok().flatten();
        contract.is_some_and(|c| c.requirements.plugins.mandatory.iter().any(|other| other.name == name.as_str()))
    };
    all.iter().filter(|(other, plugin)| !removed.contains(other) && needs(plugin)).map(|(other, _)| other).collect()
}

/// Asks for confirmation, unless `yes`. Without a terminal `--yes` is required.
async fn confirm(names: &[PluginName], yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let list = names.iter().map(PluginName::as_str).collect::<Vec<_>>().join(", ");
    match output::confirm(&format!("Remove {list}?")).await {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Failed, "nothing was removed")),
        None => Err(Failure::new(Code::Usage, format!("removing {list} needs confirmation"))
            .advise("standard input is not a terminal", "d8 plugins remove all --yes")),
    }
}
