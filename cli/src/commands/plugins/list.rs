//! `d8 plugins list`: lists installed plugins without running them, and says which of them may not run.

use std::{borrow::Cow, time::Duration};

use d8_agent::{ActiveVersion, cluster::CachedPolicies};
use d8_crds::{
    decisions::{
        explain::{self, Listed},
        reason::{Reason, ReasonCode},
        verdict::PolicySet,
    },
    values::{duration::FormattedDuration, text::printable},
};
use jiff::SignedDuration;
use serde::Serialize;

use crate::{
    args,
    context::Context,
    installed::{self, InstalledPlugin},
    terminal::{failure::Failure, output, table::Table},
};

/// An entry of the JSON document (`docs/plugins.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedPlugin {
    name: String,
    /// Absent if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    state: PluginState,
    /// `digest`, `transport`, `adopted`, `damaged` or `unknown`.
    verified: &'static str,
    description: String,
    root: String,
    /// What is wrong with the installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    /// Why policies refuse to run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Listed>,
    /// Why the version, which still runs, must be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    must_replace: Option<Listed>,
}

/// Whether a plugin runs. Its requirements are checked when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum PluginState {
    Ok,
    /// A policy forbids the version, which must be replaced and still runs.
    MustReplace,
    Damaged,
    /// A policy denies the plugin. It may be damaged, too.
    Denied,
    /// A policy blocks the version. It may be damaged, too.
    Blocked,
    /// The cached policies cannot be read, so it does not run.
    Unknown,
}

impl PluginState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::MustReplace => "must-replace",
            Self::Damaged => "damaged",
            Self::Denied => "denied",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        }
    }

    /// Returns the state. `is_known`: the cached policies could be read.
    fn of(refusal: Option<&Reason>, is_damaged: bool, must_replace: bool, is_known: bool) -> Self {
        match refusal {
            Some(reason) if reason.code() == ReasonCode::Blocked => Self::Blocked,
            Some(_) => Self::Denied,
            None if is_damaged => Self::Damaged,
            None if must_replace => Self::MustReplace,
            None if is_known => Self::Ok,
            None => Self::Unknown,
        }
    }
}

/// A note says how old the cached policies are, if they are older than this.
const MAX_POLICY_AGE: SignedDuration = SignedDuration::from_hours(3);

/// Cached policies, and their parsed form.
type Policies = (CachedPolicies, PolicySet);

pub(crate) async fn run(context: &Context, args: &args::PluginsListArgs) -> Result<(), Failure> {
    let installed = installed::all(context)?;
    let policies = cached_policies(context).await;
    note_age(context, policies.as_deref().unwrap_or_default());
    let plugins = installed.values().map(|plugin| describe(context, plugin, policies.as_deref()));
    let plugins: Vec<ListedPlugin> = plugins.collect();
    let names = plugins.iter().map(|plugin| &plugin.name);
    output::print_document(args.output.format, &plugins, names, |plugins| print_text(context, plugins))
}

/// Returns the cached policies that a run obeys. Warns if one cannot be read, and returns `None`.
async fn cached_policies(context: &Context) -> Option<Vec<Policies>> {
    let cached = context.cached_policies().await.map_err(|failure| output::warn(failure.summary())).ok()?;
    context.note_policies_read(&cached);
    let parsed = |cached: CachedPolicies| {
        let set = cached.policy_set();
        (cached, set)
    };
    Some(cached.into_iter().map(parsed).collect())
}

/// Notes how old cached policies are if a command has not read them for long.
fn note_age(context: &Context, policies: &[Policies]) {
    for (CachedPolicies { server, confirmed, .. }, _) in policies {
        let age = context.now.duration_since(*confirmed);
        if age > MAX_POLICY_AGE {
            let age = FormattedDuration(Duration::from_mins(age.unsigned_abs().as_secs() / 60));
            context.printer.note(format!(
                "the cached policies of {server} are {age} old, as of {confirmed:.0}; read them again: `d8 policy get`"
            ));
        }
    }
}

fn print_text(context: &Context, plugins: &[ListedPlugin]) {
    if plugins.is_empty() {
        context.printer.note("No plugins are installed. Install one: `d8 plugins install NAME`");
        return;
    }
    let mut table = Table::new(&["NAME", "VERSION", "STATE", "VERIFIED", "DESCRIPTION"]);
    for plugin in plugins {
        let version = plugin.version.as_deref().unwrap_or("unknown");
        let refusal = plugin.refusal.as_ref().map(|Listed(reason)| explain::to_person(reason));
        let must_replace = plugin.must_replace.as_ref();
        let must_replace =
            must_replace.map(|Listed(reason)| format!("must be replaced, still runs: {}", explain::to_person(reason)));
        let trouble = refusal.as_deref().or(plugin.damage.as_deref()).or(must_replace.as_deref());
        let text = trouble.map_or_else(|| printable(&plugin.description), Cow::Borrowed);
        table.row([&plugin.name, version, plugin.state.as_str(), plugin.verified, &text]);
    }
    output::print_table(&table);
    let names = |is_listed: fn(PluginState) -> bool| {
        let listed = plugins.iter().filter(|plugin| is_listed(plugin.state));
        listed.map(|plugin| plugin.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let damaged = names(|state| state == PluginState::Damaged);
    if !damaged.is_empty() {
        context.printer.note(format!("Repair what is damaged: `d8 plugins install {damaged}`"));
    }
    let denied = names(|state| state == PluginState::Denied);
    if !denied.is_empty() {
        let remove = format!("`d8 plugins remove {denied}`");
        context.printer.note(format!("Policies deny {denied}; remove them: {remove}, or ask an admin"));
    }
    let blocked = names(|state| state == PluginState::Blocked);
    if !blocked.is_empty() {
        let (update, remove) = (format!("`d8 plugins update {blocked}`"), format!("`d8 plugins remove {blocked}`"));
        let versions = format!("Policies block the versions of {blocked}");
        context.printer.note(format!("{versions}; take other ones: {update}, or remove them: {remove}"));
    }
    let must_replace = names(|state| state == PluginState::MustReplace);
    if !must_replace.is_empty() {
        let update = format!("`d8 plugins update {must_replace}`");
        context
            .printer
            .note(format!("Policies forbid the versions of {must_replace}, which still run; replace them: {update}"));
    }
}

fn describe(context: &Context, plugin: &InstalledPlugin, policies: Option<&[Policies]>) -> ListedPlugin {
    let InstalledPlugin { store, entry } = plugin;
    let contract = store.contract(&entry.name);
    let damage = plugin.damage_with(&contract);
    let refused_by = |(cached, set): &Policies| {
        let policies = set.for_host(context.host(cached.caller.person()));
        plugin.run_refusal(context, &policies, cached.blocked.get(entry.name.as_str()))
    };
    let refusal = policies.and_then(|policies| policies.iter().find_map(refused_by));
    let forbidden_by = |(cached, set): &Policies| {
        let policies = set.for_host(context.host(cached.caller.person()));
        plugin.must_replace(context, &policies, cached.blocked.get(entry.name.as_str()))
    };
    let must_replace = policies.filter(|_| refusal.is_none());
    let must_replace = must_replace.and_then(|policies| policies.iter().find_map(forbidden_by));
    let (tag, verified) = match &entry.active {
        ActiveVersion::Known(installed) => (Some(installed.tag.to_string()), installed.receipt.verified.as_str()),
        ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. } => (None, "unknown"),
    };
    let description = contract.ok().flatten().map(|contract| contract.description);
    ListedPlugin {
        name: entry.name.to_string(),
        // Without a receipt the contract names the version, as it does for `why` and for policies.
        version: tag.or_else(|| Some(plugin.version()?.to_string())),
        state: PluginState::of(refusal.as_ref(), damage.is_some(), must_replace.is_some(), policies.is_some()),
        verified: if damage.is_some() { "damaged" } else { verified },
        description: description.unwrap_or_default(),
        root: store.root().display().to_string(),
        damage,
        refusal: refusal.map(Listed),
        must_replace: must_replace.map(Listed),
    }
}
