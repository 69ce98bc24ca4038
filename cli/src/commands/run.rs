//! `d8 <plugin> args…`: checks what must be checked, then becomes the plugin.

mod fallback;
mod suggest;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::Command,
};

use d8_agent::{ActiveVersion, cluster::RecordSelection};
use d8_crds::{
    decisions::{
        requirements::{self, Findings},
        verdict::PolicySet,
    },
    records::contract::Contract,
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

use crate::{
    args, catalog,
    context::Context,
    exec,
    installed::{self, Found},
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// Checks what must be checked and becomes the plugin. Returns only if it does not run.
///
/// # Errors
/// An unknown or broken plugin, a policy that denies it (3), requirements that are not met (4) or
/// cannot be checked (5).
pub(crate) async fn run(context: &Context, words: Vec<OsString>) -> Result<(), Failure> {
    let mut words = words.into_iter();
    let typed = words.next().unwrap_or_default();
    let args: Vec<OsString> = words.collect();
    let Some(found) = find(context, &typed)? else {
        let failed = fallback::exec_fallback(context);
        return Err(failed.unwrap_or_else(|| unknown(context, &typed.to_string_lossy())));
    };
    let name = &found.entry.name;
    if let ActiveVersion::Broken { why } = &found.entry.active {
        return Err(Failure::new(Code::Failed, format!("the install of {name} is broken"))
            .because(why)
            .advise("it was changed by hand or by another tool", format!("d8 plugins install {name} --force")));
    }
    let contract = found.store.contract(name)?;
    if !is_informational(&args) {
        permitted(context, &found).await?;
        if let Some(contract) = &contract {
            fits(context, &found, contract).await?;
        }
    }
    let binary = found.store.current(name);
    let error = exec_plugin(&binary, &args, contract.as_ref(), context.kubeconfig_for_plugin());
    Err(Failure::new(Code::Failed, format!("{name} cannot be started"))
        .because(binary.display().to_string())
        .caused_by(&error)
        .advise("the installed file is damaged or not for this machine", format!("d8 plugins install {name} --force")))
}

fn find(context: &Context, typed: &OsStr) -> Result<Option<Found>, Failure> {
    match typed.to_str().and_then(|typed| typed.parse::<PluginName>().ok()) {
        Some(name) => installed::find(context, &name),
        None => Ok(None),
    }
}

/// Neither a command nor an installed plugin.
fn unknown(context: &Context, typed: &str) -> Failure {
    let failure = Failure::new(Code::Usage, format!("unknown command {typed:?}"))
        .because("it is neither a command of d8 nor an installed plugin");
    let tree = args::command();
    let plugins = installed::all(context).unwrap_or_default();
    let known = tree.get_subcommands().filter(|c| !c.is_hide_set()).map(clap::Command::get_name);
    match suggest::nearest(typed, known.chain(plugins.keys().map(PluginName::as_str))) {
        Some(near) => failure.advise("it may be mistyped", format!("d8 {near}")),
        None if typed.parse::<PluginName>().is_ok() => {
            failure.advise("the plugin may not be installed here", format!("d8 plugins install {typed}"))
        }
        None => failure.advise("no plugin can have such a name", "d8 --help"),
    }
}

/// The version that policies are asked about. Of an install that another tool made only the major may
/// be known; what is denied is denied for every version.
fn asked_version(found: &Found) -> Option<Version> {
    found.version().or_else(|| match &found.entry.active {
        ActiveVersion::Unknown { major, .. } => Version::parse(&format!("{major}.0.0")).ok(),
        _ => None,
    })
}

/// Refuses what the kept policies deny or block; asks no server.
async fn permitted(context: &Context, found: &Found) -> Result<(), Failure> {
    for kept in context.kept_policies().await? {
        judged(context, found, &kept.policy_set()).map_err(|failure| {
            let confirmed = kept.confirmed;
            failure.advise(
                format!("this is what {} said when it was last read, at {confirmed:.0}", kept.server),
                format!("if that has changed since: d8 plugins why {}", found.entry.name),
            )
        })?;
    }
    Ok(())
}

fn judged(context: &Context, found: &Found, policies: &PolicySet) -> Result<(), Failure> {
    let name = &found.entry.name;
    let Some(version) = asked_version(found) else { return Ok(()) };
    let component = Component::Plugin(name.clone());
    policies
        .run_allowed(&context.host(), &component, &version)
        .map_err(|reason| Failure::new(Code::Refused, format!("{name} may not run here")).because(reason.message))
}

/// Refuses what the cluster or the other plugins do not meet. Asks the cluster only if the contract
/// demands something of it.
async fn fits(context: &Context, found: &Found, contract: &Contract) -> Result<(), Failure> {
    let name = &found.entry.name;
    let demands = &contract.requirements;
    let mut findings = if !demands.need_cluster_facts() {
        Findings::default()
    } else if context.skips_cluster_checks() {
        output::warn(format!("cluster requirements of {name} are not checked (--skip-cluster-checks)"));
        Findings::default()
    } else {
        cluster_findings(context, found, contract).await.map_err(|failure| failure.or_skip_checks(name))?
    };
    findings.extend(requirements::check_plugins(demands, &installed::versions(context)?));
    for warning in &findings.warnings {
        output::warn(format!("{name}: {warning}"));
    }
    if !findings.unmet.is_empty() {
        let failure = Failure::new(Code::Requirements, format!("{name} cannot run on this cluster or machine"));
        return Err(findings
            .unmet
            .iter()
            .fold(failure, Failure::because)
            .advise("its requirements are not met", format!("d8 plugins why {name}")));
    }
    if !findings.unchecked.is_empty() {
        let failure = Failure::new(Code::Unreachable, format!("requirements of {name} cannot be checked"));
        return Err(findings.unchecked.iter().fold(failure, Failure::because).or_skip_checks(name));
    }
    Ok(())
}

/// From the record where it speaks of these very requirements, else from the cluster's facts. The
/// policies come in the same round trip, so a refusal is as fresh as can be.
async fn cluster_findings(context: &Context, found: &Found, contract: &Contract) -> Result<Findings, Failure> {
    let component = [Component::Plugin(found.entry.name.clone())];
    let view = context.view(RecordSelection::Named(&component)).await?;
    judged(context, found, &view.policy_set())?;
    let recorded = view.records.get(found.entry.name.as_str()).and_then(|record| {
        let versions = &record.status.as_ref()?.versions;
        versions.iter().find(|v| v.version == contract.version && v.requirements == contract.requirements)
    });
    match recorded {
        Some(version) => Ok(catalog::findings_of_record(version)),
        None => catalog::check(context, &contract.requirements).await,
    }
}

/// Whether an invocation only asks the plugin about itself: such a run needs no check and no network.
/// `--help` and `-h` count before a `--`; the rest as the first word.
pub(crate) fn is_informational(args: &[OsString]) -> bool {
    const FIRST: [&str; 6] = ["help", "completion", "__complete", "__completeNoDesc", "--version", "-v"];
    let first = args.first().is_some_and(|word| FIRST.iter().any(|known| word == OsStr::new(known)));
    first || args.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h")
}

/// Becomes the plugin: same process, its own stdin, stdout, stderr, signals and exit code. Returns
/// only if that failed.
fn exec_plugin(
    binary: &Path,
    args: &[OsString],
    contract: Option<&Contract>,
    kubeconfig: Option<OsString>,
) -> std::io::Error {
    let mut command = Command::new(binary);
    command.args(args);
    let asks = |name: &str| contract.is_some_and(|contract| contract.env.iter().any(|env| env.name == name));
    if let (true, Some(path)) = (asks("KUBECONFIG"), kubeconfig) {
        command.env("KUBECONFIG", path);
    }
    if asks("PLUGINS_CALLER")
        && let Ok(own) = std::env::current_exe()
    {
        command.env("PLUGINS_CALLER", own);
    }
    exec::exec(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_asks_the_plugin_about_itself() {
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
