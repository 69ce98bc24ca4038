//! `d8 policy get --effective`: the merged policy of a host, with the origin of each field.

use std::{collections::BTreeMap, fmt};

use d8_agent::cluster::{self, Caller, ClusterView};
use d8_crds::{
    decisions::{
        explain,
        verdict::{
            Attributed, BlackoutSpan, Effective, EffectiveComponent, FieldSource, HostPolicies, MergedField,
            PolicyConflict,
        },
    },
    records::policy::{RequireSucceeded, Subjects, Window},
    values::{name::Component, text::printable_line},
};
use serde::Serialize;

use crate::{
    args,
    context::Context,
    managed_host::ManagedHost,
    planning::messages::acting_as,
    terminal::{failure::Failure, output, table::Table},
};

/// The JSON document (`docs/policy-commands.md`).
#[derive(Debug, Serialize)]
struct EffectiveReport<'a> {
    host: EffectiveHost<'a>,
    #[serde(flatten)]
    effective: Effective,
    /// Components without a version that all policies permit.
    conflicts: Vec<PolicyConflict>,
}

/// The host whose policy is shown.
#[derive(Debug, Serialize)]
struct EffectiveHost<'a> {
    /// Name of the `CliHost`; absent for this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
    /// Name of the person for whom the policies are evaluated; absent for a `CliHost`, and if it is not known or no
    /// policy depends on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

pub(super) async fn run(context: &Context, view: &ClusterView, args: &args::PolicyGetArgs) -> Result<(), Failure> {
    let set = view.policy_set();
    let managed = match &args.host {
        Some(name) => Some(ManagedHost::fetch(context, name).await?),
        None => None,
    };
    let host = match &managed {
        Some(managed) => managed.as_host(),
        None => context.host(view.caller.person()),
    };
    let extra = match &args.plugin {
        Some(Component::Plugin(name)) => vec![name.clone()],
        Some(Component::D8) | None => Vec::new(),
    };
    let policies = set.for_host(host);
    let mut effective = policies.effective(&extra);
    let mut conflicts = conflicts(context, &policies).await?;
    if let Some(only) = &args.plugin {
        effective.components.retain(|component| component.component == only.name());
        conflicts.retain(|conflict| conflict.component == *only);
    }
    let caller = if args.host.is_some() { &Caller::NotAsked } else { &view.caller };
    let user = caller.user().map(|user| user.username.as_str());
    let host = EffectiveHost { name: args.host.as_deref(), labels: host.labels, user };
    let report = EffectiveReport { host, effective, conflicts };
    let names = report.effective.components.iter().map(|c| &c.component);
    output::print_document(args.output.format, &report, names, |report| print_text(report, caller))
}

/// Returns the conflicts between the policies. Which versions are published matters only for plugins that are required.
async fn conflicts(context: &Context, policies: &HostPolicies<'_>) -> Result<Vec<PolicyConflict>, Failure> {
    let required = policies.required_by_some();
    let records = if required.is_empty() {
        BTreeMap::new()
    } else {
        let read = cluster::named_records(&context.cluster().await?.client, &required).await;
        read.unwrap_or_else(|error| {
            output::warn(format!("conflicts about published versions are left out: {error}"));
            BTreeMap::new()
        })
    };
    Ok(policies.conflicts(|component| records.get(component.name())))
}

fn print_text(report: &EffectiveReport<'_>, caller: &Caller) {
    let EffectiveReport { host, effective, conflicts } = report;
    let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    output::print(format!(
        "host: {} ({}){}",
        host.name.unwrap_or("this machine"),
        labels.join(", "),
        acting_as(caller)
    ));
    if effective.policies.is_empty() {
        output::print("policies: none");
        return;
    }
    let names: Vec<&str> = effective.policies.iter().map(|policy| policy.name.as_str()).collect();
    output::print(format!("policies: {}", names.join(", ")));
    for (policy, subjects) in effective.policies.iter().filter_map(|p| Some((p, p.subjects.as_ref()?))) {
        let part = if policy.restrictions_only { "; only its Deny and block count" } else { "" };
        output::print(format!("policy {} is for {}{part}", policy.name, display_subjects(subjects)));
    }
    for policy in effective.policies.iter().filter(|policy| !policy.valid) {
        let why = policy.why.as_deref().unwrap_or_default();
        output::print(format!("policy {} is invalid and acts as paused: {why}", policy.name));
    }
    for policy in &effective.policies {
        if let Some(until) = policy.emergency_until {
            output::print(format!("policy {} is an emergency policy until {until:.0}", policy.name));
        }
    }
    output::print_table(&FieldTable::of(effective).0);
    for conflict in conflicts {
        output::print(format!("conflict: {}", explain::policy_conflict(conflict)));
    }
    output::print(
        "Fields without a policy have their defaults: access Allow, any version, pre-releases only by name, updates \
         Manual, majorUpdates Stay, minAge 0s, missingDependencies Install, movedTags Refuse.",
    );
}

/// The table of fields that a policy sets.
struct FieldTable(Table);

impl FieldTable {
    /// Returns the fields that are set for a host.
    fn of(effective: &Effective) -> Self {
        let mut table = Self(Table::new(&["COMPONENT", "FIELD", "VALUE", "FROM"]));
        table.add_merged("", "paused", &effective.paused, ToString::to_string);
        table.add_merged("", "missingDependencies", &effective.missing_dependencies, debug);
        table.add_merged("", "integrity.movedTags", &effective.moved_tags, debug);
        table.add_each("", "windows", &effective.windows, |windows| {
            windows.iter().map(display_window).collect::<Vec<_>>().join("; ")
        });
        table.add_each("", "blackouts", &effective.blackouts, |blackouts| {
            blackouts.iter().map(display_blackout).collect::<Vec<_>>().join("; ")
        });
        table.add_each("", "windowsFor", &effective.windows_for, debug);
        table.add_each("", "rollout", &effective.rollouts, |rollout| {
            let mut parts = vec![format!("over {}", rollout.over)];
            parts.extend(rollout.canary.then(|| "this host goes first".to_owned()));
            parts.extend(rollout.canary_percent.map(|percent| format!("{percent}% of the hosts go first")));
            parts.extend(rollout.require_succeeded.as_ref().map(|RequireSucceeded { hosts, stable_for }| {
                format!("after it worked on {hosts} of them for {stable_for}")
            }));
            parts.extend(rollout.max_failed.map(|failed| format!("halts at {failed} failed")));
            parts.join(", ")
        });
        for component in &effective.components {
            table.add_component(component);
        }
        table
    }

    /// Adds a field whose values were merged into one.
    fn add_merged<T>(&mut self, component: &str, field: &str, merged: &MergedField<T>, show: impl Fn(&T) -> String) {
        if !merged.from.is_empty() {
            let from: Vec<String> = merged.from.iter().map(FieldSource::to_string).collect();
            self.0.row([component, field, &show(&merged.value), &from.join("; ")]);
        }
    }

    /// Adds a field whose values apply together.
    fn add_each<T>(&mut self, component: &str, field: &str, values: &[Attributed<T>], show: impl Fn(&T) -> String) {
        for each in values {
            self.0.row([component, field, &show(&each.value), &each.from.to_string()]);
        }
    }

    /// Adds the fields of a component.
    fn add_component(&mut self, of: &EffectiveComponent) {
        let name = of.component.as_str();
        if let Some(access) = &of.access {
            self.add_merged(name, "access", access, debug);
        }
        self.add_each(name, "versions", &of.versions, Clone::clone);
        self.add_each(name, "block", &of.block, Clone::clone);
        self.add_merged(name, "channel", &of.channel, |channel| channel.as_ref().map(debug).unwrap_or_default());
        if let Some(recorded) = &of.recorded {
            self.add_each(name, "pins", &recorded.pins, |pin| format!("{} {}", pin.version, pin.digest.short()));
            self.add_merged(name, "updates", &recorded.updates, debug);
            self.add_merged(name, "majorUpdates", &recorded.major_updates, debug);
            self.add_merged(name, "minAge", &recorded.min_age, Clone::clone);
            self.add_each(name, "expedite", &recorded.expedite, Clone::clone);
        }
        self.add_each(name, "message", &of.messages, Clone::clone);
    }
}

/// `groups a, b and users c`
fn display_subjects(subjects: &Subjects) -> String {
    let lists = [("groups", &subjects.groups), ("users", &subjects.users)];
    let lists = lists.iter().filter(|(_, names)| !names.is_empty());
    let lists = lists.map(|(kind, names)| format!("{kind} {}", printable_line(&names.join(", "))));
    lists.collect::<Vec<_>>().join(" and ")
}

/// `Mon,Tue 02:00 for 4h UTC`
fn display_window(window: &Window) -> String {
    let days = window.days.as_ref().map(|days| days.iter().map(debug).collect::<Vec<_>>().join(","));
    let zone = window.time_zone.as_deref().unwrap_or("UTC");
    format!("{} {} for {} {zone}", days.as_deref().unwrap_or("daily"), window.start, window.duration)
}

/// `2026-11-27T00:00:00Z to 2026-11-30T00:00:00Z (Black Friday)`
fn display_blackout(blackout: &BlackoutSpan) -> String {
    format!("{} to {} ({})", blackout.from, blackout.to, blackout.reason)
}

fn debug(value: &impl fmt::Debug) -> String {
    format!("{value:?}")
}
