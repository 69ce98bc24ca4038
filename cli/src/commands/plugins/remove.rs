//! `d8 plugins remove`: takes plugins away, unless policy requires them.

use d8_crds::values::name::PluginName;

use crate::{
    args,
    commands::plugins::targets,
    context::Context,
    installed::{self, Found},
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PluginsRemoveArgs) -> Result<(), Failure> {
    let all = installed::all(context)?;
    let names = if let Some(names) = targets(&args.names)? {
        names
    } else {
        let names: Vec<PluginName> = all.keys().cloned().collect();
        if names.is_empty() {
            output::print("No plugins are installed.");
            return Ok(());
        }
        confirmed(&names, args.yes).await?;
        names
    };
    let kept = context.kept_policies().await?;
    for name in &names {
        let Some(found) = all.get(name) else {
            output::print(format!("{name} is not installed."));
            continue;
        };
        for policies in &kept {
            policies.policy_set().remove_allowed(&context.host(), name).map_err(|reason| {
                Failure::new(Code::Refused, format!("{name} may not be removed here")).because(reason.message)
            })?;
        }
        for dependent in dependents(&all, name, &names) {
            output::warn(format!("{dependent} needs {name} and will refuse to run without it"));
        }
        let mut locked = found
            .store
            .lock(std::slice::from_ref(name), context.global.lock_timeout, &Progress::new(context.printer))
            .await?;
        if locked.remove(name)? {
            output::print(format!("Removed {name}."));
        } else {
            output::print(format!("{name} is not installed."));
        }
    }
    Ok(())
}

/// Installed plugins that stay and demand this one.
fn dependents<'a>(
    all: &'a std::collections::BTreeMap<PluginName, Found>,
    name: &PluginName,
    leaving: &[PluginName],
) -> Vec<&'a PluginName> {
    let demands = |found: &Found| {
        let contract = found.store.contract(&found.entry.name).ok().flatten();
        contract.is_some_and(|c| c.requirements.plugins.mandatory.iter().any(|other| other.name == name.as_str()))
    };
    all.iter().filter(|(other, found)| !leaving.contains(other) && demands(found)).map(|(other, _)| other).collect()
}

/// Asks on a terminal; without one `--yes` must have been given.
async fn confirmed(names: &[PluginName], yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let list = names.iter().map(PluginName::as_str).collect::<Vec<_>>().join(", ");
    match output::confirm(&format!("Remove {list}?")).await {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Failed, "nothing was removed")),
        None => Err(Failure::new(Code::Usage, format!("removing all of {list} needs a yes"))
            .advise("there is no terminal to ask on", "d8 plugins remove all --yes")),
    }
}
