//! `d8 policy diff` about waves: what it says is compared with what the operator does once the edit is applied.

use d8_crds::records::policy::{PluginPolicy, WaveState};
use d8_tests::catalog::Plugin;
use d8_tests::status::{of_policy, wave};
use d8_tests::{Lab, Result, Workstation, objects};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::policy_commands::admin;

/// Returns the policy for bastions with this rollout, for these versions of the plugin.
fn spec(rollout: &Value, versions: &str) -> Value {
    json!({
        "hostSelector": {"matchLabels": {"role": "bastion"}},
        "defaults": {"updates": "Auto"},
        "rules": [{"plugins": ["waving"], "versions": versions}],
        "rollout": rollout,
    })
}

/// Returns what the edit would do to waves, as `version change`.
fn previewed(alice: &Workstation, spec: &Value) -> Result<Vec<String>> {
    let path = alice.home().join("edit.json");
    std::fs::write(&path, objects::policy("slow", spec).to_string()).unwrap_or_else(|error| panic!("{error}"));
    let path = path.display().to_string();
    let text = alice.d8(["policy", "diff", "-f", &path, "-o", "json"])?.ok()?;
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let waves = document["waves"].as_array().into_iter().flatten();
    let word = |wave: &Value, key: &str| wave[key].as_str().unwrap_or_default().to_owned();
    let shown = waves.map(|wave| {
        assert_eq!((&wave["policy"], &wave["hosts"]), (&json!("slow"), &json!(["bastion-1"])), "{document}");
        format!("{} {}", word(wave, "version"), word(wave, "change"))
    });
    Ok(shown.collect())
}

/// Applies the policy and waits until the operator has processed it. Returns the wave of v1.1.0.
fn applied(lab: &Lab, spec: &Value) -> Result<(Option<WaveState>, Option<Time>)> {
    lab.apply_policy("slow", spec)?;
    let is_observed = |policy: &PluginPolicy| {
        of_policy(policy).observed_generation.is_some_and(|seen| policy.metadata.generation == Some(seen))
    };
    let generation = lab.get_policy("slow").and_then(|policy| policy.metadata.generation);
    let policy = lab.wait_for_policy("slow", "the operator has processed the edit", |policy| {
        policy.metadata.generation >= generation && is_observed(policy)
    })?;
    let wave = wave(&policy, "waving", "v1.1.0");
    Ok((wave.as_ref().and_then(|wave| wave.state), wave.and_then(|wave| wave.since)))
}

#[test]
fn diff_says_what_the_operator_does_to_waves() -> Result<()> {
    let lab = Lab::start(|_| {})?;
    for version in ["v1.0.0", "v1.1.0"] {
        lab.publish(&Plugin::new("waving", version))?;
    }
    lab.create_releases(&["waving"])?;
    for version in ["v1.0.0", "v1.1.0"] {
        lab.wait_for_version("waving", version)?;
    }
    let active = json!({"name": "waving", "active": "v1.0.0", "state": "UpToDate"});
    lab.apply_host("bastion-1", "bastion", &json!({"platform": "linux-amd64", "components": [active]}))?;
    let alice = admin(&lab)?;
    let over = json!({"over": "1h"});
    let evidence = json!({"over": "1h", "canaryPercent": 10, "requireSucceeded": {"hosts": 1, "for": "1h"}});
    let mut begun = None;
    for (rollout, versions, expected) in [
        (&over, "<1.1", None),
        // The version was not permitted before.
        (&over, ">=1.0", Some("v1.1.0 Begins")),
        // A wave that has begun does not wait.
        (&evidence, ">=1.0", None),
        (&evidence, "<1.1", None),
        (&evidence, ">=1.0", Some("v1.1.0 Awaits")),
        (&over, ">=1.0", Some("v1.1.0 Begins")),
    ] {
        let what = format!("{rollout} {versions}");
        let spec = spec(rollout, versions);
        let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(previewed(&alice, &spec)?, expected, "{what}");
        let (state, since) = applied(&lab, &spec)?;
        match expected.first().map(String::as_str) {
            Some("v1.1.0 Begins") => {
                assert_eq!(state, Some(WaveState::Running), "{what}");
                assert!(since.is_some() && since != begun, "{what}: {since:?}");
                begun = since;
            }
            Some(_) => assert_eq!((state, since), (Some(WaveState::AwaitingEvidence), None), "{what}"),
            None if versions == "<1.1" => assert_eq!((state, since), (None, None), "{what}"),
            None => assert_eq!((state, &since), (Some(WaveState::Running), &begun), "{what}"),
        }
        assert_eq!(previewed(&alice, &spec)?, [""; 0], "{what}: it is applied");
    }
    Ok(())
}
