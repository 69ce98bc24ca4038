//! Waves as the operator leads them: when they begin, what they outlive, and what halts them.

use d8_crds::records::policy::{ComponentProgress, PluginPolicy, WaveState, WaveStatus};
use d8_tests::lab::{Lab, OPERATOR, SOON};
use d8_tests::process::wait_for;
use d8_tests::{Result, catalog::Plugin};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

fn component(policy: &PluginPolicy, name: &str) -> ComponentProgress {
    let mut components = policy.status.iter().flat_map(|status| &status.components);
    components.find(|component| component.name == name).cloned().unwrap_or_default()
}

fn wave(policy: &PluginPolicy, name: &str, version: &str) -> Option<WaveStatus> {
    component(policy, name).waves.into_iter().find(|wave| wave.version == version)
}

fn ready(policy: &PluginPolicy) -> String {
    let mut conditions = policy.status.iter().flat_map(|status| &status.conditions);
    conditions.find(|c| c.type_ == "Ready").map(|c| format!("{}/{}", c.status, c.reason)).unwrap_or_default()
}

/// Waits until the wave of a version is in this state.
fn in_state(
    lab: &Lab,
    policy: &str,
    plugin: &str,
    version: &str,
    state: WaveState,
) -> Result<(PluginPolicy, WaveStatus)> {
    let what = format!("{plugin} {version} is {state:?}");
    let right = |policy: &PluginPolicy| wave(policy, plugin, version).filter(|wave| wave.state == Some(state));
    let policy = lab.policy_when(policy, &what, |policy| right(policy).is_some())?;
    let wave = right(&policy).unwrap_or_else(|| panic!("{what}"));
    Ok((policy, wave))
}

fn rolling(role: &str, plugin: &str, more: &Value) -> Value {
    let mut first = json!({"plugins": [plugin], "access": "Allow"});
    for (key, value) in more.as_object().into_iter().flatten() {
        first[key] = value.clone();
    }
    let selector = json!({"matchLabels": {"role": role}});
    let defaults = json!({"access": "Deny", "updates": "Auto"});
    json!({"hostSelector": selector, "defaults": defaults, "rules": [first], "rollout": {"over": "1h", "maxFailed": 2}})
}

/// The data of the policy's wave ledger.
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

fn events(lab: &Lab, policy: &str, reason: &str) -> String {
    let about = format!("--field-selector=regarding.kind=PluginPolicy,regarding.name={policy},reason={reason}");
    let notes = "--output=jsonpath={.items[*].note}";
    lab.plane().kubectl(["get", "events.events.k8s.io", "--namespace=default", &about, notes]).unwrap_or_default()
}

#[test]
fn when_a_wave_began_outlives_whatever_is_lost() -> Result<()> {
    let mut lab = Lab::start(|_| {})?;
    lab.publish(&Plugin::new("waved", "v1.0.0"))?;
    // A name as long as names of policies may be.
    let long = "w".repeat(63);
    lab.policy(&long, &rolling("waved", "waved", &json!({})))?;
    let (policy, first) = in_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert!(first.since.is_some());
    let progress = component(&policy, "waved");
    assert_eq!((progress.target.as_deref(), progress.hold.as_deref()), (Some("v1.0.0"), Some("NotInWave")));
    assert_eq!(ready(&policy), "True/RollingOut");
    let kept = ledger(&lab, &long).expect("a ledger");
    let since = |kept: &Value| -> Option<Time> {
        let entry: Value = serde_json::from_str(kept["waved.v1.0.0"].as_str()?).ok()?;
        serde_json::from_value(entry["since"].clone()).ok()
    };
    assert_eq!(since(&kept), first.since, "{kept}");

    delete_status(&lab, &long)?;
    assert_eq!(in_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1, first, "the status was deleted");

    // Someone else wrote it meanwhile, as another leader may: it is read again, not overwritten.
    let map = format!("d8-waves-{long}");
    let touched = ["annotate", "configmap", &map, "--namespace", OPERATOR, "touched=by-someone"];
    lab.plane().kubectl(touched)?;
    lab.publish(&Plugin::new("waved", "v1.0.1"))?;
    lab.poll("waved")?;
    in_state(&lab, &long, "waved", "v1.0.1", WaveState::Running)?;
    let jsonpath = "--output=jsonpath={.metadata.annotations.touched}";
    let annotation = lab.plane().kubectl(["get", "configmap", &map, "--namespace", OPERATOR, jsonpath])?;
    assert_eq!(annotation, "by-someone");

    lab.stop_operator()?;
    delete_status(&lab, &long)?;
    lab.publish(&Plugin::new("waved", "v1.1.0"))?;
    lab.start_operator()?;
    lab.poll("waved")?;
    let (_, second) = in_state(&lab, &long, "waved", "v1.1.0", WaveState::Running)?;
    assert_eq!(in_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1, first, "the operator was restarted");
    assert!(second.since > first.since);

    lab.stop_operator()?;
    lab.plane().kubectl(["delete", "configmap", &map, "--namespace", OPERATOR])?;
    lab.start_operator()?;
    let kept = wait_for("a ledger made anew", SOON, || ledger(&lab, &long))?;
    assert_eq!(since(&kept), first.since, "the ConfigMap was deleted: {kept}");
    assert_eq!(in_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?.1, first);

    // A ledger that can't be read is said; the waves stay as they are.
    lab.stop_operator()?;
    let broken = r#"--patch={"data": {"waved.v1.0.0": "nonsense"}}"#;
    lab.plane().kubectl(["patch", "configmap", &map, "--namespace", OPERATOR, "--type=merge", broken])?;
    lab.start_operator()?;
    let policy = lab.policy_when(&long, "a broken ledger", |policy| ready(policy) == "False/LedgerUnreadable")?;
    assert_eq!(wave(&policy, "waved", "v1.0.0"), Some(first.clone()));
    lab.plane().kubectl(["delete", "configmap", &map, "--namespace", OPERATOR])?;
    let policy = lab.policy_when(&long, "mended", |policy| ready(policy) == "True/RollingOut")?;
    assert_eq!(wave(&policy, "waved", "v1.0.0"), Some(first.clone()));

    // What the policy forbids has no clock; permitted again it starts anew.
    lab.policy(&long, &rolling("waved", "waved", &json!({"block": ["v1.0.0"]})))?;
    lab.policy_when(&long, "v1.0.0 blocked", |policy| wave(policy, "waved", "v1.0.0").is_none())?;
    lab.policy(&long, &rolling("waved", "waved", &json!({})))?;
    let (policy, again) = in_state(&lab, &long, "waved", "v1.0.0", WaveState::Running)?;
    assert!(again.since > first.since);
    assert_eq!(wave(&policy, "waved", "v1.1.0"), Some(second));

    // What was kept for a policy goes with it, even if nobody was there when it went.
    lab.stop_operator()?;
    lab.plane().kubectl(["delete", "pluginpolicy", &long])?;
    lab.start_operator()?;
    wait_for("the ledger to go", SOON, || ledger(&lab, &long).is_none().then_some(()))?;
    Ok(())
}

#[test]
fn a_wave_is_halted_and_resumed() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("halting", "v1.0.0"))?;
    lab.publish(&Plugin::new("halting", "v1.1.0"))?;
    let report = |name: &str, role: &str, state: &str| {
        let component = json!({"name": "halting", "active": "v1.0.0", "target": "v1.1.0", "state": state});
        lab.host(name, role, &json!({"components": [component]}))
    };
    report("halting-1", "halting", "Failed")?;
    report("halting-2", "halting", "Pending")?;
    report("halting-3", "elsewhere", "Failed")?;
    lab.policy("halting", &rolling("halting", "halting", &json!({})))?;
    lab.policy_when("halting", "one failed", |policy| {
        wave(policy, "halting", "v1.1.0").is_some_and(|w| w.failed == 1 && w.state == Some(WaveState::Running))
    })?;

    report("halting-2", "halting", "Failed")?;
    let (policy, halted) = in_state(lab, "halting", "halting", "v1.1.0", WaveState::Halted)?;
    assert_eq!((ready(&policy).as_str(), halted.failed), ("False/WaveHalted", 2));
    assert_eq!(component(&policy, "halting").hold.as_deref(), Some("WaveHalted"));
    assert_eq!(wave(&policy, "halting", "v1.0.0").and_then(|wave| wave.state), Some(WaveState::Running));
    let at = halted.halted_at.as_ref().expect("a time").0;
    let note =
        wait_for("an event", SOON, || Some(events(lab, "halting", "WaveHalted")).filter(|note| !note.is_empty()))?;
    let resume = format!("cli.deckhouse.io/resume=v1.1.0@{at}");
    assert!(note.contains("halting v1.1.0") && note.contains(&resume), "{note}");

    // What names another halt resumes nothing: seen by what the operator writes next.
    let annotate =
        |value: &str| lab.plane().kubectl(["annotate", "--overwrite", "pluginpolicy", "halting", value]).map(drop);
    annotate("cli.deckhouse.io/resume=v1.1.0@2026-01-01T00:00:00Z")?;
    report("halting-4", "halting", "Failed")?;
    lab.policy_when("halting", "a third host", |policy| {
        wave(policy, "halting", "v1.1.0").is_some_and(|w| w.failed == 3 && w.halted_at == halted.halted_at)
    })?;

    annotate(&resume)?;
    let (policy, running) = in_state(lab, "halting", "halting", "v1.1.0", WaveState::Running)?;
    assert_eq!((ready(&policy).as_str(), running.failed, &running.since), ("True/RollingOut", 3, &halted.since));
    assert_eq!(running.halted_at, None);
    wait_for("an event", SOON, || Some(events(lab, "halting", "WaveResumed")).filter(|note| !note.is_empty()))?;

    // That halt only: with another host it is halted again, and then an edit resumes it.
    report("halting-5", "halting", "Failed")?;
    let (_, again) = in_state(lab, "halting", "halting", "v1.1.0", WaveState::Halted)?;
    assert!(again.halted_at > halted.halted_at);
    let mut spec = rolling("halting", "halting", &json!({}));
    spec["rollout"]["over"] = json!("2h");
    lab.policy("halting", &spec)?;
    let (policy, _) = in_state(lab, "halting", "halting", "v1.1.0", WaveState::Running)?;
    assert_eq!(policy.status.and_then(|status| status.observed_generation), policy.metadata.generation);
    Ok(())
}

#[test]
fn clients_obey_what_the_operator_writes() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("obeyed", "v1.0.0"))?;
    // One policy, of workstations and of a host whose report halts it.
    let mut spec = rolling("obeyed", "obeyed", &json!({}));
    let others = json!({"key": "role", "operator": "NotIn", "values": ["halting", "elsewhere", "windowed"]});
    spec["hostSelector"] = json!({"matchExpressions": [others]});
    spec["rollout"]["maxFailed"] = json!(1);
    lab.policy("obeyed", &spec)?;
    in_state(lab, "obeyed", "obeyed", "v1.0.0", WaveState::Running)?;
    let alice = lab.new_workstation()?;
    let refused = alice.d8(["plugins", "install", "obeyed"])?;
    assert!(refused.code() != 0 && refused.stderr.contains("spreads over 1h"), "{refused:?}");
    let component = json!({"name": "obeyed", "target": "v1.0.0", "state": "Failed"});
    lab.host("obeyed-1", "obeyed", &json!({"components": [component]}))?;
    in_state(lab, "obeyed", "obeyed", "v1.0.0", WaveState::Halted)?;
    let refused = alice.d8(["plugins", "install", "obeyed"])?;
    assert!(refused.code() != 0 && refused.stderr.contains("was halted at"), "{refused:?}");
    lab.plane().kubectl(["delete", "pluginpolicy", "obeyed"]).map(drop)
}

#[test]
fn the_next_window_is_told() -> Result<()> {
    let lab = Lab::shared();
    let spec = |windows: &Value| json!({"hostSelector": {"matchLabels": {"role": "windowed"}}, "windows": windows, "defaults": {"access": "Deny"}});
    lab.policy("windowed", &spec(&json!([{"start": "02:00", "duration": "1h", "timeZone": "Europe/Berlin"}])))?;
    let next = |policy: &PluginPolicy| policy.status.as_ref().and_then(|status| status.next_window.clone());
    let policy = lab.policy_when("windowed", "its next window", |policy| next(policy).is_some())?;
    let next_window: Time = serde_json::from_value(json!(next(&policy))).expect("a time");
    assert!(next_window.0 > jiff::Timestamp::now());
    let table = lab.plane().kubectl(["get", "ppol", "windowed"])?;
    assert!(table.contains(&next_window.0.to_string()), "{table}");
    lab.policy("windowed", &spec(&json!([{"start": "00:00", "duration": "168h"}])))?;
    lab.policy_when("windowed", "a window that never closes", |policy| next(policy).is_none()).map(drop)
}
