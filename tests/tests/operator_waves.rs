//! Waves: when the operator starts them, what keeps their start, and what halts them.

use d8_crds::records::policy::{PluginPolicy, WaveState, WaveStatus};
use d8_tests::lab::{Lab, OPERATOR, TIMEOUT};
use d8_tests::process::wait_for;
use d8_tests::status::{self, of_policy, progress, wave};
use d8_tests::{Result, catalog::Plugin, objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

/// Condition Ready of a policy as `True/Enforced`.
fn ready(policy: &PluginPolicy) -> String {
    status::condition(&of_policy(policy).conditions, "Ready")
}

/// Waits until the wave of a version is in this state.
fn wait_for_state(
    lab: &Lab,
    policy: &str,
    plugin: &str,
    version: &str,
    state: WaveState,
) -> Result<(PluginPolicy, WaveStatus)> {
    let what = format!("{plugin} {version} is {state:?}");
    let found = |policy: &PluginPolicy| wave(policy, plugin, version).filter(|wave| wave.state == Some(state));
    let policy = lab.wait_for_policy(policy, &what, |policy| found(policy).is_some())?;
    let wave = found(&policy).unwrap_or_else(|| panic!("{what}"));
    Ok((policy, wave))
}

/// Returns the spec of a policy with a rollout, for hosts with this role, with these fields in the rule for the plugin.
fn with_rollout(role: &str, plugin: &str, fields: &Value) -> Value {
    let first = objects::with(json!({"plugins": [plugin], "access": "Allow"}), fields);
    let selector = json!({"matchLabels": {"role": role}});
    let defaults = json!({"access": "Deny", "updates": "Auto"});
    json!({"hostSelector": selector, "defaults": defaults, "rules": [first], "rollout": {"over": "1h", "maxFailed": 2}})
}

/// Returns the data of the ledger of a policy's waves.
fn ledger(lab: &Lab, policy: &str) -> Option<Value> {
    let map = format!("d8-waves-{policy}");
    let text = lab.plane().kubectl(["get", "configmap", &map, "--namespace", OPERATOR, "--output=json"]).ok()?;
    let object: Value = serde_json::from_str(&text).ok()?;
    Some(object["data"].clone())
}

fn delete_status(lab: &Lab, policy: &str) -> Result<()> {
    let patch = r#"--patch=[{"op": "remove", "path": "/status"}]"#;
    lab.plane().kubectl(["patch", "pluginpolicy", policy, "--subresource=status", "--type=json", patch]).map(drop)
}

/// Returns the notes of the events of a policy with this reason.
fn events(lab: &Lab, policy: &str, reason: &str) -> String {
    let about = format!("--field-selector=regarding.kind=PluginPolicy,regarding.name={policy},reason={reason}");
    let notes = "--output=jsonpath={.items[*].note}";
    lab.plane().kubectl(["get", "events.events.k8s.io", "--namespace=default", &about, notes]).unwrap_or_default()
}

#[test]
fn the_start_of_a_wave_survives_losses() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("waved", "v1.0.0"))?;
    // The longest name that a policy may have.
    let long = "w".repeat(63);
    lab.apply_policy(&long, &with_rollout("waved", "waved", &json!({})))?;
    let (policy, first) = wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert!(first.since.is_some());
    let progress = progress(&policy, "waved");
    assert_eq!((progress.target.as_deref(), progress.hold.as_deref()), (Some("v1.0.0"), Some("NotInWave")));
    assert_eq!(ready(&policy), "True/RollingOut");
    let data = ledger(&lab, &long).expect("a ledger");
    let since = |data: &Value| -> Option<Time> {
        let entry: Value = serde_json::from_str(data["waved.v1.0.0"].as_str()?).ok()?;
        serde_json::from_value(entry["since"].clone()).ok()
    };
    assert_eq!(since(&data), first.since, "{data}");

    delete_status(&lab, &long)?;
    assert_eq!(wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1, first, "the status was deleted");

    // Another client changes the ledger. The operator reads it again and does not overwrite the change.
    let map = format!("d8-waves-{long}");
    let touched = ["annotate", "configmap", &map, "--namespace", OPERATOR, "touched=by-someone"];
    lab.plane().kubectl(touched)?;
    lab.publish(&Plugin::new("waved", "v1.0.1"))?;
    lab.request_poll("waved")?;
    wait_for_state(&lab, &long, "waved", "v1.0.1", WaveState::Running)?;
    let jsonpath = "--output=jsonpath={.metadata.annotations.touched}";
    let annotation = lab.plane().kubectl(["get", "configmap", &map, "--namespace", OPERATOR, jsonpath])?;
    assert_eq!(annotation, "by-someone");

    lab.stop_operator()?;
    delete_status(&lab, &long)?;
    lab.publish(&Plugin::new("waved", "v1.1.0"))?;
    lab.start_operator()?;
    lab.request_poll("waved")?;
    let (_, second) = wait_for_state(&lab, &long, "waved", "v1.1.0", WaveState::Running)?;
    assert_eq!(
        wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1,
        first,
        "the operator was restarted"
    );
    assert!(second.since > first.since);

    lab.stop_operator()?;
    lab.plane().kubectl(["delete", "configmap", &map, "--namespace", OPERATOR])?;
    lab.start_operator()?;
    let data = wait_for("a new ledger", TIMEOUT, || ledger(&lab, &long))?;
    assert_eq!(since(&data), first.since, "the ConfigMap was deleted: {data}");
    assert_eq!(wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1, first);

    // An unreadable ledger is reported, and the waves do not change.
    lab.stop_operator()?;
    let broken = r#"--patch={"data": {"waved.v1.0.0": "nonsense"}}"#;
    lab.plane().kubectl(["patch", "configmap", &map, "--namespace", OPERATOR, "--type=merge", broken])?;
    lab.start_operator()?;
    let policy = lab.wait_for_policy(&long, "a broken ledger", |policy| ready(policy) == "False/LedgerUnreadable")?;
    assert_eq!(wave(&policy, "waved", "v1.0.0"), Some(first.clone()));
    lab.plane().kubectl(["delete", "configmap", &map, "--namespace", OPERATOR])?;
    let policy =
        lab.wait_for_policy(&long, "the deleted ledger to be replaced", |policy| ready(policy) == "True/RollingOut")?;
    assert_eq!(wave(&policy, "waved", "v1.0.0"), Some(first.clone()));

    // The wave of a forbidden version is removed. It starts again when the version is permitted again.
    lab.apply_policy(&long, &with_rollout("waved", "waved", &json!({"block": ["v1.0.0"]})))?;
    lab.wait_for_policy(&long, "v1.0.0 blocked", |policy| wave(policy, "waved", "v1.0.0").is_none())?;
    lab.apply_policy(&long, &with_rollout("waved", "waved", &json!({})))?;
    let (policy, again) = wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert!(again.since > first.since);
    assert_eq!(wave(&policy, "waved", "v1.1.0"), Some(second));

    // A policy that is deleted and created again keeps its waves for an hour, also if the operator is down meanwhile.
    lab.stop_operator()?;
    lab.plane().kubectl(["delete", "pluginpolicy", &long])?;
    lab.start_operator()?;
    let deleted_at = |data: &Value| data.get("deleted-at").is_some();
    wait_for("the mark of the deletion", TIMEOUT, || ledger(&lab, &long).filter(deleted_at))?;
    lab.apply_policy(&long, &with_rollout("waved", "waved", &json!({})))?;
    let (_, kept) = wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert_eq!(kept.since, again.since);
    wait_for("the end of the mark", TIMEOUT, || ledger(&lab, &long).filter(|data| !deleted_at(data)))?;

    // The same if nobody sees the deletion.
    lab.stop_operator()?;
    let former = lab.get_policy(&long).and_then(|policy| policy.metadata.uid);
    lab.plane().kubectl(["delete", "pluginpolicy", &long])?;
    lab.apply_policy(&long, &with_rollout("waved", "waved", &json!({})))?;
    lab.start_operator()?;
    let (policy, kept) = wait_for_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert_eq!(kept.since, again.since);
    assert_ne!(policy.metadata.uid, former);

    // After that hour the ledger is removed. The deletion of another policy makes the operator look.
    lab.plane().kubectl(["delete", "pluginpolicy", &long])?;
    wait_for("the mark of the deletion", TIMEOUT, || ledger(&lab, &long).filter(deleted_at))?;
    let long_ago = format!(r#"--patch={{"data": {{"deleted-at": "{}"}}}}"#, jiff::Timestamp::UNIX_EPOCH);
    lab.plane().kubectl(["patch", "configmap", &map, "--namespace", OPERATOR, "--type=merge", &long_ago])?;
    lab.apply_policy("passing", &with_rollout("waved", "waved", &json!({})))?;
    lab.plane().kubectl(["delete", "pluginpolicy", "passing"])?;
    wait_for("the ledger to be removed", TIMEOUT, || ledger(&lab, &long).is_none().then_some(()))?;
    Ok(())
}

#[test]
fn a_wave_is_halted_and_resumed() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("halting", "v1.0.0"))?;
    lab.publish(&Plugin::new("halting", "v1.1.0"))?;
    let report = |name: &str, role: &str, state: &str| {
        let component = json!({"name": "halting", "active": "v1.0.0", "target": "v1.1.0", "state": state});
        lab.apply_host(name, role, &json!({"components": [component]}))
    };
    report("halting-1", "halting", "Failed")?;
    report("halting-2", "halting", "Pending")?;
    report("halting-3", "elsewhere", "Failed")?;
    lab.apply_policy("halting", &with_rollout("halting", "halting", &json!({})))?;
    lab.wait_for_policy("halting", "one failed", |policy| {
        wave(policy, "halting", "v1.1.0").is_some_and(|w| w.failed == 1 && w.state == Some(WaveState::Running))
    })?;

    report("halting-2", "halting", "Failed")?;
    let (policy, halted) = wait_for_state(lab, "halting", "halting", "v1.1.0", WaveState::Halted)?;
    assert_eq!((ready(&policy).as_str(), halted.failed), ("False/WaveHalted", 2));
    assert_eq!(progress(&policy, "halting").hold.as_deref(), Some("WaveHalted"));
    assert_eq!(wave(&policy, "halting", "v1.0.0").and_then(|wave| wave.state), Some(WaveState::Running));
    let at = halted.halted_at.as_ref().expect("a time").0;
    let note =
        wait_for("an event", TIMEOUT, || Some(events(lab, "halting", "WaveHalted")).filter(|note| !note.is_empty()))?;
    let resume = format!("cli.deckhouse.io/resume=halting/v1.1.0@{at}");
    assert!(note.contains("halting v1.1.0") && note.contains(&resume), "{note}");

    // An annotation for another halt does not resume this one. The next failed host makes the operator write again.
    let annotate =
        |value: &str| lab.plane().kubectl(["annotate", "--overwrite", "pluginpolicy", "halting", value]).map(drop);
    annotate("cli.deckhouse.io/resume=halting/v1.1.0@2026-01-01T00:00:00Z")?;
    report("halting-4", "halting", "Failed")?;
    lab.wait_for_policy("halting", "a third host", |policy| {
        wave(policy, "halting", "v1.1.0").is_some_and(|w| w.failed == 3 && w.halted_at == halted.halted_at)
    })?;

    annotate(&resume)?;
    let (policy, running) = wait_for_state(lab, "halting", "halting", "v1.1.0", WaveState::Running)?;
    assert_eq!((ready(&policy).as_str(), running.failed), ("True/RollingOut", 3));
    assert!(running.since > halted.since, "the wave goes on where it was: {running:?}");
    assert_eq!(running.halted_at, None);
    wait_for("an event", TIMEOUT, || Some(events(lab, "halting", "WaveResumed")).filter(|note| !note.is_empty()))?;

    // The annotation resumes one halt only. Another failed host halts the wave again. No edit resumes it.
    report("halting-5", "halting", "Failed")?;
    let (_, again) = wait_for_state(lab, "halting", "halting", "v1.1.0", WaveState::Halted)?;
    assert!(again.halted_at > halted.halted_at);
    let mut spec = with_rollout("halting", "halting", &json!({}));
    let is_observed = |policy: &PluginPolicy| {
        policy.status.as_ref().and_then(|status| status.observed_generation) == policy.metadata.generation
    };
    for edit in [json!({"over": "2h", "maxFailed": 9}), json!(null)] {
        match edit {
            Value::Null => drop(spec.as_object_mut().and_then(|spec| spec.remove("rollout"))),
            edit => spec["rollout"] = edit,
        }
        lab.apply_policy("halting", &spec)?;
        let policy = lab.wait_for_policy("halting", "the edit", is_observed)?;
        let wave = wave(&policy, "halting", "v1.1.0").expect("a wave");
        assert_eq!((wave.state, wave.halted_at), (Some(WaveState::Halted), again.halted_at.clone()));
    }
    let at = again.halted_at.as_ref().expect("a time").0;
    annotate(&format!("cli.deckhouse.io/resume=other/v1.0.0@{at},halting/v1.1.0@{at}"))?;
    lab.wait_for_policy("halting", "the end of the halt", |policy| ready(policy) == "True/Enforced").map(drop)
}

#[test]
fn a_wave_begins_once_canaries_have_succeeded() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("proven", "v1.0.0"))?;
    let mut spec = with_rollout("proven", "proven", &json!({}));
    spec["rollout"]["canarySelector"] = json!({"matchLabels": {"role": "proven"}});
    spec["rollout"]["requireSucceeded"] = json!({"hosts": 2, "for": "1h"});
    lab.apply_policy("proven", &spec)?;
    let report = |host: &str, since: jiff::Timestamp| {
        let component = json!({"name": "proven", "active": "v1.0.0", "state": "UpToDate", "lastChange": since});
        lab.apply_host(host, "proven", &json!({"components": [component]}))
    };
    let now = jiff::Timestamp::now();
    report("proven-1", now - jiff::SignedDuration::from_hours(2))?;
    report("proven-2", now)?;
    let policy = lab.wait_for_policy("proven", "one success", |policy| {
        wave(policy, "proven", "v1.0.0").is_some_and(|wave| wave.succeeded == Some(1) && wave.canaries == Some(2))
    })?;
    let waiting = wave(&policy, "proven", "v1.0.0").expect("a wave");
    assert_eq!((waiting.state, waiting.since), (Some(WaveState::AwaitingEvidence), None));
    assert_eq!(ready(&policy), "True/AwaitingEvidence");
    report("proven-2", now - jiff::SignedDuration::from_hours(1))?;
    let (policy, _) = wait_for_state(lab, "proven", "proven", "v1.0.0", WaveState::Running)?;
    assert_eq!(ready(&policy), "True/RollingOut");
    let began = || Some(events(lab, "proven", "WaveBegan")).filter(|note| !note.is_empty());
    let note = wait_for("an event", TIMEOUT, began)?;
    assert!(note.contains("proven v1.0.0"), "{note}");
    lab.plane().kubectl(["delete", "pluginpolicy", "proven"]).map(drop)
}

#[test]
fn d8_obeys_waves_and_halts() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("obeyed", "v1.0.0"))?;
    // This policy selects workstations, and a host whose report halts the wave.
    let mut spec = with_rollout("obeyed", "obeyed", &json!({}));
    let others = json!({"key": "role", "operator": "NotIn", "values": ["halting", "elsewhere", "windowed"]});
    spec["hostSelector"] = json!({"matchExpressions": [others]});
    spec["rollout"]["maxFailed"] = json!(1);
    lab.apply_policy("obeyed", &spec)?;
    wait_for_state(lab, "obeyed", "obeyed", "v1.0.0", WaveState::Running)?;
    let alice = lab.new_workstation()?;
    let refused = alice.d8(["plugins", "install", "obeyed"])?.expect_code(3)?;
    assert!(refused.stderr.contains("takes 1h"), "{refused:?}");
    let component = json!({"name": "obeyed", "target": "v1.0.0", "state": "Failed"});
    lab.apply_host("obeyed-1", "obeyed", &json!({"components": [component]}))?;
    wait_for_state(lab, "obeyed", "obeyed", "v1.0.0", WaveState::Halted)?;
    let refused = alice.d8(["plugins", "install", "obeyed"])?.expect_code(3)?;
    assert!(refused.stderr.contains("was halted at"), "{refused:?}");
    lab.plane().kubectl(["delete", "pluginpolicy", "obeyed"]).map(drop)
}

#[test]
fn the_status_has_the_next_window() -> Result<()> {
    let lab = Lab::shared();
    let spec = |windows: &Value| json!({"hostSelector": {"matchLabels": {"role": "windowed"}}, "windows": windows, "defaults": {"access": "Deny"}});
    lab.apply_policy("windowed", &spec(&json!([{"start": "02:00", "duration": "1h", "timeZone": "Europe/Berlin"}])))?;
    let next = |policy: &PluginPolicy| policy.status.as_ref().and_then(|status| status.next_window.clone());
    let policy = lab.wait_for_policy("windowed", "its next window", |policy| next(policy).is_some())?;
    let next_window: Time = serde_json::from_value(json!(next(&policy))).expect("a time");
    assert!(next_window.0 > jiff::Timestamp::now());
    let table = lab.plane().kubectl(["get", "ppol", "windowed"])?;
    assert!(table.contains(&next_window.0.to_string()), "{table}");
    lab.apply_policy("windowed", &spec(&json!([{"start": "00:00", "duration": "168h"}])))?;
    lab.wait_for_policy("windowed", "a window that never closes", |policy| next(policy).is_none()).map(drop)
}
