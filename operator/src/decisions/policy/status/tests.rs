use d8_crds::records::policy::HostCounts;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::decisions::policy::conflicts::PolicyConflicts;

fn status_of(
    spec: &serde_json::Value,
    components: Vec<ComponentProgress>,
    rolling: &[(String, Timestamp)],
) -> PluginPolicyStatus {
    status_with(spec, components, rolling, &[])
}

fn status_with(
    spec: &serde_json::Value,
    components: Vec<ComponentProgress>,
    rolling: &[(String, Timestamp)],
    conflicts: &[ConflictOnHosts],
) -> PluginPolicyStatus {
    let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": "p", "generation": 4}, "spec": spec});
    let policy: PluginPolicy = serde_json::from_value(object).unwrap();
    let checked = CheckedPolicy::new(&policy);
    let d8: CliRelease = serde_json::from_value(json!({"metadata": {"name": "d8"}, "spec": {}})).unwrap();
    let inputs = StatusInputs {
        cluster_uid: Some("uid"),
        matched: &MatchedHosts {
            counts: HostCounts { matched: 3, ..HostCounts::default() },
            ..MatchedHosts::default()
        },
        canary_counter: None,
        people_unknown: false,
        records: &BTreeMap::from([(Component::D8, &d8)]),
        components,
        rolling,
        awaiting: &[],
        trimmed: false,
        conflicts,
        previous: &PluginPolicyStatus::default(),
        // A Thursday.
        now: Timestamp::UNIX_EPOCH,
    };
    status(&policy, &checked, inputs).0
}

fn condition(status: &PluginPolicyStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind).unwrap();
    assert_eq!(found.observed_generation, Some(4));
    (format!("{}/{}", found.status, found.reason), found.message.clone())
}

#[test]
fn accepted_and_ready() {
    let managed = json!({"matchLabels": {"role": "bastion"}});
    for (spec, accepted, accepted_message, ready, ready_message) in [
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
        let status = status_of(&spec, vec![], &[]);
        let (found, message) = condition(&status, "Accepted");
        assert!(found == accepted && message.contains(accepted_message), "{spec}: {found} {message}");
        let (found, message) = condition(&status, "Ready");
        assert!(found == ready && message.contains(ready_message), "{spec}: {found} {message}");
        assert_eq!(status.observed_generation, Some(4));
        assert_eq!((status.cluster_uid.as_deref(), status.hosts.unwrap().matched), (Some("uid"), 3));
    }
}

#[test]
fn ready_names_halted_and_running_waves() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let halted = |name: &str| ComponentProgress {
        name: name.to_owned(),
        waves: vec![WaveStatus {
            version: "v1.3.3".to_owned(),
            since: None,
            state: Some(WaveState::Halted),
            failed: 3,
            succeeded: None,
            canaries: None,
            halted_at: Some(Time(at(60))),
        }],
        ..ComponentProgress::default()
    };
    let rolling = |count: i64| (0..count).map(|n| (format!("p{n} v1.0.0"), at(n))).collect::<Vec<_>>();
    let (plain, paused) = (json!({"hostSelector": {}}), json!({"hostSelector": {}, "paused": true}));
    for (spec, components, waves, ready, message) in [
        (&plain, vec![], rolling(1), "True/RollingOut", "p0 v1.0.0 until 1970-01-01T00:00:00Z"),
        (&plain, vec![], rolling(6), "True/RollingOut", "p5 v1.0.0 until 1970-01-01T00:00:05Z"),
        (&plain, vec![], rolling(60), "True/RollingOut", "p25 v1.0.0 until 1970-01-01T00:00:25Z; and 34 more"),
        (&paused, vec![], rolling(1), "True/Paused", "every change is held; plugins can still run"),
        (
            &paused,
            vec![halted("stronghold")],
            rolling(1),
            "False/WaveHalted",
            "cli.deckhouse.io/resume=stronghold/v1.3.3@1970-01-01T00:01:00Z`",
        ),
    ] {
        let (found, text) = condition(&status_of(spec, components, &waves), "Ready");
        assert!(found == ready && text.ends_with(message), "{spec}: {found} {text}");
    }
}

/// The policy, which contradicts another one about some components, on 3 hosts.
fn contradicted(spec: &serde_json::Value, components: usize) -> (PluginPolicy, Vec<ConflictOnHosts>) {
    let plugins: Vec<_> = (0..components).map(|n| format!("p{n}")).collect();
    let policy = |name: &str, spec: &serde_json::Value, versions: &str| {
        let mut spec = spec.clone();
        spec["rules"] = json!([{"plugins": plugins, "versions": versions}]);
        let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": name, "generation": 4}, "spec": spec});
        serde_json::from_value::<PluginPolicy>(object).unwrap()
    };
    let managed = json!({"hostSelector": {"matchLabels": {"role": "bastion"}}});
    let policies = [policy("p", spec, ">=2"), policy("q", &managed, "<2")];
    let labels = [("role".to_owned(), "bastion".to_owned())].into();
    let conflicts = PolicyConflicts::find(&policies, &[(std::sync::Arc::new(labels), 3)], &[]);
    let [first, _] = policies;
    (first, conflicts.of("p"))
}

#[test]
fn rule_22_ready_names_conflicts() {
    let conflict = |n: usize| {
        format!(
            "on 3 hosts, no version of p{n} meets policy p, rules[0].versions (`>=2`) and policy q, rules[0].versions \
             (`<2`)"
        )
    };
    let advice = "; change one of these fields, or exclude the hosts in one `hostSelector`; `d8 policy get --effective \
                  --host HOST` shows what applies to a host";
    let halted = ComponentProgress {
        name: "p0".to_owned(),
        waves: vec![WaveStatus { version: "v1.3.3".to_owned(), state: Some(WaveState::Halted), failed: 3, ..wave() }],
        ..ComponentProgress::default()
    };
    for (fields, components, waves, expected) in [
        (json!({}), 1, vec![], format!("{}{advice}", conflict(0))),
        (json!({"paused": true}), 1, vec![], format!("{}{advice}", conflict(0))),
        (json!({}), 3, vec![], format!("{}; {}; and 1 more{advice}", conflict(0), conflict(1))),
        (
            json!({}),
            1,
            vec![halted],
            format!("{}{advice}; policy p, rollout.maxFailed: the wave of p0 v1.3.3", conflict(0)),
        ),
    ] {
        let (policy, conflicts) = contradicted(&spec_with(&fields), components);
        let spec = serde_json::to_value(&policy.spec).unwrap();
        let (found, message) = condition(&status_with(&spec, waves, &[], &conflicts), "Ready");
        assert!(found == "False/Conflict" && message.starts_with(&expected), "{fields}: {found} {message}");
    }
}

fn wave() -> WaveStatus {
    WaveStatus {
        version: String::new(),
        since: None,
        state: None,
        failed: 0,
        succeeded: None,
        canaries: None,
        halted_at: None,
    }
}

#[test]
fn a_conflict_that_begins_or_ends_has_an_event() {
    let spec = spec_with(&json!({}));
    let (_, conflicts) = contradicted(&spec, 1);
    let (plain, contradicted) = (status_of(&spec, vec![], &[]), status_with(&spec, vec![], &[], &conflicts));
    let invalid = status_of(&spec_with(&json!({"windows": []})), vec![], &[]);
    let none = PluginPolicyStatus::default();
    for (before, after, expected) in [
        (&none, &plain, None),
        (&none, &contradicted, Some("Warning Conflict Ready")),
        (&plain, &contradicted, Some("Warning Conflict Ready")),
        (&contradicted, &contradicted, None),
        (&contradicted, &plain, Some("Normal Enforced Ready")),
        // The event about the invalid policy says it.
        (&contradicted, &invalid, None),
    ] {
        let event = events::conflict(before, after);
        assert_eq!(event.map(|event| event.summary()).as_deref(), expected);
    }
}

#[test]
fn the_next_window_opens_after_the_current_one() {
    let window = |start: &str, duration: &str| json!({"windows": [{"start": start, "duration": duration}]});
    let blackout = |from: &str, to: &str| json!({"blackouts": [{"from": from, "to": to, "reason": "freeze"}]});
    let daily_until_noon = json!({
        "windows": [{"start": "02:00", "duration": "1h"}],
        "blackouts": [{"from": "1970-01-01T00:00", "to": "1970-01-03T12:00", "reason": "freeze"}],
    });
    for (fields, next) in [
        (json!({}), None),
        (window("02:00", "1h"), Some("1970-01-01T02:00:00Z")),
        // Open now.
        (window("23:00", "2h"), Some("1970-01-01T23:00:00Z")),
        // Never closed.
        (window("00:00", "25h"), None),
        // A blackout that lasts, one that is ahead, one that is over, and one across the next windows.
        (blackout("1970-01-01T00:00", "1970-01-03T00:00"), Some("1970-01-03T00:00:00Z")),
        (blackout("1970-01-02T00:00", "1970-01-03T00:00"), Some("1970-01-03T00:00:00Z")),
        (blackout("1969-12-30T00:00", "1969-12-31T00:00"), None),
        (daily_until_noon, Some("1970-01-04T02:00:00Z")),
    ] {
        let spec = spec_with(&fields);
        assert_eq!(status_of(&spec, vec![], &[]).next_window.as_deref(), next, "{fields}");
    }
}

fn spec_with(fields: &serde_json::Value) -> serde_json::Value {
    let mut spec = json!({"hostSelector": {}});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    spec
}

#[test]
fn an_emergency_is_shown_while_it_stands() {
    for (until, ready, message) in [
        ("1970-01-02T00:00:00Z", "True/Emergency", "until 1970-01-02T00:00:00Z, the policy lifts"),
        ("1970-01-01T00:00:00Z", "True/EmergencyEnded", "the emergency is over"),
    ] {
        let rules = json!([{"plugins": ["stronghold"], "expedite": ["v1.3.3"]}]);
        let status = status_of(&spec_with(&json!({"emergency": {"until": until}, "rules": rules})), vec![], &[]);
        let (found, text) = condition(&status, "Ready");
        assert!(found == ready && text.starts_with(message), "{found} {text}");
        let warning = if ready == "True/Emergency" {
            format!("until {until}, ")
        } else {
            format!("the emergency ended at {until}")
        };
        assert!(condition(&status, "Accepted").1.contains(&warning), "{status:?}");
    }
}

#[test]
fn counts_of_hosts_may_wait() {
    let counts = |matched, held, failed| PluginPolicyStatus {
        hosts: Some(HostCounts { matched, up_to_date: 0, held, failed }),
        ..PluginPolicyStatus::default()
    };
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let shown = counts(3, 1, 0);
    let other = PluginPolicyStatus { observed_generation: Some(5), ..shown.clone() };
    for (new, age, expected) in [
        (shown.clone(), Some(minutes(999)), WriteTime::Never),
        (other, Some(minutes(0)), WriteTime::Now),
        (counts(3, 1, 1), Some(minutes(0)), WriteTime::Now),
        (counts(3, 2, 0), Some(Duration::from_secs(20)), WriteTime::After(Duration::from_secs(40))),
        (counts(3, 2, 0), Some(minutes(1)), WriteTime::Now),
        (counts(4, 1, 0), Some(minutes(0)), WriteTime::After(minutes(1))),
        (counts(4, 1, 0), Some(minutes(1)), WriteTime::Now),
        (counts(3, 2, 0), None, WriteTime::Now),
        (shown.clone(), None, WriteTime::Never),
    ] {
        assert_eq!(write_time(Some(&shown), &new, age), expected, "{new:?} {age:?}");
    }
    assert_eq!(write_time(None, &shown, None), WriteTime::Now);
}

/// A new warning is written at once; only numbers of hosts may wait.
#[test]
fn messages_with_other_numbers_may_wait() {
    let said = |reason: &str, message: &str| {
        let mut status = status_of(&spec_with(&json!({})), vec![], &[]);
        let condition = status.conditions.iter_mut().find(|c| c.type_ == "Accepted").unwrap();
        (condition.reason, condition.message) = (reason.to_owned(), message.to_owned());
        status
    };
    let waits = WriteTime::After(Duration::from_mins(1));
    let shown = said("Accepted", "it matches 3 hosts; a warning");
    for (reason, message, expected) in [
        ("Accepted", "it matches 4 hosts; a warning", waits),
        ("Accepted", "it matches 3 hosts; another warning", WriteTime::Now),
        ("Accepted", "it matches 3 hosts", WriteTime::Now),
    ] {
        assert_eq!(write_time(Some(&shown), &said(reason, message), Some(Duration::ZERO)), expected, "{message}");
    }
}
