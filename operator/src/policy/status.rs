//! The status of a `PluginPolicy`: whether it is accepted, whether it is enforced as written, and how
//! many hosts it reaches. No IO, no clock.

use std::time::Duration;

use d8_crds::{
    platform::Platform,
    policy::{
        HostCounts, PluginPolicy, PluginPolicyStatus,
        checked::{Checked, Rejected},
        warnings::{Around, warnings},
    },
    verdict::workstation_labels,
};
use jiff::{SignedDuration, Timestamp};

use crate::release::conditions::{Conditions, Truth};

/// Platforms whose workstations a selector is tried on.
const WORKSTATIONS: [&str; 5] = ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"];
/// Counts are rewritten this often while nothing else changes: with thousands of hosts some count
/// changes all the time.
const COUNTS: SignedDuration = SignedDuration::from_hours(1);
/// The number of matched hosts, which changes when an admin enrols or labels one.
const MATCHED: SignedDuration = SignedDuration::from_mins(1);

/// Makes the status of a policy.
pub(crate) fn status(
    policy: &PluginPolicy,
    checked: &Result<Checked, Rejected>,
    cluster_uid: Option<&str>,
    hosts: HostCounts,
    previous: &PluginPolicyStatus,
    now: Timestamp,
) -> PluginPolicyStatus {
    let generation = policy.metadata.generation.unwrap_or_default();
    let mut conditions = Conditions::new(&previous.conditions, generation, now);
    match checked {
        Err(rejected) => {
            conditions.set("Accepted", Truth::False, "Invalid", &rejected.to_string());
            let hosts = if rejected.selector.is_some() { "the hosts it selects" } else { "every host" };
            let message = format!("it acts as paused for {hosts} until it is corrected; runs go on");
            conditions.set("Ready", Truth::False, "Invalid", &message);
        }
        Ok(checked) => {
            conditions.set("Accepted", Truth::True, "Accepted", &accepted(checked));
            let unsupported = unsupported(checked);
            if !unsupported.is_empty() {
                let message = format!(
                    "this release does nothing about {} yet; all else is enforced as written",
                    unsupported.join(", ")
                );
                conditions.set("Ready", Truth::False, "Unsupported", &message);
            } else if checked.paused {
                conditions.set("Ready", Truth::True, "Paused", "every change is held; runs go on");
            } else {
                conditions.set("Ready", Truth::True, "Enforced", "it is enforced as written");
            }
        }
    }
    PluginPolicyStatus {
        observed_generation: Some(generation),
        cluster_uid: cluster_uid.map(str::to_owned),
        hosts: Some(hosts),
        conditions: conditions.finish(),
        ..PluginPolicyStatus::default()
    }
}

/// What an admin should know about a policy that is valid.
fn accepted(checked: &Checked) -> String {
    let mut notes = vec!["every field is valid".to_owned()];
    let speaks_for_workstations = WORKSTATIONS
        .iter()
        .filter_map(|platform| platform.parse::<Platform>().ok())
        .any(|platform| checked.selector.matches(&workstation_labels(&platform)));
    let around = Around { workstations: speaks_for_workstations, ..Around::default() };
    notes.extend(warnings(checked, around));
    notes.join("; ")
}

/// The fields that this release accepts and does nothing about yet: it watches over no wave.
fn unsupported(checked: &Checked) -> Vec<String> {
    let halts = checked.rollout.as_ref().is_some_and(|rollout| rollout.max_failed.is_some());
    if halts { vec!["spec.rollout.maxFailed".to_owned()] } else { Vec::new() }
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
    let rest = |status: &PluginPolicyStatus| PluginPolicyStatus { hosts: None, ..status.clone() };
    let counts = |status: &PluginPolicyStatus| status.hosts.clone().unwrap_or_default();
    if rest(shown) != rest(new) || counts(shown).failed != counts(new).failed {
        return Due::Now;
    }
    let pace = if counts(shown).matched == counts(new).matched { COUNTS } else { MATCHED };
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
    use serde_json::json;

    use super::*;

    fn judged(spec: &serde_json::Value) -> PluginPolicyStatus {
        let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p", "generation": 4}, "spec": spec});
        let policy: PluginPolicy = serde_json::from_value(object).unwrap();
        let hosts = HostCounts { matched: 3, ..HostCounts::default() };
        let checked = Checked::new(&policy);
        status(&policy, &checked, Some("uid"), hosts, &PluginPolicyStatus::default(), Timestamp::UNIX_EPOCH)
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
            (json!({"hostSelector": {}}), "True/Accepted", "workstations too", "True/Enforced", ""),
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
                json!({"hostSelector": managed, "rollout": {"over": "48h", "maxFailed": 3}}),
                "True/Accepted",
                "",
                "False/Unsupported",
                "spec.rollout.maxFailed",
            ),
            (
                json!({"hostSelector": managed, "rules": [{"plugins": ["a*"]}, {"plugins": ["ab", "ac*"]}]}),
                "True/Accepted",
                "spec.rules[1] never speaks",
                "True/Enforced",
                "",
            ),
        ] {
            let status = judged(&spec);
            let (found, message) = condition(&status, "Accepted");
            assert!(found == accepted && message.contains(note), "{spec}: {found} {message}");
            let (found, message) = condition(&status, "Ready");
            assert!(found == ready && message.contains(about), "{spec}: {found} {message}");
            assert_eq!(status.observed_generation, Some(4));
            assert_eq!((status.cluster_uid.as_deref(), status.hosts.unwrap().matched), (Some("uid"), 3));
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
