//! Warnings that need facts about the cluster.

use super::*;
use crate::decisions::validation::RESUME;

const NOW: &str = "2026-11-22T12:00:00Z";

/// A version that is a day old, or a week old, with this layer.
fn recorded(version: &str, days: u64, layer: char) -> Value {
    let digest = |c: char| format!("sha256:{}", c.to_string().repeat(64));
    let first_seen = if days == 1 { "2026-11-21T12:00:00Z" } else { "2026-11-15T12:00:00Z" };
    json!({"version": version, "digest": digest('e'), "firstSeen": first_seen, "fit": "Fits", "artifacts": [
        {"platform": "linux-amd64", "manifest": digest('f'), "layer": digest(layer), "sizeBytes": 1},
        {"platform": "linux-arm64", "manifest": digest('f'), "layer": digest('9'), "sizeBytes": 1}]})
}

fn record(name: &str, channel: &str, versions: &[Value]) -> CliRelease {
    let status = json!({"lastSyncTime": NOW, "versions": versions});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"channel": channel}, "status": status})).unwrap()
}

/// v1.2.6 and v1.2.5 have the same layer on one platform, and all have another one there.
fn tool() -> CliRelease {
    let arm = |mut version: Value, layer: char| {
        version["artifacts"][1]["layer"] = json!(format!("sha256:{}", layer.to_string().repeat(64)));
        version
    };
    record(
        "tool",
        "Stable",
        &[
            arm(recorded("v1.2.7", 1, '7'), '1'),
            arm(recorded("v1.2.6", 7, '5'), '2'),
            arm(recorded("v1.2.5", 7, '5'), '3'),
            arm(recorded("v1.2.4", 7, '4'), '4'),
        ],
    )
}

fn component(name: &str) -> Component {
    name.parse().unwrap()
}

/// Returns the warnings where the cluster has these records, and hosts with these versions of the tool.
fn with_records(spec: &Value, records: &[CliRelease], active: &[&str]) -> Vec<String> {
    let records: BTreeMap<_, _> =
        records.iter().map(|record| (component(record.metadata.name.as_deref().unwrap()), record)).collect();
    let active = BTreeMap::from([(component("tool"), active.iter().map(|v| v.parse().unwrap()).collect())]);
    let now = Some(NOW.parse().unwrap());
    let context = PolicyContext { records: Some(&records), active: Some(&active), now, ..PolicyContext::default() };
    warnings_of(spec, context)
}

#[test]
fn the_number_of_hosts_is_said() {
    for (hosts, workstations, said, warned) in [
        (None, false, None, None),
        (None, true, Some("it also matches workstations"), None),
        (Some(0), false, None, Some("spec.hostSelector matches no host")),
        (Some(0), true, Some("it matches workstations, but no managed host"), None),
        (Some(1), false, Some("it matches 1 host"), None),
        (Some(120), true, Some("it matches 120 hosts and workstations"), None),
    ] {
        let context = PolicyContext { hosts, workstations, ..PolicyContext::default() };
        assert_eq!(selected_hosts(context).as_deref(), said);
        assert_eq!(warnings_of(&json!({}), context).first().map(String::as_str), warned);
    }
}

#[test]
fn labels_that_no_host_has() {
    let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let labels = BTreeMap::from([
        ("role".to_owned(), values(&["bastion", "ci"])),
        ("kubernetes.io/os".to_owned(), values(&["linux"])),
    ]);
    let none = "spec.hostSelector matches no host";
    for (selector, expected) in [
        (json!({"matchLabels": {"rol": "bastion"}}), format!("{none}: no host has label `rol`; did you mean `role`?")),
        (
            json!({"matchLabels": {"role": "bastoin"}}),
            format!("{none}: no host has `role=bastoin`; did you mean `role=bastion`?"),
        ),
        (json!({"matchLabels": {"environment": "x"}}), format!("{none}: no host has label `environment`")),
        (
            json!({"matchExpressions": [{"key": "rle", "operator": "Exists"}]}),
            format!("{none}: no host has label `rle`; did you mean `role`?"),
        ),
        // Each label is known, but no host has both.
        (json!({"matchLabels": {"role": "ci", "kubernetes.io/os": "linux"}}), none.to_owned()),
    ] {
        let context = PolicyContext { hosts: Some(0), labels: Some(&labels), ..PolicyContext::default() };
        assert_eq!(warnings_of(&json!({"hostSelector": selector}), context), [expected]);
        let some = PolicyContext { hosts: Some(1), labels: Some(&labels), ..PolicyContext::default() };
        assert_eq!(warnings_of(&json!({"hostSelector": selector}), some), [""; 0]);
        let canaries = json!({"rollout": {"over": "1h", "canarySelector": selector}});
        let context =
            PolicyContext { hosts: Some(1), canaries: Some(0), labels: Some(&labels), ..PolicyContext::default() };
        let found = warnings_of(&canaries, context);
        assert!(found[0].starts_with("spec.rollout.canarySelector matches none of the selected hosts"), "{found:?}");
    }
}

#[test]
fn fewer_canaries_than_required() {
    let rollout = |canaries: Value| {
        let mut rollout = json!({"over": "1h", "requireSucceeded": {"hosts": 3, "for": "1h"}});
        rollout.as_object_mut().unwrap().extend(canaries.as_object().unwrap().clone());
        json!({"rollout": rollout})
    };
    let selector = json!({"canarySelector": {"matchLabels": {"canary": "true"}}});
    let field = "spec.rollout.requireSucceeded needs 3 hosts, and";
    let people = "waves begin only if people install the version on other hosts";
    for (spec, hosts, canaries, expected) in [
        (rollout(selector.clone()), 100, 3, None),
        (rollout(selector.clone()), 100, 2, Some(format!("{field} there are 2 canaries: {people}"))),
        (rollout(selector), 2, 2, Some(format!("{field} the policy selects 2: no wave can begin"))),
        (rollout(json!({"canaryPercent": 10})), 30, 0, None),
        (rollout(json!({"canaryPercent": 10})), 20, 0, Some(format!("{field} there are about 2 canaries: {people}"))),
        (json!({"rollout": {"over": "1h", "canaryPercent": 1}}), 1, 0, None),
    ] {
        let context = PolicyContext { hosts: Some(hosts), canaries: Some(canaries), ..PolicyContext::default() };
        let found: Vec<_> = warnings_of(&spec, context);
        assert_eq!(found, Vec::from_iter(expected), "{spec} {hosts} {canaries}");
    }
}

#[test]
fn plugins_that_nothing_known_has() {
    let named = |name: &str| json!({"rules": [{"plugins": [name]}]});
    let delivery = record("delivery-kit", "Stable", &[recorded("v1.0.0", 7, '1')]);
    // The operator creates a record for each name in a policy.
    let mut new = record("new", "Stable", &[]);
    new.status.as_mut().unwrap().last_sync_time = None;
    let empty = record("empty", "Stable", &[]);
    let tols = record("tols", "Stable", &[]);
    let mut unread = record("toool", "Stable", &[]);
    unread.status = None;
    let records = [tool(), delivery.clone(), new, empty, tols, unread];
    let at = "spec.rules[0].plugins[0]";
    for (name, expected) in [
        ("tool", None),
        ("delivery-*", None),
        ("*", None),
        ("tol", Some(format!("{at}: no CliRelease is named `tol`; did you mean `tool`?"))),
        ("delivery_kit", Some(format!("{at}: no CliRelease is named `delivery_kit`; did you mean `delivery-kit`?"))),
        (
            "stronghold",
            Some(format!("{at}: no CliRelease is named `stronghold`, and none of the selected hosts has this plugin")),
        ),
        // It cannot have a record.
        ("my_plugin", None),
        ("delivrey-*", Some(format!("{at}: `delivrey-*` matches no plugin that is known; did you mean `delivery-*`?"))),
        ("x-*", Some(format!("{at}: `x-*` matches no plugin that is known"))),
        ("new", None),
        (
            "empty",
            Some(format!("{at}: nothing is published as `empty`, and none of the selected hosts has this plugin")),
        ),
        ("tols", Some(format!("{at}: nothing is published as `tols`; did you mean `tool`?"))),
        // The operator has created its record a moment ago.
        ("toool", Some(format!("{at}: nothing is published as `toool`; did you mean `tool`?"))),
    ] {
        assert_eq!(with_records(&named(name), &records, &[]), Vec::from_iter(expected), "{name}");
    }
    // A host has it.
    assert_eq!(with_records(&named("tool"), &[delivery], &["v1.0.0"]), [""; 0]);
}

#[test]
fn versions_that_are_not_published() {
    let expedite = |plugin: &str, version: &str| json!({"defaults": {"minAge": "1h"}, "rules": [{"plugins": [plugin], "expedite": [version]}]});
    for (spec, expected) in [
        (expedite("tool", "v1.2.7"), None),
        (expedite("tool", "v1.2.8"), Some("spec.rules[0].expedite[0]: v1.2.8 is not published")),
        // What a pattern matches may be published later.
        (expedite("t*", "v1.2.8"), None),
    ] {
        let found = with_records(&spec, &[tool()], &[]);
        assert_eq!(found, Vec::from_iter(expected), "{spec}");
    }
}

#[test]
fn versions_that_a_block_takes_by_their_layer() {
    let block = |entries: &[&str]| json!({"rules": [{"plugins": ["tool"], "block": entries}]});
    let also = "spec.rules[0].block also takes versions of tool that have the same layer as a blocked one:";
    for (spec, expected) in [
        (block(&["v1.2.4"]), None),
        (block(&["v1.2.5"]), Some(format!("{also} v1.2.6 (as v1.2.5)"))),
        (block(&["<=1.2.5"]), Some(format!("{also} v1.2.6 (as v1.2.5)"))),
        (block(&["v1.2.5", "v1.2.6"]), None),
    ] {
        assert_eq!(with_records(&spec, &[tool()], &[]), Vec::from_iter(expected), "{spec}");
    }
}

/// Pins of a version to the digest of its index and to that of a layer are both met.
#[test]
fn pins_to_two_digests_of_one_image() {
    let pins = |second: char| {
        let pin = |c: char| json!({"version": "v1.2.7", "digest": format!("sha256:{}", c.to_string().repeat(64))});
        json!({"rules": [{"plugins": ["tool"], "pins": [pin('e'), pin(second)]}]})
    };
    assert_eq!(with_records(&pins('7'), &[tool()], &[]), [""; 0]);
    assert_eq!(with_records(&pins('6'), &[tool()], &[]).len(), 1);
}

#[test]
fn a_published_pre_release_is_no_range() {
    let block = json!({"rules": [{"plugins": ["tool"], "block": ["v1.2.0-1.2.9"]}]});
    let published = record("tool", "Prerelease", &[recorded("v1.2.0-1.2.9", 7, '1')]);
    assert_eq!(with_records(&block, &[published], &[]), [""; 0]);
    assert_eq!(with_records(&block, &[tool()], &[]).len(), 1);
}

/// v1.2.7 is a day old; all other versions are a week old.
#[test]
fn hosts_that_cannot_leave_a_version() {
    let spec = |rule: Value, more: Value| {
        let mut first = json!({"plugins": ["tool"]});
        first.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        let mut spec = json!({"rules": [first]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let block = |more: Value| spec(json!({"block": ["<1.2.7"]}), more);
    let soaks =
        "spec.rules[0].block: hosts with tool v1.2.4 cannot leave it before 2026-11-24T12:00:00Z; expedite v1.2.7?";
    let paused = "spec.paused: while the policy is paused, only people leave the versions in `block`, and no agent: hosts \
                  with tool v1.2.4 wait";
    let outside = |holds: &str| {
        format!("spec.rules[0].versions: hosts with tool v1.2.4 must leave it, but {holds} keeps them there")
    };
    let (by_pause, frozen) = (outside("spec.paused"), outside("`updates: Frozen`"));
    for (spec, active, expected) in [
        (block(json!({})), &["v1.2.4"][..], vec![]),
        (block(json!({"defaults": {"minAge": "72h"}})), &["v1.2.4"], vec![soaks]),
        (block(json!({"defaults": {"minAge": "72h"}})), &["v1.2.7"], vec![]),
        (block(json!({"defaults": {"minAge": "72h"}})), &[], vec![]),
        (spec(json!({"block": ["<1.2.7"], "minAge": "72h", "expedite": ["v1.2.7"]}), json!({})), &["v1.2.4"], vec![]),
        (
            spec(json!({"block": ["<=1.2.7"]}), json!({})),
            &["v1.2.4", "v1.2.7"],
            vec!["spec.rules[0].block: hosts with tool v1.2.7, v1.2.4 cannot leave it: no other version is eligible"],
        ),
        // Neither Frozen nor a window holds a host that leaves a blocked version.
        (
            block(json!({"defaults": {"updates": "Frozen"}, "windows": [{"start": "02:00", "duration": "1h"}]})),
            &["v1.2.4"],
            vec![],
        ),
        (block(json!({"paused": true})), &["v1.2.4"], vec![paused]),
        (block(json!({"paused": true})), &["v1.2.7"], vec![]),
        (spec(json!({"versions": ">=1.2.6", "updates": "Frozen"}), json!({})), &["v1.2.4", "v1.2.6"], vec![&*frozen]),
        (spec(json!({"versions": ">=1.2.6"}), json!({"paused": true})), &["v1.2.4"], vec![&*by_pause]),
        (spec(json!({"versions": ">=1.2.6", "updates": "Frozen"}), json!({})), &["v1.2.6"], vec![]),
        (spec(json!({"versions": ">=1.2.6", "updates": "Auto"}), json!({})), &["v1.2.4"], vec![]),
    ] {
        let mut separate = tool();
        separate.status.as_mut().unwrap().versions.retain(|entry| entry.version != "v1.2.5");
        assert_eq!(with_records(&spec, &[separate], active), expected, "{spec} {active:?}");
    }
}

/// Of several ways out, the soonest counts.
#[test]
fn hosts_leave_a_version_by_the_soonest_way() {
    let spec = |rule: Value, more: Value| {
        let mut first = json!({"plugins": ["tool"]});
        first.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        let mut spec = json!({"rules": [first]});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let field = "spec.rules[0].block: hosts with tool";
    // A week old: v1.2.6 soaks until the 29th, v1.2.7 until the 5th.
    let both_soak = spec(json!({"block": ["<1.2.6"], "minAge": "336h"}), json!({}));
    let rollout = |more: Value| {
        let mut rollout = json!({"over": "720h"});
        rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"rollout": rollout})
    };
    let wave = spec(json!({"block": ["<1.2.6"]}), rollout(json!({})));
    let labels = spec(json!({"block": ["<1.2.7"], "minAge": "72h"}), rollout(json!({"canarySelector": {}})));
    let evidence = rollout(json!({"canarySelector": {}, "requireSucceeded": {"hosts": 1, "for": "1h"}}));
    let mut subjects = both_soak.clone();
    subjects["subjects"] = json!({"groups": ["contractors"]});
    let soaks = format!("{field} v1.2.4 cannot leave it before 2026-11-29T12:00:00Z; expedite v1.2.6?");
    for (spec, active, expected) in [
        (&both_soak, &["v1.2.4"][..], vec![soaks.clone()]),
        (&subjects, &["v1.2.4"], vec![soaks]),
        (
            &wave,
            &["v1.2.4"],
            vec![format!(
                "{field} v1.2.4 leave it in the wave of v1.2.6, and the last of them at 2026-12-15T12:00:00Z; to let all \
                 leave at once, add `expedite: [v1.2.6]`"
            )],
        ),
        (
            &labels,
            &["v1.2.4"],
            vec![format!(
                "{field} v1.2.4, except canaries, cannot leave it before 2026-11-24T12:00:00Z; expedite v1.2.7?"
            )],
        ),
        // A move down takes no wave.
        (&spec(json!({"block": [">=1.2.5"]}), rollout(json!({}))), &["v1.2.6"], vec![]),
        // In a file, it is not known which waves have begun.
        (&spec(json!({"block": ["<1.2.6"]}), evidence), &["v1.2.4"], vec![]),
    ] {
        let mut separate = tool();
        separate.status.as_mut().unwrap().versions.retain(|entry| entry.version != "v1.2.5");
        assert_eq!(with_records(spec, &[separate], active), expected, "{spec} {active:?}");
    }
}

/// A policy in the cluster, with waves in its status and an annotation.
fn in_cluster(spec: &Value, waves: &Value, annotation: Option<&str>) -> CheckedPolicy {
    let mut spec = spec.clone();
    spec["hostSelector"] = json!({});
    let annotations = annotation.map(|value| json!({RESUME: value}));
    CheckedPolicy::new(
        &serde_json::from_value(json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p", "annotations": annotations}, "spec": spec,
            "status": {"components": [{"name": "tool", "waves": waves}]},
        }))
        .unwrap(),
    )
    .unwrap()
}

#[test]
fn resumptions_that_name_no_halt() {
    let halted = json!([{"version": "v1.2.7", "state": "Halted", "failed": 2, "haltedAt": "2026-11-22T10:00:00Z"}]);
    let running = json!([{"version": "v1.2.7", "state": "Running", "failed": 0, "since": "2026-11-22T10:00:00Z"}]);
    let tool = tool();
    let records = BTreeMap::from([(component("tool"), &tool)]);
    let now = "; halted now: `tool/v1.2.7@2026-11-22T10:00:00Z`";
    let none = |entry: &str, now: &str| {
        vec![format!("annotation cli.deckhouse.io/resume: `{entry}` names no halt of this policy{now}")]
    };
    for (waves, annotation, expected) in [
        (&halted, "tool/v1.2.7@2026-11-22T10:00:00Z", vec![]),
        (&halted, "tool/1.2.7@2026-11-22T10:00:00Z", vec![]),
        (&halted, "tool/v1.2.7@2026-11-22T09:00:00Z", none("tool/v1.2.7@2026-11-22T09:00:00Z", now)),
        (&halted, "tool/v1.2.6@2026-11-22T10:00:00Z", none("tool/v1.2.6@2026-11-22T10:00:00Z", now)),
        (&halted, "tol/v1.2.7@2026-11-22T10:00:00Z", none("tol/v1.2.7@2026-11-22T10:00:00Z", now)),
        (
            &halted,
            "tool",
            vec![format!(
                "annotation cli.deckhouse.io/resume: `tool` is not COMPONENT/VERSION@HALTED_AT; it resumes nothing{now}"
            )],
        ),
        // It was resumed.
        (&running, "tool/v1.2.7@2026-11-22T10:00:00Z", vec![]),
        (&running, "tol/v1.2.7@2026-11-22T10:00:00Z", none("tol/v1.2.7@2026-11-22T10:00:00Z", "")),
        (&running, "tool/v1.2.7@2026-11-23T10:00:00Z", none("tool/v1.2.7@2026-11-23T10:00:00Z", "")),
    ] {
        let policy = in_cluster(&json!({}), waves, Some(annotation));
        let context =
            PolicyContext { records: Some(&records), now: Some(NOW.parse().unwrap()), ..PolicyContext::default() };
        assert_eq!(warnings(&policy, context), expected, "{annotation}");
    }
}

/// A count of canaries for each version.
#[derive(Debug)]
struct Counter(u32);

impl crate::decisions::wave::CanaryCounter for Counter {
    fn canaries(&self, _: &Component, version: &Version) -> u32 {
        assert_eq!(version.to_string(), "v1.2.7", "nobody waits for another version");
        self.0
    }
}

#[test]
fn versions_without_a_canary() {
    let people = "the wave begins only if people install the version on other hosts";
    let none = format!("spec.rollout: canaryPercent: 5 chooses none of the 30 hosts for tool v1.2.7: {people}");
    let few = format!(
        "spec.rollout.requireSucceeded: fewer than 2 of the 30 hosts are canaries for tool v1.2.7 (1): {people}"
    );
    let rollout = |more: Value| {
        let mut rollout = json!({"over": "1h", "canaryPercent": 5, "requireSucceeded": {"hosts": 2, "for": "1h"}});
        rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rollout
    };
    let selector = json!({"canarySelector": {"matchLabels": {"canary": "true"}}});
    let (plain, waiting) = (json!({"rollout": rollout(json!({}))}), json!([{"version": "v1.2.7", "failed": 0}]));
    let begun = json!([{"version": "v1.2.7", "state": "Running", "failed": 0, "since": "2026-11-22T10:00:00Z"}]);
    let with = |rules: Value| json!({"rollout": rollout(json!({})), "rules": [rules]});
    for (spec, waves, active, count, expected) in [
        (&plain, &waiting, Some("v1.2.6"), 0, Some(&none)),
        (&plain, &waiting, Some("v1.2.6"), 1, Some(&few)),
        (&plain, &waiting, Some("v1.2.6"), 2, None),
        (&plain, &waiting, Some("v1.2.7"), 0, None),
        (&plain, &begun, Some("v1.2.6"), 0, None),
        // No host has the plugin or needs it.
        (&plain, &waiting, None, 0, None),
        (&with(json!({"plugins": ["tool"], "access": "Require"})), &waiting, None, 0, Some(&none)),
        (&with(json!({"plugins": ["tool"], "access": "Deny"})), &waiting, Some("v1.2.6"), 0, None),
        (&with(json!({"plugins": ["tool"], "expedite": ["v1.2.7"]})), &waiting, Some("v1.2.6"), 0, None),
        // There are enough canaries by label.
        (&json!({"rollout": rollout(selector)}), &waiting, Some("v1.2.6"), 0, None),
    ] {
        let policy = in_cluster(spec, waves, None);
        let tool = tool();
        let records = BTreeMap::from([(component("tool"), &tool)]);
        let active: BTreeMap<_, BTreeSet<Version>> =
            active.into_iter().map(|v| (component("tool"), BTreeSet::from([v.parse().unwrap()]))).collect();
        let counter = Counter(count);
        let context = PolicyContext {
            hosts: Some(30),
            canaries: Some(2),
            canary_counter: Some(&counter),
            active: Some(&active),
            records: Some(&records),
            now: Some(NOW.parse().unwrap()),
            ..PolicyContext::default()
        };
        assert_eq!(warnings(&policy, context), Vec::from_iter(expected.cloned()), "{spec} {waves} {active:?}");
    }
}

#[test]
fn a_channel_that_is_not_published() {
    let versions = [recorded("v1.0.0", 7, '1')];
    let of = |name: &str, channel: &str| record(name, channel, &versions);
    let records = [of("d8", "Stable"), of("stable", "Stable"), of("both", "Prerelease")];
    let warning = |field: &str, name: &str| {
        format!(
            "{field}.channel: pre-releases of {name} are not published; set `channel: Prerelease` in CliRelease {name}"
        )
    };
    let rule = |plugin: &str| json!({"rules": [{"plugins": [plugin], "channel": "Prerelease"}]});
    for (spec, expected) in [
        (rule("both"), vec![]),
        (rule("stable"), vec![warning("spec.rules[0]", "stable")]),
        (rule("s*"), vec![warning("spec.rules[0]", "stable")]),
        (json!({"cli": {"channel": "Prerelease"}}), vec![warning("spec.cli", "d8")]),
        (
            json!({"defaults": {"channel": "Prerelease"}, "cli": {"channel": "Stable"},
                "rules": [{"plugins": ["both"], "access": "Deny"}]}),
            vec![warning("spec.defaults", "stable")],
        ),
        (
            json!({"defaults": {"channel": "Prerelease"}, "cli": {"channel": "Stable"},
                "rules": [{"plugins": ["stable"], "access": "Deny"}]}),
            vec![],
        ),
    ] {
        assert_eq!(with_records(&spec, &records, &[]), expected, "{spec}");
    }
}
