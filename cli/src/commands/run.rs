//! `d8 <plugin> [args…]`: checks an installed plugin and runs it. Forwards unknown commands to the fallback.

mod fallback;
mod host_findings;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::Command,
};

use d8_agent::{
    ActiveVersion,
    cluster::{CachedPolicies, RecordSelection},
};
use d8_crds::{
    decisions::{
        explain,
        person::Person,
        requirements::Findings,
        verdict::{HostPolicies, PolicySet, ReasonCode},
    },
    records::{
        contract::Contract,
        release::{CliRelease, Fit},
    },
    values::{
        name::{Component, PluginName},
        spelling::nearest,
    },
};
use jiff::SignedDuration;

use self::host_findings::HostFindings;
use crate::{
    args, catalog,
    context::{Context, Renewal},
    exec,
    installed::{self, InstalledPlugin},
    terminal::{
        failure::{Advice, Code, Failure},
        output,
    },
};

/// Checks the plugin and replaces this process with it. Returns only if it does not run.
///
/// # Errors
/// The plugin is unknown or broken, a policy denies it (3), or its requirements are not met (4) or cannot be
/// checked (5).
pub(crate) async fn run(context: &Context, words: Vec<OsString>) -> Result<(), Failure> {
    let mut words = words.into_iter();
    let typed = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    let Some(plugin) = find(context, &typed)? else {
        let failure = fallback::exec_fallback(context);
        return Err(failure.unwrap_or_else(|| unknown_command(context, &typed.to_string_lossy())));
    };
    let name = &plugin.entry.name;
    // What may not run is not repaired either.
    let cached = check_current_policies(context, &plugin).await?;
    if let ActiveVersion::Broken { why, .. } = &plugin.entry.active {
        return Err(Failure::new(Code::Failed, format!("the installation of {name} is damaged"))
            .because(why)
            .advise("it was changed by hand or by another tool", format!("`d8 plugins install {name}`")));
    }
    let contract = plugin.store.contract(name)?;
    if let Some(contract) = &contract
        && !is_informational(&args)
    {
        let skipping = args::skipping_cluster_checks(args.len());
        check_requirements(context, &cached, &plugin, contract, &skipping).await?;
    }
    let binary = plugin.store.current(name);
    let error = exec_plugin(&binary, &args, contract.as_ref(), context.kubeconfig_for_plugin());
    let advice = Advice {
        cause: "the installed file is damaged, or it is not for this platform".to_owned(),
        fix: format!("`d8 plugins install {name} --force`"),
    };
    let component = Component::Plugin(name.clone());
    Err(exec::start_failure(format!("failed to start {name}"), &binary, &error, Some(&component), advice))
}

fn find(context: &Context, typed: &OsStr) -> Result<Option<InstalledPlugin>, Failure> {
    match typed.to_str().and_then(|typed| typed.parse::<PluginName>().ok()) {
        Some(name) => installed::find(context, &name),
        None => Ok(None),
    }
}

fn unknown_command(context: &Context, typed: &str) -> Failure {
    let failure = Failure::new(Code::Usage, format!("unknown command {typed:?}"))
        .because("it is neither a command of d8 nor an installed plugin");
    let tree = args::command();
    let plugins = installed::names(context);
    let commands = tree.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name);
    match nearest(typed, commands.chain(plugins.iter().map(PluginName::as_str))) {
        Some(near) => failure.advise("a similar command exists", format!("`d8 {near}`")),
        None if typed.parse::<PluginName>().is_ok() => {
            failure.advise("it may be a plugin that is not installed", format!("`d8 plugins install {typed}`"))
        }
        None => failure.advise("it is not a valid plugin name", "list the commands: `d8 --help`"),
    }
}

/// Age from which a run reads the cached policies again (rule 13 in `docs/policies.md`).
const RENEWAL_AGE: SignedDuration = SignedDuration::from_mins(5);

/// Fails if policies deny or block the plugin, and returns them. Reads cached policies again if they are old, so that a
/// block arrives, and before it fails, so that the end of a block arrives.
async fn check_current_policies(context: &Context, plugin: &InstalledPlugin) -> Result<Vec<CachedPolicies>, Failure> {
    let component = Component::Plugin(plugin.entry.name.clone());
    let mut cached = context.cached_policies().await?;
    // A copy from the future is of a clock that was ahead.
    let is_old = |copy: &CachedPolicies| {
        !(SignedDuration::ZERO..RENEWAL_AGE).contains(&context.now.duration_since(copy.confirmed))
    };
    let is_renewed = cached.iter().any(is_old) && context.renew_policies(&component, Renewal::IfNoneFailed).await;
    if is_renewed {
        cached = context.cached_policies().await?;
    }
    let Err(refused) = check_cached_policies(context, &cached, plugin, is_renewed) else { return Ok(cached) };
    if is_renewed || !context.renew_policies(&component, Renewal::Always).await {
        return Err(refused);
    }
    let cached = context.cached_policies().await?;
    check_cached_policies(context, &cached, plugin, true).map(|()| cached)
}

/// Fails if the cached policies deny or block the plugin. Sends no request. `is_renewed`: they were read just now.
fn check_cached_policies(
    context: &Context,
    cached: &[CachedPolicies],
    plugin: &InstalledPlugin,
    is_renewed: bool,
) -> Result<(), Failure> {
    let name = &plugin.entry.name;
    if cached.is_empty() {
        // The owner of the machine may refuse it without any policy.
        let none = PolicySet::default();
        return check_policies(context, plugin, &none.for_host(context.host(Person::Unknown)), None);
    }
    for cached in cached {
        let set = cached.policy_set();
        let policies = set.for_host(context.host(cached.caller.person()));
        let checked = check_policies(context, plugin, &policies, cached.blocked.get(name.as_str()));
        checked.map_err(|failure| {
            if is_renewed {
                return failure;
            }
            failure.advise(
                format!("these are the policies of {} as of {:.0}", cached.server, cached.confirmed),
                format!("if they have changed, read them again: `d8 plugins why {name}`"),
            )
        })?;
    }
    Ok(())
}

/// Fails if policies deny or block the plugin. `record` has the layers of blocked versions.
fn check_policies(
    context: &Context,
    plugin: &InstalledPlugin,
    policies: &HostPolicies<'_>,
    record: Option<&CliRelease>,
) -> Result<(), Failure> {
    let Some(reason) = plugin.run_refusal(context, policies, record) else { return Ok(()) };
    let name = &plugin.entry.name;
    let failure = Failure::new(Code::Refused, format!("{name} may not run here")).because(explain::to_person(&reason));
    let failure = match plugin.damage() {
        Some(damage) => failure.because(format!("it is damaged, too: {damage}")),
        None => failure,
    };
    let remove = format!("remove it: `d8 plugins remove {name}`");
    let fix = match reason.code() {
        ReasonCode::Blocked => format!("take another version: `d8 plugins update {name}`, or {remove}"),
        _ => format!("{remove}, or ask an admin to change the policy"),
    };
    Err(failure.advise("a policy refuses every run of this version", fix))
}

/// Fails if the cluster or other plugins do not meet the requirements. Sends requests only if the contract has cluster
/// requirements. `skipping` is the command that skips the checks.
async fn check_requirements(
    context: &Context,
    cached: &[CachedPolicies],
    plugin: &InstalledPlugin,
    contract: &Contract,
    skipping: &str,
) -> Result<(), Failure> {
    let (name, requirements) = (&plugin.entry.name, &contract.requirements);
    let refusal = |needed: &InstalledPlugin| {
        let name = needed.entry.name.as_str();
        cached.iter().find_map(|cached| {
            let set = cached.policy_set();
            let policies = set.for_host(context.host(cached.caller.person()));
            needed.run_refusal(context, &policies, cached.blocked.get(name))
        })
    };
    let host = HostFindings::of(requirements, &installed::named(context, requirements.plugins.names())?, refusal);
    let cluster = if !requirements.need_cluster_facts() {
        Findings::default()
    } else if context.skips_cluster_checks() {
        output::warn(format!("cluster requirements of {name} are not checked (--skip-cluster-checks)"));
        Findings::default()
    } else {
        match cluster_findings(context, plugin, contract).await {
            Ok(findings) => findings,
            // What is wrong on this machine can be mended first.
            Err(failure) if failure.code == Code::Unreachable && host.is_failure() => Findings::default(),
            Err(failure) => return Err(failure.advise_skipping_checks(name, skipping)),
        }
    };
    for warning in cluster.warnings.iter().chain(&host.findings.warnings) {
        output::warn(format!("{name}: {}", explain::warning(warning)));
    }
    requirements_failure(name, &cluster, &host, skipping).map_or(Ok(()), Err)
}

/// Returns the failure if a requirement is unmet (4) or could not be checked (5).
fn requirements_failure(name: &PluginName, cluster: &Findings, host: &HostFindings, skipping: &str) -> Option<Failure> {
    if !cluster.unmet.is_empty() || host.is_failure() {
        let failure = Failure::new(Code::Requirements, format!("{name} cannot run on this cluster or machine"));
        let failure = cluster.unmet.iter().map(explain::unmet).fold(failure, Failure::because);
        let failure = if cluster.unmet.is_empty() {
            failure
        } else {
            failure.advise("the cluster does not meet its requirements", format!("`d8 plugins why {name}`"))
        };
        return Some(host.add_to(failure, name));
    }
    if !cluster.unchecked.is_empty() {
        let failure = Failure::new(Code::Unreachable, format!("requirements of {name} cannot be checked"));
        let failure = cluster.unchecked.iter().map(explain::unchecked).fold(failure, Failure::because);
        return Some(failure.advise_skipping_checks(name, skipping));
    }
    None
}

/// Returns the findings of the record if it has the same requirements and the operator could check them, else checks
/// them against the cluster. The same round trip reads the policies, so they are checked again.
async fn cluster_findings(
    context: &Context,
    plugin: &InstalledPlugin,
    contract: &Contract,
) -> Result<Findings, Failure> {
    let component = [Component::Plugin(plugin.entry.name.clone())];
    let view = context.view(RecordSelection::Named(&component)).await?;
    let record = view.records.get(plugin.entry.name.as_str());
    let set = view.policy_set();
    check_policies(context, plugin, &set.for_host(context.host(view.caller.person())), record)?;
    let recorded = plugin.version().and_then(|version| record?.recorded(&version));
    match recorded {
        Some(recorded) if recorded.requirements == contract.requirements && recorded.fit != Fit::Unknown => {
            Ok(Findings::recorded(recorded, None))
        }
        _ => catalog::check(context, &contract.requirements).await,
    }
}

/// Returns whether the arguments only ask the plugin for help, completion or its version. Requirements of such a run are not
/// checked; policies are, because d8 cannot know that the plugin takes the arguments so. `--help` and `-h` count before
/// a `--`, the others as the first argument.
fn is_informational(args: &[OsString]) -> bool {
    const FIRST: [&str; 6] = ["help", "completion", "__complete", "__completeNoDesc", "--version", "-v"];
    let first = args.first().is_some_and(|word| FIRST.iter().any(|known| word == OsStr::new(known)));
    first || args.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h")
}

/// Replaces this process with the plugin. Returns only on failure.
fn exec_plugin(
    binary: &Path,
    args: &[OsString],
    contract: Option<&Contract>,
    kubeconfig: Option<OsString>,
) -> std::io::Error {
    let mut command = Command::new(binary);
    command.args(args);
    let requests = |name: &str| contract.is_some_and(|contract| contract.env.iter().any(|env| env.name == name));
    if let (true, Some(path)) = (requests("KUBECONFIG"), kubeconfig) {
        command.env("KUBECONFIG", path);
    }
    if requests("PLUGINS_CALLER")
        && let Ok(d8) = std::env::current_exe()
    {
        command.env("PLUGINS_CALLER", d8);
    }
    exec::exec(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn informational_arguments() {
        for (line, want) in [
            ("", false),
            ("status", false),
            ("--help", true),
            ("status -h", true),
            ("status -- -h", false),
            ("-- --help", false),
            ("help", true),
            ("status help", false),
            ("completion bash", true),
            ("__complete st", true),
            ("__completeNoDesc", true),
            ("--version", true),
            ("-v", true),
            ("status -v", false),
            ("status --version", false),
        ] {
            let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(is_informational(&args), want, "{line:?}");
        }
    }
}
