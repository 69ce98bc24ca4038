//! Time gates: when a hold ends, and which clock counts.

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, objects, skewed_clock, status};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::{Value, json};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Publishes versions that were created this long ago, and waits until they are in the record.
fn publish(lab: &Lab, name: &str, versions: &[&str], age: SignedDuration) -> Result<()> {
    versions.iter().try_for_each(|version| lab.publish(&Plugin::new(name, version).with_age(age)).map(drop))?;
    lab.create_releases(&[name])?;
    versions.iter().try_for_each(|version| lab.wait_for_version(name, version).map(drop))
}

/// Applies a policy for every host with these fields in its spec and in its rule for the plugin.
fn apply_policy(lab: &Lab, plugin: &str, spec: &Value, rule: &Value) -> Result<()> {
    lab.apply_policy(plugin, &objects::with(objects::one_rule(plugin, rule), spec))?;
    assert!(lab.wait_for_accepted(plugin)?);
    Ok(())
}

/// Returns the entry of the newest version in the output of `why`.
fn why(alice: &Workstation, plugin: &str, more: &[&str]) -> Result<Value> {
    let line = ["plugins", "why", plugin, "-o", "json"];
    let why = alice.d8(line.iter().chain(more).copied())?.ok()?;
    let why: Value = serde_json::from_str(&why).unwrap_or_else(|error| panic!("{error}: {why}"));
    Ok(why["versions"][0].clone())
}

/// `firstSeen` of v1.0.0 in the record.
fn first_seen(lab: &Lab, name: &str) -> Result<Timestamp> {
    let version = status::version(&lab.wait_for_version(name, "v1.0.0")?, "v1.0.0");
    Ok(version.first_seen.unwrap_or_else(|| panic!("{name} v1.0.0 has no firstSeen")).0)
}

fn codes(reasons: &Value) -> Vec<&str> {
    reasons.as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str()).collect()
}

fn instant(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not a time"))
}

#[test]
fn a_wrong_clock_does_not_end_min_age_early() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "brewed", &["v1.0.0"], 2 * HOUR)?;
    apply_policy(lab, "brewed", &json!({}), &json!({"minAge": "1h"}))?;
    let alice = lab.new_workstation()?;
    assert_eq!(why(&alice, "brewed", &[])?["verdict"], "Eligible");
    for (ahead, want) in [(-3 * HOUR, "Held"), (SignedDuration::from_mins(-4), "Eligible"), (3 * HOUR, "Eligible")] {
        let config = skewed_clock::kubeconfig(lab.plane(), alice.identity(), ahead)?;
        let row = why(&alice, "brewed", &["--kubeconfig", &config.display().to_string()])?;
        assert_eq!(row["verdict"], want, "the server is {ahead:#} ahead: {row:#}");
        if want == "Held" {
            assert_eq!(codes(&row["reasons"]), ["Soaking"]);
            let until = first_seen(lab, "brewed")?.checked_add(HOUR).expect("a time");
            assert_eq!(instant(&row["reasons"][0]["until"]), until, "{row:#}");
        }
    }
    // The same for a server that is ahead of the local clock: the earlier time counts.
    apply_policy(lab, "brewed", &json!({}), &json!({"minAge": "3h"}))?;
    let config = skewed_clock::kubeconfig(lab.plane(), alice.identity(), 5 * HOUR)?;
    let line = ["plugins", "install", "brewed", "--kubeconfig", &config.display().to_string()];
    let refused = alice.d8(line)?.expect_code(3)?;
    assert!(refused.stderr.contains("must soak for 3h"), "{refused:?}");
    Ok(())
}

#[test]
fn why_shows_when_each_hold_ends() -> Result<()> {
    // Rollouts and windows apply to every plugin, so this test has its own lab.
    let lab = &Lab::start(|_| {})?;
    publish(lab, "timed", &["v1.0.0"], HOUR)?;
    let alice = lab.new_workstation()?;

    apply_policy(lab, "timed", &json!({}), &json!({"minAge": "24h"}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!((codes(&row["reasons"]), &row["verdict"]), (vec!["Soaking"], &json!("Held")));
    let first_seen = first_seen(lab, "timed")?;
    let until = first_seen.checked_add(24 * HOUR).expect("a time");
    assert_eq!(instant(&row["until"]), until);
    let table = alice.d8(["plugins", "why", "timed"])?.ok()?;
    assert!(table.contains(&format!("{until}")), "{table}");

    // A new root comes last in every wave.
    apply_policy(lab, "timed", &json!({"rollout": {"over": "48h"}}), &json!({}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!(codes(&row["reasons"]), ["NotInWave"], "{row:#}");
    let wave = status::wave(&lab.get_policy("timed").expect("the policy"), "timed", "v1.0.0").expect("a wave");
    let since = wave.since.map_or(first_seen, |since| since.0.max(first_seen));
    assert_eq!(instant(&row["until"]), since.checked_add(48 * HOUR).expect("a time"));

    // Windows bind the agent. A person gets a note and may install.
    let in_three_days = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(3.days());
    let day = format!("{:?}", in_three_days.weekday())[..3].to_owned();
    let windows = json!([{"days": [day], "start": "00:00", "duration": "2h", "timeZone": "UTC"}]);
    apply_policy(lab, "timed", &json!({"windows": windows}), &json!({}))?;
    let row = why(&alice, "timed", &[])?;
    assert_eq!((&row["verdict"], codes(&row["notes"])), (&json!("Eligible"), vec!["OutsideWindow"]), "{row:#}");
    let opens = in_three_days.with().time(jiff::civil::Time::midnight()).build().expect("a time").timestamp();
    assert_eq!(instant(&row["notes"][0]["until"]), opens);
    alice.d8(["plugins", "install", "timed"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_blackout_for_everyone_holds_people_who_update() -> Result<()> {
    // Blackouts apply to every plugin, so this test has its own lab.
    let lab = &Lab::start(|_| {})?;
    publish(lab, "frozen", &["v1.0.0", "v1.1.0"], HOUR)?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "frozen", "--version", "v1.0.0"])?.expect_code(0)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let [from, to] =
        [today.saturating_sub(1.day()), today.saturating_add(2.days())].map(|date| format!("{date}T00:00"));
    let blackout =
        |whom: &str| json!({"blackouts": [{"from": from, "to": to, "reason": "Black Friday"}], "windowsFor": whom});

    apply_policy(lab, "frozen", &blackout("Everyone"), &json!({"updates": "Auto"}))?;
    let policy = lab.get_policy("frozen").expect("the policy");
    let next_window = policy.status.and_then(|status| status.next_window);
    assert_eq!(next_window.as_deref(), Some(format!("{to}:00Z").as_str()));
    // An update skips what is held. A person who names the version is refused.
    for (line, code) in [
        (&["plugins", "update", "frozen"][..], 0),
        (&["plugins", "update", "frozen", "--dry-run"], 0),
        (&["plugins", "install", "frozen", "--version", "v1.1.0"], 3),
    ] {
        let held = alice.d8(line.iter().copied())?.expect_code(code)?;
        assert!(held.stderr.contains("a blackout lasts until") && held.stderr.contains("(Black Friday)"), "{held:?}");
        assert!(!held.stderr.contains("run `d8 plugins update"), "people are held, too: {held:?}");
    }
    let row = why(&alice, "frozen", &[])?;
    assert_eq!((codes(&row["reasons"]), codes(&row["notes"])), (vec!["Blackout"], vec![]), "{row:#}");
    assert_eq!(row["reasons"][0]["blackoutReason"], "Black Friday");
    assert_eq!(row["reasons"][0]["until"], format!("{to}:00Z"));

    // Without it, the blackout holds the agent only.
    apply_policy(lab, "frozen", &blackout("Agent"), &json!({"updates": "Auto"}))?;
    let row = why(&alice, "frozen", &[])?;
    assert_eq!((codes(&row["reasons"]), codes(&row["notes"])), (vec![], vec!["Blackout"]), "{row:#}");
    let updated = alice.d8(["plugins", "update", "frozen"])?.expect_code(0)?;
    assert!(!updated.stderr.contains("skipped"), "{updated:?}");
    assert_eq!(why(&alice, "frozen", &[])?["active"], true);
    Ok(())
}

#[test]
fn an_emergency_policy_lifts_the_min_age_of_another_policy() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "leaky", &["v1.0.0"], HOUR)?;
    apply_policy(lab, "leaky", &json!({}), &json!({"minAge": "24h"}))?;
    let alice = lab.new_workstation()?;
    let refused = alice.d8(["plugins", "install", "leaky"])?.expect_code(3)?;
    assert!(refused.stderr.contains("must soak for 24h"), "{refused:?}");

    let until = Timestamp::from_second(Timestamp::now().as_second() + 3600).expect("a time");
    let fix = json!({"hostSelector": {}, "emergency": {"until": until.to_string()},
        "rules": [{"plugins": ["leaky"], "expedite": ["v1.0.0"]}]});
    lab.apply_policy("leaky-fix", &fix)?;
    assert!(lab.wait_for_accepted("leaky-fix")?);
    let listed = lab.plane().kubectl(["get", "ppol", "leaky-fix"])?;
    assert!(listed.contains(&until.to_string()) && listed.contains("Emergency"), "{listed}");
    let described = lab.plane().kubectl(["get", "ppol", "leaky-fix", "-o", "yaml"])?;
    assert!(described.contains("the versions in expedite skip minAge"), "{described}");
    let effective = alice.d8(["policy", "get", "--effective", "--plugin", "leaky"])?.ok()?;
    assert!(effective.contains(&format!("policy leaky-fix is an emergency policy until {until}")), "{effective}");
    alice.d8(["plugins", "install", "leaky"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn min_age_does_not_bind_a_version_that_was_active_before() -> Result<()> {
    let lab = Lab::shared();
    publish(lab, "familiar", &["v1.0.0", "v1.0.1", "v1.1.0"], HOUR)?;
    let alice = lab.new_workstation()?;
    let install = |version: &str| alice.d8(["plugins", "install", "familiar", "--version", version]);
    install("v1.0.0")?.expect_code(0)?;
    install("v1.1.0")?.expect_code(0)?;
    apply_policy(lab, "familiar", &json!({}), &json!({"minAge": "24h"}))?;
    let refused = install("v1.0.1")?.expect_code(3)?;
    assert!(refused.stderr.contains("must soak for 24h"), "{refused:?}");
    install("v1.0.0")?.expect_code(0)?;
    install("v1.1.0")?.expect_code(0)?;
    Ok(())
}

/// The last lines of `why` are commands that work, and a policy that expedites a version lifts only its own gates.
#[test]
fn why_says_what_expedite_lifts_and_how_to_go_before_a_wave() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    publish(lab, "rolled", &["v1.0.0"], HOUR)?;
    let alice = lab.new_workstation()?;
    apply_policy(lab, "rolled", &json!({"rollout": {"over": "720h"}}), &json!({}))?;
    let why = || alice.d8(["plugins", "why", "rolled"])?.expect_code(0);
    let waiting = why()?;
    let command = "d8 plugins install rolled --version v1.0.0";
    let last = format!("to take v1.0.0 before its wave reaches this machine: `{command}`\n");
    assert!(waiting.stdout.contains("Held") && waiting.stderr.ends_with(&last), "{waiting:?}");
    alice.d8(["plugins", "install", "rolled"])?.expect_code(3)?;

    let hurry = json!({"hostSelector": {}, "rules": [{"plugins": ["rolled"], "expedite": ["v1.0.0"]}]});
    lab.apply_policy("hurry", &hurry)?;
    let expedited = why()?;
    let remark = "note: policy hurry, rules[0].expedite: only this policy's gates are skipped; others still hold it";
    assert!(expedited.stdout.contains(remark), "{expedited:?}");
    apply_policy(lab, "rolled", &json!({}), &json!({}))?;
    assert!(!why()?.stdout.contains("expedite"), "nothing holds the version");
    apply_policy(lab, "rolled", &json!({"rollout": {"over": "720h"}}), &json!({}))?;
    alice.d8(command.split(' ').skip(1))?.expect_code(0)?;
    Ok(())
}
