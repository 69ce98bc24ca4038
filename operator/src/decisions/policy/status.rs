//! The status of a `PluginPolicy`: whether it is accepted, whether it is enforced as written, and how many hosts it
//! selects.

use std::{collections::BTreeMap, time::Duration};

use d8_crds::{
    decisions::{
        validation::{
            CheckedPolicy, InvalidPolicy,
            warnings::{PolicyContext, Warnings, selected_hosts, timed_warnings},
        },
        wave::CanaryCounter,
    },
    records::{
        policy::{ComponentProgress, PluginPolicy, PluginPolicyStatus, WaveState, WaveStatus},
        release::CliRelease,
    },
    values::{limits, name::Component, text::join_whole, version::Version},
};
use jiff::Timestamp;

use super::{
    conflicts::{ConflictOnHosts, workstations},
    events,
};
use crate::decisions::{
    conditions::{
        ConditionDraft,
        ConditionStatus::{False, True},
        Conditions,
    },
    hosts::MatchedHosts,
};

/// Counts of hosts alone are rewritten at most this often: with thousands of hosts they change all the time, and every
/// write wakes the agents that watch policies. So they are at most this old while they change.
const COUNTS_INTERVAL: Duration = Duration::from_mins(1);
/// Most conflicts that the message of a condition explains. Each names several policies.
const MAX_CONFLICTS_IN_MESSAGE: usize = 2;
/// Reason of condition `Ready` if other policies contradict the policy.
pub(super) const CONFLICT: &str = "Conflict";

/// What a status is made from, besides the policy.
pub(super) struct StatusInputs<'a> {
    /// Identity of the cluster.
    pub(super) cluster_uid: Option<&'a str>,
    /// The hosts that the policy selects.
    pub(super) matched: &'a MatchedHosts,
    /// Counts the canaries among them, if the policy requires evidence.
    pub(super) canary_counter: Option<&'a dyn CanaryCounter>,
    /// Whether the API server lacks `SelfSubjectReview`.
    pub(super) people_unknown: bool,
    /// The records of the cluster.
    pub(super) records: &'a BTreeMap<Component, &'a CliRelease>,
    /// The components to which the policy applies.
    pub(super) components: Vec<ComponentProgress>,
    /// Running waves of targets, each with its end.
    pub(super) rolling: &'a [(String, Timestamp)],
    /// Waves of targets that wait for evidence, each with what it has so far.
    pub(super) awaiting: &'a [String],
    /// Whether the status lacks waves because there are too many.
    pub(super) trimmed: bool,
    /// The conflicts in which the policy takes part.
    pub(super) conflicts: &'a [ConflictOnHosts],
    pub(super) previous: &'a PluginPolicyStatus,
    /// The current time in whole seconds.
    pub(super) now: Timestamp,
}

/// Makes the status of a policy. Returns also when its warnings change, if nothing but the time changes.
pub(super) fn status(
    policy: &PluginPolicy,
    checked: &Result<CheckedPolicy, InvalidPolicy>,
    inputs: StatusInputs<'_>,
) -> (PluginPolicyStatus, Option<Timestamp>) {
    let generation = policy.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&inputs.previous.conditions, generation, inputs.now);
    let mut warnings_change = None;
    match checked {
        Err(rejected) => {
            let errors: Vec<_> = rejected.errors.iter().map(ToString::to_string).collect();
            conditions.set("Accepted", &ConditionDraft::listing(False, "Invalid", &errors));
            let hosts = if rejected.selector.is_some() { "the hosts it selects" } else { "every host" };
            let message = format!("the policy acts as paused for {hosts} until it is corrected; plugins can still run");
            conditions.set("Ready", &ConditionDraft::new(False, "Invalid", message));
        }
        Ok(checked) => {
            let Warnings { texts, next } = accepted(checked, &inputs);
            warnings_change = next;
            conditions.set("Accepted", &ConditionDraft::listing(True, "Accepted", &texts));
            conditions.set("Ready", &ready(checked, &inputs));
        }
    }
    let next_window = checked.as_ref().ok().and_then(|checked| next_window(checked, inputs.now));
    let status = PluginPolicyStatus {
        observed_generation: Some(generation),
        cluster_uid: inputs.cluster_uid.map(str::to_owned),
        next_window: next_window.map(|instant| instant.to_string()),
        hosts: Some(inputs.matched.counts.clone()),
        components: inputs.components,
        conditions: conditions.finish(),
    };
    (status, warnings_change)
}

/// Returns the status of a policy whose ledger cannot be read. Its waves stay as they are, and its last edit is not
/// observed: clients must not take it for a policy without waves.
pub(crate) fn unreadable_ledger_status(
    policy: &PluginPolicy,
    previous: &PluginPolicyStatus,
    message: &str,
    now: Timestamp,
) -> PluginPolicyStatus {
    let generation = policy.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    conditions.set("Accepted", &ConditionDraft::new(True, "Accepted", VALID));
    conditions.set("Ready", &ConditionDraft::new(False, "LedgerUnreadable", message));
    PluginPolicyStatus { conditions: conditions.finish(), ..previous.clone() }
}

/// Message of `Accepted` without a warning.
const VALID: &str = "every field is valid";

/// Returns when switches may begin next, after the current span if they may begin now. `None`: the policy has no windows
/// and no blackout that lasts or is ahead, or its windows never close.
fn next_window(checked: &CheckedPolicy, now: Timestamp) -> Option<Timestamp> {
    checked.schedule.next_opening(checked.schedule.open_until(now)?)
}

/// Returns when a window or a blackout begins or ends next.
pub(super) fn window_changes(checked: &CheckedPolicy, now: Timestamp) -> Option<Timestamp> {
    let schedule = &checked.schedule;
    if schedule.open_at(now) { schedule.open_until(now) } else { schedule.next_opening(now) }
}

/// Returns the sentences of `Accepted`: which hosts a valid policy selects, and the warnings about it.
fn accepted(checked: &CheckedPolicy, inputs: &StatusInputs<'_>) -> Warnings {
    let workstations: Vec<_> = workstations().map(|(_, labels)| labels).collect();
    let mut labels = inputs.matched.labels.clone();
    for (key, value) in labels.is_some().then_some(&workstations).into_iter().flatten().flatten() {
        labels.get_or_insert_default().entry(key.clone()).or_default().insert(value.clone());
    }
    let context = PolicyContext {
        hosts: Some(inputs.matched.counts.matched),
        workstations: workstations.iter().any(|labels| checked.selector.matches(labels)),
        canaries: inputs.matched.canaries,
        canary_counter: inputs.canary_counter,
        active: Some(&inputs.matched.versions),
        labels: labels.as_ref(),
        records: Some(inputs.records),
        people_unknown: inputs.people_unknown,
        now: Some(inputs.now),
    };
    let Warnings { texts, next } = timed_warnings(checked, context);
    let sentences = [VALID.to_owned()].into_iter().chain(selected_hosts(context)).chain(texts);
    Warnings { texts: sentences.collect(), next }
}

/// Returns condition `Ready`: whether the policy is enforced as written.
fn ready(checked: &CheckedPolicy, inputs: &StatusInputs<'_>) -> ConditionDraft {
    let halts = halts(&checked.name, &inputs.components);
    if !inputs.conflicts.is_empty() {
        return ConditionDraft::new(False, CONFLICT, conflict(inputs.conflicts, &halts));
    }
    if !halts.is_empty() {
        return ConditionDraft::listing(False, "WaveHalted", &halts);
    }
    if inputs.trimmed {
        let effect = match &checked.rollout {
            Some(rollout) if rollout.evidence.is_some() => "they wait as if nothing had succeeded on them",
            _ => "their waves depend on the age of the version alone",
        };
        let message = format!("there are too many waves: the status lacks older versions, and {effect}");
        return ConditionDraft::new(False, "TooManyWaves", message);
    }
    match checked.emergency {
        Some(until) if until <= inputs.now => {
            return ConditionDraft::new(True, "EmergencyEnded", "the emergency is over; the policy lifts nothing");
        }
        Some(until) => {
            let message = format!("until {until:.0}, the policy lifts time gates of every policy");
            return ConditionDraft::new(True, "Emergency", message);
        }
        None => {}
    }
    if checked.paused {
        return ConditionDraft::new(True, "Paused", "every change is held; plugins can still run");
    }
    if !inputs.awaiting.is_empty() {
        return ConditionDraft::listing(True, "AwaitingEvidence", inputs.awaiting);
    }
    if inputs.rolling.is_empty() {
        return ConditionDraft::new(True, "Enforced", "the policy is enforced as written");
    }
    let waves: Vec<_> = inputs.rolling.iter().map(|(wave, until)| format!("{wave} until {until}")).collect();
    ConditionDraft::listing(True, "RollingOut", &waves)
}

/// Returns the message about conflicts, and about waves that are halted beside them, as far as there is room.
fn conflict(conflicts: &[ConflictOnHosts], halts: &[String]) -> String {
    const ADVICE: &str = "; change one of these fields, or exclude the hosts in one `hostSelector`; `d8 policy get \
                          --effective --host HOST` shows what applies to a host";
    let mut sentences: Vec<_> =
        conflicts.iter().take(MAX_CONFLICTS_IN_MESSAGE).map(ConflictOnHosts::sentence).collect();
    let more = conflicts.len() - sentences.len();
    if more > 0 {
        sentences.push(format!("and {more} more"));
    }
    let conflicts = join_whole(&sentences, "; ", limits::STATUS_MESSAGE - ADVICE.len());
    let sentences: Vec<_> = [conflicts + ADVICE].into_iter().chain(halts.iter().cloned()).collect();
    join_whole(&sentences, "; ", limits::STATUS_MESSAGE)
}

/// Returns a sentence for each halted wave.
fn halts(policy: &str, components: &[ComponentProgress]) -> Vec<String> {
    let all = components.iter().flat_map(|component| component.waves.iter().map(|wave| (&component.name, wave)));
    let halted = all.filter(|(_, wave)| wave.state == Some(WaveState::Halted));
    halted.filter_map(|(component, wave)| halt(policy, component, wave)).collect()
}

/// Returns `None` for a name or a version that the operator would not write.
fn halt(policy: &str, component: &str, wave: &WaveStatus) -> Option<String> {
    let (component, version) = (component.parse().ok()?, Version::parse(&wave.version).ok()?);
    let halted_at = wave.halted_at.as_ref().map(|time| time.0);
    Some(events::halted(policy, &component, &version, wave.failed, halted_at))
}

/// When a status must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteTime {
    /// Not at all: the policy shows it already.
    Never,
    Now,
    /// After this time, unless it changes meanwhile.
    After(Duration),
}

/// Decides when to write a status. `age`: time since this process wrote the last one; absent: it wrote none. Counts of
/// hosts may wait, except for the number of failed hosts.
pub(crate) fn write_time(
    shown: Option<&PluginPolicyStatus>,
    new: &PluginPolicyStatus,
    age: Option<Duration>,
) -> WriteTime {
    let (Some(shown), Some(age)) = (shown, age) else {
        return if shown == Some(new) { WriteTime::Never } else { WriteTime::Now };
    };
    if shown == new {
        return WriteTime::Never;
    }
    let without_counts = |status: &PluginPolicyStatus| {
        let mut status = PluginPolicyStatus { hosts: None, ..status.clone() };
        status.conditions.iter_mut().for_each(|condition| condition.message = without_numbers(&condition.message));
        status
    };
    let counts = |status: &PluginPolicyStatus| status.hosts.clone().unwrap_or_default();
    if without_counts(shown) != without_counts(new) || counts(shown).failed != counts(new).failed {
        return WriteTime::Now;
    }
    let left = COUNTS_INTERVAL.checked_sub(age).filter(|left| !left.is_zero());
    left.map_or(WriteTime::Now, WriteTime::After)
}

/// Returns a message without its numbers of hosts, so that two messages that say the same of other numbers are equal.
fn without_numbers(message: &str) -> String {
    let words: Vec<&str> = message.split(' ').collect();
    let is_counted =
        |next: Option<&&str>| next.is_some_and(|next| next.starts_with("host") || next.starts_with("canar"));
    let word = |(i, word): (usize, &&str)| {
        let is_number = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
        if is_number && is_counted(words.get(i + 1)) { "#".to_owned() } else { (*word).to_owned() }
    };
    words.iter().enumerate().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
