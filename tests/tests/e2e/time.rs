//! Gates that time opens: how long they still hold is told, and whose clock counts.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, other_clock};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::{Value, json};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Publishes versions made that long ago, then lets the operator see them for the first time.
fn published(lab: &Lab, name: &str, versions: &[&str], age: SignedDuration) -> Result<()> {
    versions.iter().try_for_each(|version| lab.publish(&Plugin::new(name, version).aged(age)).map(drop))?;
    lab.track(&[name])?;
    versions.iter().try_for_each(|version| lab.release_with(name, version).map(drop))
}

/// A policy for everybody that holds one plugin by these fields of its spec and of its rule.
fn holds(lab: &Lab, plugin: &str, spec: &Value, rule: &Value) -> Result<()> {
    let mut spec = spec.clone();
    spec["hostSelector"] = json!({});
    spec["rules"] = json!([rule]);
    spec["rules"][0]["plugins"] = json!([plugin]);
    lab.policy(plugin, &spec)?;
    assert!(lab.policy_accepted(plugin)?);
    Ok(())
}

/// What `why` says of the newest version.
fn why(alice: &Workstation, plugin: &str, more: &[&str]) -> Result<Value> {
    let line = ["plugins", "why", plugin, "-o", "json"];
    let why = alice.d8(line.iter().chain(more).copied())?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    Ok(why["versions"][0].clone())
}

fn codes(reasons: &Value) -> Vec<&str> {
    reasons.as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no instant"))
}

#[test]
fn a_clock_set_forward_passes_no_soak() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "brewed", &["v1.0.0"], 2 * HOUR)?;
    holds(lab, "brewed", &json!({}), &json!({"minAge": "1h"}))?;
    let alice = lab.new_workstation()?;
    assert_eq!(why(&alice, "brewed", &[])?["verdict"], "Eligible");
    for (ahead, want) in [(-3 * HOUR, "Held"), (SignedDuration::from_mins(-4), "Eligible"), (3 * HOUR, "Eligible")] {
        let config = other_clock::kubeconfig(lab.plane(), alice.who(), ahead)?;
        let row = why(&alice, "brewed", &["--kubeconfig", &config.display().to_string()])?;
        assert_eq!(row["verdict"], want, "the server is {ahead:#} ahead: {row:#}");
        if want == "Held" {
            assert_eq!(codes(&row["reasons"]), ["Soaking"]);
            let said = row["reasons"][0]["message"].as_str().unwrap_or_default();
            assert!(said.contains("1h59m") || said.contains("2h left"), "{said}");
        }
    }
    // Nor does one of the server that is ahead of ours: the smaller of the two counts.
    holds(lab, "brewed", &json!({}), &json!({"minAge": "3h"}))?;
    let config = other_clock::kubeconfig(lab.plane(), alice.who(), 5 * HOUR)?;
    let line = ["plugins", "install", "brewed", "--kubeconfig", &config.display().to_string()];
    let refused = alice.d8(line)?.expect_code(3)?;
    assert!(refused.stderr.contains("soaks for 3h"), "{refused:?}");
    Ok(())
}

#[test]
fn why_tells_the_time_left() -> Result<()> {
    // Rollouts and windows speak of every plugin.
    let lab = &Lab::start(|_| {})?;
    published(lab, "timed", &["v1.0.0"], HOUR)?;
    let alice = lab.new_workstation()?;

    holds(lab, "timed", &json!({}), &json!({"minAge": "24h"}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!((codes(&row["reasons"]), &row["verdict"]), (vec!["Soaking"], &json!("Held")));
    let left = instant(&row["until"]).duration_since(Timestamp::now());
    assert!(left > 22 * HOUR && left <= 23 * HOUR, "{left:#}");
    let told = alice.d8(["plugins", "why", "timed"])?.ok()?;
    assert!(told.contains("22h59m") || told.contains("23h left"), "{told}");

    // A root that is new comes last in every wave.
    holds(lab, "timed", &json!({"rollout": {"over": "48h"}}), &json!({}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!(codes(&row["reasons"]), ["NotInWave"], "{row:#}");
    let left = instant(&row["until"]).duration_since(Timestamp::now());
    assert!(left > 46 * HOUR && left <= 48 * HOUR, "{left:#}");

    // Windows bind the agent; a person is told what it waits for, and may go ahead.
    let in_three_days = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(3.days()).weekday();
    let day = format!("{in_three_days:?}")[..3].to_owned();
    let windows = json!([{"days": [day], "start": "00:00", "duration": "2h", "timeZone": "UTC"}]);
    holds(lab, "timed", &json!({"windows": windows}), &json!({}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!((&row["verdict"], codes(&row["notes"])), (&json!("Eligible"), vec!["OutsideWindow"]), "{row:#}");
    let left = instant(&row["notes"][0]["until"]).duration_since(Timestamp::now());
    assert!(left > 48 * HOUR && left <= 72 * HOUR, "{left:#}");
    alice.d8(["plugins", "install", "timed"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn what_was_active_here_once_soaks_no_more() -> Result<()> {
    let lab = Lab::shared();
    published(lab, "familiar", &["v1.0.0", "v1.0.1", "v1.1.0"], HOUR)?;
    let alice = lab.new_workstation()?;
    let install = |version: &str| alice.d8(["plugins", "install", "familiar", "--version", version]);
    install("v1.0.0")?.expect_code(0)?;
    install("v1.1.0")?.expect_code(0)?;
    holds(lab, "familiar", &json!({}), &json!({"minAge": "24h"}))?;
    let refused = install("v1.0.1")?.expect_code(3)?;
    assert!(refused.stderr.contains("soaks for 24h"), "{refused:?}");
    install("v1.0.0")?.expect_code(0)?;
    install("v1.1.0")?.expect_code(0)?;
    Ok(())
}
