//! Random windows, blackouts and emergencies.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use super::{Field, Random, Scenario, VERSIONS, at, put, rules::listed, selector};

const ZONES: [&str; 5] = ["Europe/Berlin", "UTC", "America/New_York", "Australia/Lord_Howe", "America/Nuuk"];

/// Adds windows and blackouts to a policy.
pub(super) fn add_times(d: &mut Random, scenario: &Scenario, spec: &mut Value) {
    if d.percent(25) {
        let windows: Vec<Value> = (0..=d.below(2)).map(|_| window(d)).collect();
        put(spec, "windows", windows);
    }
    if scenario.has(Field::Blackouts) && d.percent(25) {
        let blackouts: Vec<Value> = (0..=d.below(3)).map(|_| blackout(d, scenario)).collect();
        put(spec, "blackouts", blackouts);
    }
    let has_times = !spec["windows"].is_null() || !spec["blackouts"].is_null();
    if scenario.has(Field::WindowsFor) && d.percent(if has_times { 60 } else { 5 }) {
        put(spec, "windowsFor", d.pick(&["Everyone", "Everyone", "Agent"]));
    }
}

fn window(d: &mut Random) -> Value {
    let mut window = json!({
        "start": d.pick(&["00:00", "02:00", "02:30", "12:00", "23:00", "23:30"]),
        "duration": d.pick(&["1h", "3h", "30m", "24h", "1h30m"]),
    });
    match d.below(6) {
        0 => put(&mut window, "days", vec!["Sat", "Sun"]),
        1 => put(&mut window, "days", vec!["Sun"]),
        2 => put(&mut window, "days", vec!["Tue", "Thu"]),
        3 => put(&mut window, "days", vec!["Mon", "Tue", "Wed", "Thu", "Fri"]),
        _ => {}
    }
    if d.percent(70) {
        put(&mut window, "timeZone", d.pick(&ZONES));
    }
    window
}

/// A blackout around the time of the case, or near it. Its ends are quarters of an hour.
fn blackout(d: &mut Random, scenario: &Scenario) -> Value {
    const QUARTER: i64 = 900;
    let zone = if d.percent(70) { Some(d.pick(&ZONES)) } else { None };
    let quarters = |d: &mut Random, end: usize| i64::try_from(d.below(end)).expect("small") * QUARTER;
    let length = match d.below(10) {
        0..=2 => QUARTER + quarters(d, 8),
        3..=8 => QUARTER + quarters(d, 4 * 24 * 20),
        // Longer than the 400 days for which windows are searched.
        _ => 401 * 24 * 3600 + quarters(d, 8),
    };
    let before = if d.percent(60) {
        quarters(d, usize::try_from(length / QUARTER).expect("small") + 1)
    } else {
        -quarters(d, 700)
    };
    let from = (scenario.now - before).div_euclid(QUARTER) * QUARTER;
    let mut blackout = json!({
        "from": local(from, zone),
        "to": local(from + length, zone),
        "reason": d.pick(&["Black Friday", "Audit"]),
    });
    if let Some(zone) = zone {
        put(&mut blackout, "timeZone", zone);
    }
    if blackout["from"].as_str() >= blackout["to"].as_str() {
        // The clock went back in between.
        put(&mut blackout, "to", local(from + length + 7200, zone));
    }
    // Times that the change of a clock skips or repeats.
    if d.percent(5) {
        put(&mut blackout, "from", "2026-03-29T02:30");
        put(&mut blackout, "to", d.pick(&["2026-03-29T04:00", "2026-10-25T02:30"]));
    }
    blackout
}

fn local(seconds: i64, zone: Option<&str>) -> String {
    let zone = TimeZone::get(zone.unwrap_or("UTC")).expect("a zone");
    zone.to_datetime(Timestamp::from_second(seconds).expect("in range")).strftime("%Y-%m-%dT%H:%M").to_string()
}

/// A policy that expedites a version everywhere for a time.
pub(super) fn emergency(d: &mut Random, scenario: &Scenario) -> Value {
    let until = match d.below(10) {
        0 => -1,
        1 => 0,
        2 => 1,
        3 => -3600,
        4..=6 => 3600 * (1 + i64::try_from(d.below(100)).expect("small")),
        _ => SignedDuration::from_hours(24 * 20).as_secs(),
    };
    let expedited = |d: &mut Random| if d.percent(80) { scenario.version.to_owned() } else { listed(d, scenario) };
    let mut spec = json!({
        "hostSelector": if d.percent(80) { json!({}) } else { selector(d) },
        "emergency": {"until": at(scenario.now + until)},
        "rules": [{
            "plugins": d.pick(&[&["*"][..], &["stronghold"], &["stronghold", "delivery-kit"], &["my*", "strong*"]]),
            "expedite": [expedited(d), d.pick(&VERSIONS)],
            "message": "CVE-2026-1",
        }],
    });
    if d.percent(40) || scenario.component == "d8" {
        put(&mut spec, "cli", json!({"expedite": [expedited(d)]}));
    }
    // Such a policy says nothing else.
    if d.percent(8) {
        match d.below(8) {
            0 => put(&mut spec, "defaults", json!({"updates": "Auto"})),
            1 => put(&mut spec["rules"][0], "minAge", "1h"),
            2 => put(&mut spec["rules"][0], "access", "Allow"),
            3 => put(&mut spec, "paused", true),
            4 => put(&mut spec, "rollout", json!({"over": "48h"})),
            5 => put(&mut spec, "windows", vec![window(d)]),
            6 => put(&mut spec, "integrity", json!({"movedTags": "Soak"})),
            _ => put(&mut spec["rules"][0], "block", vec!["v1.2.0"]),
        }
    }
    json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1",
        "kind": "PluginPolicy",
        "metadata": {"name": "emergency", "generation": 1},
        "spec": spec,
        "status": if d.percent(80) { json!({"observedGeneration": 1}) } else { json!({}) },
    })
}
