//! The status of a `PluginPolicy`: whether it is accepted, whether it is enforced as written, and how
//! many hosts it reaches. No IO, no clock.

use std::{collections::BTreeMap, time::Duration};

use d8_crds::{
    decisions::{
        validation::{
            CheckedPolicy, Rejection,
            warnings::{PolicyContext, warnings},
        },
        verdict::workstation_labels,
    },
    records::policy::{ComponentProgress, HostCounts, PluginPolicy, PluginPolicyStatus, WaveState, WaveStatus},
    values::{channel::Channel, name::Component, platform::Platform},
};
use jiff::{SignedDuration, Timestamp};

use super::notes;
use crate::release::conditions::{Conditions, Truth};

/// Platforms whose workstations a selector is tried on.
const WORKSTATIONS: [&str; 5] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"];
/// Counts are rewritten this often while nothing else changes: with thousands of hosts some count
/// changes all the time.
const COUNTS: SignedDuration = SignedDuration::from_hours(1);
/// The number of matched hosts, which changes when an admin enrols or labels one.
const MATCHED: SignedDuration = SignedDuration::from_mins(1);
/// How many waves a condition's message names.
const SOME: usize = 4;

/// What a status is made from, beside the policy.
pub(super) struct Facts<'a> {
    /// The cluster's identity.
    pub(super) cluster_uid: Option<&'a str>,
    /// How many hosts it reaches, and where they stand.
    pub(super) hosts: HostCounts,
    /// What each record publishes.
    pub(super) channels: &'a BTreeMap<Component, Channel>,
    /// Where it leads each component.
    pub(super) components: Vec<ComponentProgress>,
    /// Waves of targets that are under way, and until when.
    pub(super) rolling: &'a [(String, Timestamp)],
    /// Not all waves fit into the status.
    pub(super) trimmed: bool,
    /// The status before.
    pub(super) previous: &'a PluginPolicyStatus,
    /// Now, in whole seconds.
    pub(super) now: Timestamp,
}

/// Makes the status of a policy.
pub(super) fn status(
    policy: &PluginPolicy,
    checked: &Result<CheckedPolicy, Rejection>,
    facts: Facts<'_>,
) -> PluginPolicyStatus {
    let generation = policy.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&facts.previous.conditions, generation, facts.now);
    match checked {
        Err(rejected) => {
            conditions.set("Accepted", Truth::False, "Invalid", &rejected.to_string());
            let hosts = if rejected.selector.is_some() { "the hosts it selects" } else { "every host" };
            let message = format!("it acts as paused for {hosts} until it is corrected; runs go on");
            conditions.set("Ready", Truth::False, "Invalid", &message);
        }
        Ok(checked) => {
            conditions.set("Accepted", Truth::True, "Accepted", &accepted(checked, &facts));
            let (truth, reason, message) = ready(checked, &facts);
            conditions.set("Ready", truth, reason, &message);
        }
    }
    let next_window = checked.as_ref().ok().and_then(|checked| next_window(checked, facts.now));
    PluginPolicyStatus {
        observed_generation: Some(generation),
        cluster_uid: facts.cluster_uid.map(str::to_owned),
        next_window: next_window.map(|instant| instant.to_string()),
        hosts: Some(facts.hosts),
        components: facts.components,
        conditions: conditions.finish(),
    }
}

/// The status while the policy's ledger can't be read: its waves are as they were, and its last edit is
/// not observed, so that nobody takes it for a policy without waves.
pub(super) fn blocked(
    policy: &PluginPolicy,
    previous: &PluginPolicyStatus,
    message: &str,
    now: Timestamp,
) -> PluginPolicyStatus {
    let generation = policy.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    conditions.set("Accepted", Truth::True, "Accepted", "every field is valid");
    conditions.set("Ready", Truth::False, "LedgerUnreadable", message);
    PluginPolicyStatus { conditions: conditions.finish(), ..previous.clone() }
}

/// When its windows open next: after the one that is open, if one is. None: they never close, or it has
/// none.
fn next_window(checked: &CheckedPolicy, now: Timestamp) -> Option<Timestamp> {
    let windows = checked.windows.as_ref()?;
    windows.next_opening(windows.open_until(now)?)
}

/// When one of its windows opens or closes.
pub(super) fn window_changes(checked: &CheckedPolicy, now: Timestamp) -> Option<Timestamp> {
    let windows = checked.windows.as_ref()?;
    if windows.open_at(now) { windows.open_until(now) } else { windows.next_opening(now) }
}

/// What an admin should know about a policy that is valid.
fn accepted(checked: &CheckedPolicy, facts: &Facts<'_>) -> String {
    let mut notes = vec!["every field is valid".to_owned()];
    let workstations = WORKSTATIONS
        .iter()
        .filter_map(|platform| platform.parse::<Platform>().ok())
        .any(|platform| checked.selector.matches(&workstation_labels(&platform)));
    let around = PolicyContext { hosts: Some(facts.hosts.matched), workstations, channels: Some(facts.channels) };
    notes.extend(warnings(checked, around));
    notes.join("; ")
}

/// Whether it is enforced as written, and what an admin should know of that.
fn ready(checked: &CheckedPolicy, facts: &Facts<'_>) -> (Truth, &'static str, String) {
    let halts = halts(&checked.name, &facts.components);
    if !halts.is_empty() {
        return (Truth::False, "WaveHalted", some(&halts));
    }
    if facts.trimmed {
        let message = "the oldest versions are not in its status and spread by their age alone: there are too many";
        return (Truth::False, "TooManyWaves", message.to_owned());
    }
    if checked.paused {
        return (Truth::True, "Paused", "every change is held; runs go on".to_owned());
    }
    if facts.rolling.is_empty() {
        return (Truth::True, "Enforced", "it is enforced as written".to_owned());
    }
    let waves: Vec<_> = facts.rolling.iter().map(|(what, until)| format!("{what} until {until}")).collect();
    (Truth::True, "RollingOut", some(&waves))
}

/// A sentence for each halted wave.
fn halts(policy: &str, components: &[ComponentProgress]) -> Vec<String> {
    let all = components.iter().flat_map(|component| component.waves.iter().map(|wave| (&component.name, wave)));
    let halted = all.filter(|(_, wave)| wave.state == Some(WaveState::Halted));
    halted.map(|(component, wave)| halt(policy, component, wave)).collect()
}

fn halt(policy: &str, component: &str, wave: &WaveStatus) -> String {
    let at = wave.halted_at.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    notes::halt(policy, &format!("{component} {}", wave.version), &wave.version, wave.failed, &at)
}

/// The first few, and how many more there are.
fn some(sentences: &[String]) -> String {
    let shown = sentences.iter().take(SOME).cloned().collect::<Vec<_>>().join("; ");
    match sentences.len().saturating_sub(SOME) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Whether a new status is to be written, or when to look again. `age`: since the last write; none:
/// there was none by this process. Failures and everything beside the counts are written at once.
pub(crate) fn due(shown: Option<&PluginPolicyStatus>, new: &PluginPolicyStatus, age: Option<Duration>) -> Due {
    let (Some(shown), Some(age)) = (shown, age) else {
        return if shown == Some(new) { Due::Never } else { Due::Now };
    };
    if shown == new {
        return Due::Never;
    }
    let rest = |status: &PluginPolicyStatus| {
        let mut rest = PluginPolicyStatus { hosts: None, ..status.clone() };
        // It counts hosts too.
        rest.conditions
            .iter_mut()
            .filter(|c| c.type_ == "Accepted" && c.status == "True")
            .for_each(|c| c.message.clear());
        rest
    };
    let counts = |status: &PluginPolicyStatus| status.hosts.clone().unwrap_or_default();
    if rest(shown) != rest(new) || counts(shown).failed != counts(new).failed {
        return Due::Now;
    }
    let only_counts = counts(shown).matched == counts(new).matched && shown.conditions == new.conditions;
    let pace = if only_counts { COUNTS } else { MATCHED };
    let pace = Duration::try_from(pace).unwrap_or_default();
    pace.checked_sub(age).filter(|rest| !rest.is_zero()).map_or(Due::Now, Due::In)
}

/// When a status is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is written already.
    Never,
    /// At once.
    Now,
    /// After this time, unless it changes meanwhile.
    In(Duration),
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn judged(
        spec: &serde_json::Value,
        components: Vec<ComponentProgress>,
        rolling: &[(String, Timestamp)],
    ) -> PluginPolicyStatus {
        let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p", "generation": 4}, "spec": spec});
        let policy: PluginPolicy = serde_json::from_value(object).unwrap();
        let checked = CheckedPolicy::new(&policy);
        let facts = Facts {
            cluster_uid: Some("uid"),
            hosts: HostCounts { matched: 3, ..HostCounts::default() },
            channels: &BTreeMap::from([(Component::D8, Channel::Stable)]),
            components,
            rolling,
            trimmed: false,
            previous: &PluginPolicyStatus::default(),
            // A Thursday.
            now: Timestamp::UNIX_EPOCH,
        };
        status(&policy, &checked, facts)
    }

    fn condition(status: &PluginPolicyStatus, kind: &str) -> (String, String) {
        let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
        assert_eq!(found.observed_generation, Some(4));
        (format!("{}/{}", found.status, found.reason), found.message.clone())
    }

    #[test]
    fn conditions() {
        let managed = json!({"matchLabels": {"role": "bastion"}});
        for (spec, accepted, note, ready, about) in [
            (json!({"hostSelector": managed}), "True/Accepted", "every field is valid", "True/Enforced", ""),
            (json!({"hostSelector": {}}), "True/Accepted", "it matches 3 hosts and workstations", "True/Enforced", ""),
            (json!({"hostSelector": managed, "paused": true}), "True/Accepted", "", "True/Paused", ""),
            (
                json!({"hostSelector": managed, "rules": [{"plugins": ["a"], "versions": "one"}]}),
                "False/Invalid",
                "spec.rules[0].versions",
                "False/Invalid",
                "the hosts it selects",
            ),
            (
                json!({"hostSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}}),
                "False/Invalid",
                "spec.hostSelector",
                "False/Invalid",
                "every host",
            ),
            (
                json!({"hostSelector": managed, "defaults": {"minAge": "72h"}, "rollout": {"over": "48h"}}),
                "True/Accepted",
                "",
                "True/Enforced",
                "",
            ),
            (
                json!({"hostSelector": managed, "cli": {"channel": "Prerelease"}}),
                "True/Accepted",
                "it matches 3 hosts; spec.cli.channel: pre-releases of d8 are not published",
                "True/Enforced",
                "",
            ),
            (
                json!({"hostSelector": managed, "rules": [{"plugins": ["a*"]}, {"plugins": ["ab", "ac*"]}]}),
                "True/Accepted",
                "spec.rules[1] never applies",
                "True/Enforced",
                "",
            ),
        ] {
            let status = judged(&spec, vec![], &[]);
            let (found, message) = condition(&status, "Accepted");
            assert!(found == accepted && message.contains(note), "{spec}: {found} {message}");
            let (found, message) = condition(&status, "Ready");
            assert!(found == ready && message.contains(about), "{spec}: {found} {message}");
            assert_eq!(status.observed_generation, Some(4));
            assert_eq!((status.cluster_uid.as_deref(), status.hosts.unwrap().matched), (Some("uid"), 3));
        }
    }

    #[test]
    fn what_ready_says_of_waves() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let halted = |name: &str| ComponentProgress {
            name: name.to_owned(),
            waves: vec![WaveStatus {
                version: "v1.3.3".to_owned(),
                since: None,
                state: Some(WaveState::Halted),
                failed: 3,
                halted_at: Some(Time(at(60))),
            }],
            ..ComponentProgress::default()
        };
        let rolling = |count: i64| (0..count).map(|n| (format!("p{n} v1.0.0"), at(n))).collect::<Vec<_>>();
        let (plain, paused) = (json!({"hostSelector": {}}), json!({"hostSelector": {}, "paused": true}));
        for (spec, components, waves, ready, message) in [
            (&plain, vec![], rolling(1), "True/RollingOut", "p0 v1.0.0 until 1970-01-01T00:00:00Z"),
            (&plain, vec![], rolling(6), "True/RollingOut", "p3 v1.0.0 until 1970-01-01T00:00:03Z; and 2 more"),
            (&paused, vec![], rolling(1), "True/Paused", "every change is held; runs go on"),
            (
                &paused,
                vec![halted("stronghold")],
                rolling(1),
                "False/WaveHalted",
                "cli.deckhouse.io/resume=v1.3.3@1970-01-01T00:01:00Z`",
            ),
        ] {
            let (found, said) = condition(&judged(spec, components, &waves), "Ready");
            assert!(found == ready && said.ends_with(message), "{spec}: {found} {said}");
        }
    }

    #[test]
    fn the_next_window() {
        let window = |start: &str, duration: &str| json!([{"start": start, "duration": duration}]);
        for (windows, next) in [
            (json!(null), None),
            (window("02:00", "1h"), Some("1970-01-01T02:00:00Z")),
            // Open now: the one after.
            (window("23:00", "2h"), Some("1970-01-01T23:00:00Z")),
            // Never closed.
            (window("00:00", "25h"), None),
        ] {
            let mut spec = json!({"hostSelector": {}});
            if !windows.is_null() {
                spec["windows"] = windows.clone();
            }
            assert_eq!(judged(&spec, vec![], &[]).next_window.as_deref(), next, "{windows}");
        }
    }

    #[test]
    fn when_counts_are_written() {
        let counts = |matched, held, failed| PluginPolicyStatus {
            hosts: Some(HostCounts { matched, up_to_date: 0, held, failed }),
            ..PluginPolicyStatus::default()
        };
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let shown = counts(3, 1, 0);
        let other = PluginPolicyStatus { observed_generation: Some(5), ..shown.clone() };
        for (new, age, expected) in [
            (shown.clone(), Some(minutes(999)), Due::Never),
            (other, Some(minutes(0)), Due::Now),
            (counts(3, 1, 1), Some(minutes(0)), Due::Now),
            (counts(3, 2, 0), Some(minutes(20)), Due::In(minutes(40))),
            (counts(3, 2, 0), Some(minutes(60)), Due::Now),
            (counts(4, 1, 0), Some(minutes(0)), Due::In(minutes(1))),
            (counts(4, 1, 0), Some(minutes(1)), Due::Now),
            (counts(3, 2, 0), None, Due::Now),
            (shown.clone(), None, Due::Never),
        ] {
            assert_eq!(due(Some(&shown), &new, age), expected, "{new:?} {age:?}");
        }
        assert_eq!(due(None, &shown, None), Due::Now);
    }
}
