//! `d8 plugins remove`: removes plugins, unless a policy requires them.

use std::collections::BTreeMap;

use d8_agent::cluster::CachedPolicies;
use d8_crds::{
    decisions::{explain, verdict::PolicySet},
    values::name::PluginName,
};

use super::request::parse_names;
use crate::{
    args,
    context::Context,
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
    let cached: Vec<PolicySet> = context.cached_policies().await?.iter().map(CachedPolicies::policy_set).collect();
    for name in &names {
        match all.get(name) {
            Some(plugin) => {
                check_policies(context, &cached, name)?;
                for dependent in dependents(&all, name, &names) {
                    output::warn(format!("{dependent} needs {name} and will not run without it"));
                }
                remove(context, plugin, name).await?;
            }
            None => output::print(format!("{name} is not installed.")),
        }
    }
    Ok(())
}

/// Fails if a cached policy forbids the removal.
fn check_policies(context: &Context, cached: &[PolicySet], name: &PluginName) -> Result<(), Failure> {
    let host = context.host();
    cached.iter().try_for_each(|policies| policies.for_host(host).remove_allowed(name)).map_err(|reason| {
        Failure::new(Code::Refused, format!("{name} may not be removed")).because(explain::to_person(&reason))
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
