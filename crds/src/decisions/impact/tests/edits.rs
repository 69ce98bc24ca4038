//! The policies of a cluster after an edit, and what the edit does to waves.

use jiff::Timestamp;

use super::*;
use crate::{
    decisions::{
        validation::RESUME,
        wave::{FailedChange, UpToDate},
    },
    records::policy::PluginPolicy,
};

fn file(name: &str, spec: &Value) -> PluginPolicy {
    serde_json::from_value(policy(name, spec)).unwrap()
}

fn edit(live: &[Value], files: &[PluginPolicy], hosts: &[HostFacts], prune: bool) -> PolicyEdit {
    let records = records();
    PolicyEdit::new(live, files, ClusterState { records: &records, hosts, now: NOW.parse().unwrap() }, prune)
}

/// Returns a live policy with the waves of `tool` in its status.
fn live(spec: &Value, waves: &Value) -> Value {
    let mut live = policy("a", spec);
    live["metadata"]["generation"] = json!(4);
    live["status"] = json!({"observedGeneration": 4, "components": [{"name": "tool", "waves": waves}]});
    live
}

/// Returns the wave of a version of `tool`: its `since`, and its state unless it runs.
fn wave(edit: &PolicyEdit, version: &str) -> String {
    let components = edit.policies[0]["status"]["components"].as_array().cloned().unwrap_or_default();
    let tool = components.iter().find(|component| component["name"] == "tool");
    let waves = tool.map(|tool| tool["waves"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
    let Some(wave) = waves.iter().find(|wave| wave["version"] == version) else { return "none".to_owned() };
    let parts = ["since", "state", "succeeded"].map(|key| match &wave[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    });
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns what happens to the waves of a version of `tool`.
fn changes(edit: &PolicyEdit, version: &str) -> Vec<WaveChangeKind> {
    let of_version = |change: &&WaveChange| change.component.name() == "tool" && change.version.to_string() == version;
    edit.waves.iter().filter(of_version).map(|change| change.kind).collect()
}

const SEEN: &str = "2026-11-21T12:00:00Z";
const HALTED: &str = "2026-11-22T06:00:00Z";

/// v1.3.0 of the tool was seen a day ago, at `SEEN`; its wave takes two days.
#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn waves_after_an_edit() {
    let spec = |rollout: Value, rule: Value| {
        let mut spec = json!({"rules": [{"plugins": ["tool"]}]});
        spec["rules"][0].as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        if !rollout.is_null() {
            spec["rollout"] = rollout;
        }
        spec
    };
    let any = json!({});
    let over = json!({"over": "48h"});
    let evidence = json!({"over": "48h", "canaryPercent": 10, "requireSucceeded": {"hosts": 2, "for": "1h"}});
    let none = Value::Null;
    let awaits = WaveChangeKind::Awaits { hosts: 2, stable_for: std::time::Duration::from_hours(1) };
    let begins = WaveChangeKind::Begins { at: NOW.parse().unwrap(), over: std::time::Duration::from_hours(48) };
    let running = json!([{"version": "v1.3.0", "since": SEEN, "state": "Running", "failed": 0}]);
    let halted = json!([{"version": "v1.3.0", "since": SEEN, "state": "Halted", "failed": 3, "haltedAt": HALTED}]);
    let waiting = json!([{"version": "v1.3.0", "state": "AwaitingEvidence", "failed": 0, "succeeded": 1}]);
    let nothing = json!([]);
    let now = NOW;
    for (case, before, waves, after, expected, kinds) in [
        ("a wave goes on", (&over, &any), &running, (&over, &json!({"minAge": "1h"})), SEEN.to_owned(), vec![]),
        ("a running wave does not wait anew", (&over, &any), &running, (&evidence, &any), SEEN.to_owned(), vec![]),
        ("nor does a complete one", (&over, &any), &nothing, (&evidence, &any), SEEN.to_owned(), vec![]),
        (
            "a complete one stays complete",
            (&over, &any),
            &nothing,
            (&over, &json!({"minAge": "1h"})),
            SEEN.to_owned(),
            vec![],
        ),
        (
            "what was not permitted waits",
            (&over, &json!({"versions": "<1.3"})),
            &nothing,
            (&evidence, &any),
            "AwaitingEvidence 0".to_owned(),
            vec![awaits],
        ),
        (
            "what was not permitted begins now",
            (&over, &json!({"versions": "<1.3"})),
            &nothing,
            (&over, &any),
            now.to_owned(),
            vec![begins],
        ),
        (
            "what is not permitted ends",
            (&over, &any),
            &running,
            (&over, &json!({"versions": "<1.3"})),
            "none".to_owned(),
            vec![],
        ),
        ("a wave without evidence begins", (&evidence, &any), &waiting, (&over, &any), now.to_owned(), vec![begins]),
        ("also if the status leaves it out", (&evidence, &any), &nothing, (&over, &any), now.to_owned(), vec![begins]),
        ("a begun one stays without evidence", (&evidence, &any), &running, (&over, &any), SEEN.to_owned(), vec![]),
        (
            "what waited still waits",
            (&evidence, &any),
            &waiting,
            (&evidence, &json!({"minAge": "1h"})),
            "AwaitingEvidence 0".to_owned(),
            vec![],
        ),
        ("a new rollout begins now", (&none, &any), &nothing, (&over, &any), now.to_owned(), vec![begins]),
        (
            "a new rollout may wait",
            (&none, &any),
            &nothing,
            (&evidence, &any),
            "AwaitingEvidence 0".to_owned(),
            vec![awaits],
        ),
        ("no rollout, no wave", (&over, &any), &running, (&none, &any), "none".to_owned(), vec![]),
        ("a halt stays", (&over, &any), &halted, (&over, &json!({"minAge": "1h"})), format!("{SEEN} Halted"), vec![]),
        ("also without a rollout", (&over, &any), &halted, (&none, &any), "Halted".to_owned(), vec![]),
        ("also under evidence", (&over, &any), &halted, (&evidence, &any), format!("{SEEN} Halted"), vec![]),
        (
            "also if it is denied",
            (&over, &any),
            &halted,
            (&over, &json!({"access": "Deny"})),
            "Halted".to_owned(),
            vec![],
        ),
    ] {
        let spec = |(rollout, rule): (&Value, &Value)| spec(rollout.clone(), rule.clone());
        let (before, after) = (live(&spec(before), waves), file("a", &spec(after)));
        let edit = edit(&[before], &[after], &[], false);
        assert_eq!(wave(&edit, "v1.3.0"), expected, "{case}");
        assert_eq!(changes(&edit, "v1.3.0"), kinds, "{case}");
    }
}

#[test]
fn versions_that_have_succeeded_need_not_wait() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let host = |version: &str, since: &str| {
        let mut host = machine(true, &[("tool", version)]);
        let up_to_date = Some(UpToDate::new(at(since), Some(at(NOW))));
        host.active.values_mut().for_each(|active| active.up_to_date = up_to_date);
        host
    };
    let elsewhere = HostFacts { labels: BTreeMap::new(), ..host("v1.3.0", SEEN) };
    let long = host("v1.3.0", SEEN);
    let too_short = host("v1.3.0", "2026-11-22T11:30:00Z");
    let spec = json!({"hostSelector": {"matchLabels": {"role": "bastion"}},
        "rollout": {"over": "48h", "canaryPercent": 10, "requireSucceeded": {"hosts": 2, "for": "1h"}}});
    for (hosts, expected) in [
        (vec![long.clone(), too_short, elsewhere], "AwaitingEvidence 1"),
        (vec![long.clone(), host("v1.2.0", SEEN)], "AwaitingEvidence 1"),
        (vec![long.clone(), long], NOW),
    ] {
        let edit = edit(&[], &[file("a", &spec)], &hosts, false);
        assert_eq!(wave(&edit, "v1.3.0"), expected);
    }
}

#[test]
fn an_annotation_resumes_a_halt_and_nothing_else_does() {
    let spec = json!({"rollout": {"over": "48h"}});
    let halted = json!([{"version": "v1.3.0", "since": SEEN, "state": "Halted", "failed": 3, "haltedAt": HALTED}]);
    let before = live(&spec, &halted);
    let annotated = |halt: &str| {
        let mut resuming = file("a", &spec);
        resuming.metadata.annotations = Some([(RESUME.to_owned(), halt.to_owned())].into());
        resuming
    };
    let resumed = format!("tool/v1.3.0@{HALTED}");
    let edited = edit(std::slice::from_ref(&before), &[annotated(&resumed)], &[], false);
    assert_eq!(edited.policies[0]["metadata"]["annotations"][RESUME], resumed);
    // It goes on where it was: 18 hours after its beginning.
    assert_eq!(wave(&edited, "v1.3.0"), "2026-11-21T18:00:00Z");
    assert_eq!(changes(&edited, "v1.3.0"), [WaveChangeKind::Resumes]);
    let other = edit(std::slice::from_ref(&before), &[annotated(&format!("tool/v1.3.0@{NOW}"))], &[], false);
    assert_eq!(wave(&other, "v1.3.0"), format!("{SEEN} Halted"));
    assert_eq!(changes(&other, "v1.3.0"), []);
    // A wave that was halted before minAge had passed has not begun.
    let mut soaking = annotated(&resumed);
    soaking.spec.defaults = Some(serde_json::from_value(json!({"minAge": "72h"})).unwrap());
    assert_eq!(wave(&edit(&[before], &[soaking], &[], false), "v1.3.0"), NOW);
}

/// The operator halts a wave as soon as so many hosts have failed as the edited policy permits.
#[test]
fn failures_that_halt_a_wave_after_an_edit() {
    let spec = |max: Option<u32>| match max {
        Some(max) => json!({"rollout": {"over": "48h", "maxFailed": max}}),
        None => json!({"rollout": {"over": "48h"}}),
    };
    let running = |failed: u32| json!([{"version": "v1.3.0", "since": SEEN, "state": "Running", "failed": failed}]);
    let failing = |version: &str, since: Option<&str>| {
        let version = Version::parse(version).unwrap();
        let switching_since = since.map(|since| since.parse().unwrap());
        let failed = vec![("tool".parse().unwrap(), FailedChange { version, switching_since })];
        HostFacts { failed, ..machine(true, &[("tool", "v1.2.0")]) }
    };
    let (failed, stuck) = (failing("v1.3.0", None), failing("v1.3.0", Some("2026-11-22T11:30:00Z")));
    let (switching, other) = (failing("v1.3.0", Some("2026-11-22T11:31:00Z")), failing("v1.2.0", None));
    for (before, in_status, after, hosts, expected) in [
        (None, 2, Some(2), vec![], Some((2, 2))),
        (None, 2, Some(3), vec![], None),
        (Some(5), 2, Some(1), vec![], Some((2, 1))),
        // It was resumed after these failures.
        (Some(2), 2, Some(1), vec![], None),
        (Some(2), 2, Some(1), vec![&failed, &failed, &failed], Some((3, 1))),
        (None, 0, Some(2), vec![&failed, &stuck], Some((2, 2))),
        (None, 0, Some(2), vec![&failed, &switching, &other], None),
        (Some(5), 2, None, vec![&failed], None),
    ] {
        let before = live(&spec(before), &running(in_status));
        let hosts: Vec<_> = hosts.into_iter().cloned().collect();
        let edit = edit(&[before], &[file("a", &spec(after))], &hosts, false);
        let halts = expected.map(|(failed, max_failed)| WaveChangeKind::Halts { failed, max_failed });
        assert_eq!(changes(&edit, "v1.3.0"), halts.into_iter().collect::<Vec<_>>(), "{in_status} {after:?}");
        let state = if halts.is_some() { " Halted" } else { "" };
        assert_eq!(wave(&edit, "v1.3.0"), format!("{SEEN}{state}"));
    }
    // A new policy begins a wave that is halted at once.
    let new = edit(&[], &[file("a", &spec(Some(1)))], &[failed], false);
    assert_eq!(changes(&new, "v1.3.0"), [WaveChangeKind::Halts { failed: 1, max_failed: 1 }]);
    assert_eq!(new.created, ["a"]);
}

#[test]
fn a_wave_begins_once_the_version_has_soaked() {
    let over = std::time::Duration::from_hours(48);
    for (min_age, at) in [("0h", NOW), ("12h", NOW), ("36h", "2026-11-23T00:00:00Z")] {
        let spec = json!({"defaults": {"minAge": min_age}, "rollout": {"over": "48h"}});
        let found = edit(&[], &[file("a", &spec)], &[], false);
        assert_eq!(changes(&found, "v1.3.0"), [WaveChangeKind::Begins { at: at.parse().unwrap(), over }]);
    }
}

#[test]
fn policies_after_an_edit() {
    let spec = json!({"hostSelector": {}, "rollout": {"over": "1h"}});
    let mut first = live(&spec, &json!([]));
    first["status"]["conditions"] = json!([{"type": "Accepted", "status": "False"}]);
    let live = [first, policy("b", &json!({}))];
    assert_eq!(edit(&live, &[], &[], false).policies, live);
    assert_eq!(edit(&live, &[file("a", &spec)], &[], false).policies, live, "an edit that changes nothing");
    let files = [file("c", &json!({"paused": true})), file("a", &json!({"rollout": {"over": "2h"}}))];
    let after = edit(&live, &files, &[], false).policies;
    let names: Vec<_> = after.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(after[0]["spec"]["rollout"]["over"], "2h");
    assert_eq!(after[0]["metadata"], json!({"name": "a"}), "without a generation it counts as observed");
    assert_eq!(after[1], live[1]);
    let twice = edit(&live, &[file("c", &json!({"paused": true})), file("c", &json!({}))], &[], false).policies;
    assert_eq!(twice.len(), 3);
    assert_eq!(twice[2]["spec"].get("paused"), None, "the last counts");
}

#[test]
fn what_no_file_has_is_deleted_with_prune() {
    let live = [policy("a", &json!({})), policy("b", &json!({"paused": true}))];
    let edit = edit(&live, &[file("a", &json!({})), file("c", &json!({}))], &[], true);
    assert_eq!((&edit.deleted[..], &edit.kept_halts[..]), (&["b".to_owned()][..], &[][..]));
    let names: Vec<_> = edit.policies.iter().map(|policy| policy["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn halts_of_deleted_policies_are_kept() {
    let halted = json!([{"version": "v1.3.0", "since": SEEN, "state": "Halted", "failed": 3, "haltedAt": HALTED},
        {"version": "v1.2.0", "since": SEEN, "state": "Running", "failed": 0}]);
    let deleted = edit(&[live(&json!({"rollout": {"over": "48h"}}), &halted)], &[], &[], true);
    let kept: Vec<_> =
        deleted.kept_halts.iter().map(|halt| format!("{} {} {}", halt.policy, halt.component, halt.version)).collect();
    assert_eq!(kept, ["a tool v1.3.0"]);
}

/// A host may come to newer versions of its major version, or to any of a plugin that is required.
#[test]
fn hosts_that_a_wave_concerns() {
    let change = |version: &str| WaveChange {
        policy: "p".to_owned(),
        component: "tool".parse().unwrap(),
        version: version.parse().unwrap(),
        kind: WaveChangeKind::Resumes,
    };
    let auto = json!({"defaults": {"updates": "Auto"}});
    let cross = json!({"defaults": {"updates": "Auto", "majorUpdates": "Cross"}});
    let require = json!({"rules": [{"plugins": ["tool"], "access": "Require"}]});
    let elsewhere = json!({"hostSelector": {"matchLabels": {"role": "ci"}}});
    for (spec, active, version, expected) in [
        (&auto, &[("tool", "v1.2.0")][..], "v1.3.0", true),
        (&auto, &[("tool", "v1.3.0")], "v1.3.0", false),
        (&auto, &[("tool", "v1.2.0")], "v2.0.0", false),
        (&cross, &[("tool", "v1.2.0")], "v2.0.0", true),
        (&auto, &[], "v1.3.0", false),
        (&require, &[], "v1.3.0", true),
        (&elsewhere, &[("tool", "v1.2.0")], "v1.3.0", false),
    ] {
        let set = PolicySet::from_json(&[policy("p", spec)]);
        // Any other edit of the policy.
        let old = PolicySet::from_json(&[policy("p", &json!({"paused": true}))]);
        let (records, machine, changes) = (records(), machine(true, active), [change(version)]);
        let mut diff = PolicyDiff::new(&old, &set, &records, NOW.parse().unwrap()).with_waves(&changes);
        let concerns = !diff.of(&machine).waves.is_empty();
        assert_eq!(concerns, expected, "{spec} {active:?} {version}");
    }
}
