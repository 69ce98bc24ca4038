//! Soak, records' age, waves, windows, clocks.

use super::{fixture::*, *};
use crate::decisions::wave::{Bucket, CanaryShare};

#[test]
fn min_age_by_the_largest_of_all_policies() {
    let spec = |age: &str| auto(&json!({"minAge": age}), &json!({}));
    for (specs, version, expected, until) in [
        (vec![spec("48h")], "v1.1.0", vec![], None),
        (vec![spec("48h1s")], "v1.1.0", vec!["Soaking"], Some("2026-11-22T12:00:01Z")),
        (vec![spec("24h")], "v1.0.0", vec![], None),
        (vec![spec("24h"), spec("72h")], "v1.1.0", vec!["Soaking"], Some("2026-11-23T12:00:00Z")),
        (vec![spec("96h"), spec("72h")], "v1.1.0", vec!["Soaking", "Soaking"], Some("2026-11-24T12:00:00Z")),
        (vec![spec("0s")], "v1.0.0", vec![], None),
    ] {
        let verdict = VerdictFixture::of(&specs).evaluate(change(A, version, None));
        assert_eq!((codes(&verdict), verdict.until()), (expected, until.map(at)), "{specs:?}");
    }
}

#[test]
fn min_age_binds_all_but_a_repair() {
    let fixture = VerdictFixture::auto(&json!({"minAge": "72h"}), &json!({}));
    for (intent, expected) in [(A, vec!["Soaking"]), (U, vec!["Soaking"]), (X, vec!["Soaking"]), (R, vec![])] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{intent:?}");
    }
    let defaults = VerdictFixture::of(&[json!({"defaults": {"minAge": "72h", "updates": "Auto"}})]);
    assert_eq!(defaults.codes(change(A, "v1.1.0", "v1.0.0")), ["Soaking"]);
}

#[test]
fn a_stale_record_holds_where_a_time_gate_needs_one() {
    let rollout = json!({"rollout": {"over": "1h"}});
    let aged = |synced: Option<&str>, fixture: VerdictFixture| {
        let mut release = fixture.release.clone().unwrap();
        let status = release.status.as_mut().unwrap();
        status.last_sync_time = synced.map(|synced| serde_json::from_value(json!(synced)).unwrap());
        VerdictFixture { release: Some(release), ..fixture }
    };
    let (fresh, stale) = (Some("2026-11-21T12:00:00Z"), Some("2026-11-21T11:59:59Z"));
    for (rule, rest, synced, intent, expected) in [
        (json!({"minAge": "1h"}), json!({}), fresh, A, vec![]),
        (json!({"minAge": "1h"}), json!({}), stale, A, vec!["RecordStale"]),
        (json!({"minAge": "1h"}), json!({}), stale, X, vec!["RecordStale"]),
        (json!({"minAge": "1h"}), json!({}), stale, R, vec![]),
        (json!({"minAge": "1h"}), json!({}), None, U, vec!["RecordStale"]),
        (json!({"minAge": "999h"}), json!({}), stale, U, vec!["RecordStale", "Soaking"]),
        (json!({}), rollout.clone(), stale, U, vec!["RecordStale"]),
        // A wave does not hold a person who names a version.
        (json!({}), rollout.clone(), stale, X, vec![]),
        (json!({}), json!({}), stale, A, vec![]),
        (json!({"expedite": ["1.1.0"], "minAge": "1h"}), rollout, stale, A, vec![]),
    ] {
        let fixture = aged(synced, VerdictFixture::auto(&rule, &rest));
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{rule} {rest} {synced:?} {intent:?}");
    }
}

#[test]
fn rule_15_a_version_without_a_record() {
    let fixture = VerdictFixture::auto(&json!({"minAge": "1h"}), &json!({}));
    let without_time: VerdictFixture = {
        let mut entry = version_seen("v1.1.0", NOW);
        entry.as_object_mut().unwrap().remove("firstSeen");
        VerdictFixture { release: Some(release(NOW, &[&entry])), ..fixture.clone() }
    };
    for (fixture, version, expected) in [
        (VerdictFixture { release: None, ..fixture.clone() }, "v1.1.0", vec!["NoRecord"]),
        (fixture.clone(), "v1.5.0", vec!["NoRecord"]),
        (without_time, "v1.1.0", vec!["NoRecord"]),
        (fixture, "v1.1.0", vec![]),
        (VerdictFixture { release: None, ..VerdictFixture::auto(&json!({}), &json!({})) }, "v1.1.0", vec![]),
    ] {
        assert_eq!(fixture.codes(change(U, version, "v1.0.0")), expected, "{version}");
    }
}

/// `bastion-1` has its turn in the wave of stronghold v1.1.0 after this share of it.
fn share() -> f64 {
    crate::decisions::wave::Bucket::of("bastion-1", &"stronghold".parse().unwrap(), &version("v1.1.0")).as_f64()
}

#[test]
fn rule_7_waves() {
    // Seen 48 h ago.
    let fixture = |rule: Value, over: &str| VerdictFixture::auto(&rule, &json!({"rollout": {"over": over}}));
    let (short, long) = ("48h", "720h");
    assert!((0.1..0.9).contains(&share()), "choose another host: {}", share());
    for (fixture, version, active, expected) in [
        (fixture(json!({}), short), "v1.1.0", "v1.0.0", vec![]),
        (fixture(json!({}), long), "v1.1.0", "v1.0.0", vec!["NotInWave"]),
        // A policy's own minAge delays its wave.
        (fixture(json!({"minAge": "48h"}), short), "v1.1.0", "v1.0.0", vec!["NotInWave"]),
        // As does the instant at which the policy began to permit it.
        (
            fixture(json!({}), short).status(&wave("1.1", &json!({"since": NOW, "state": "Running"}))),
            "v1.1.0",
            "v1.0.0",
            vec!["NotInWave"],
        ),
        (fixture(json!({}), short).status(&wave("v1.1.0", &json!({}))), "v1.1.0", "v1.0.0", vec![]),
        (
            fixture(json!({}), short).status(&wave("v1.0.0", &json!({"since": NOW, "state": "Running"}))),
            "v1.1.0",
            "v1.0.0",
            vec![],
        ),
        // A root made for this run comes last.
        (VerdictFixture { new_root: true, ..fixture(json!({}), "49h") }, "v1.1.0", "v1.0.0", vec!["NotInWave"]),
        (VerdictFixture { new_root: true, ..fixture(json!({}), short) }, "v1.1.0", "v1.0.0", vec![]),
        // Down takes no wave, nor does what another change brings in.
        (fixture(json!({}), long), "v1.1.0", "v1.2.0", vec![]),
        (VerdictFixture { brought_in: true, ..fixture(json!({}), long) }, "v1.1.0", "v1.0.0", vec![]),
        (fixture(json!({"expedite": ["1.1.0"]}), long), "v1.1.0", "v1.0.0", vec![]),
    ] {
        assert_eq!(fixture.codes(change(U, version, active)), expected, "{:?}", fixture.policies);
    }
    let fixture = fixture(json!({}), long);
    for (intent, expected, notes) in
        [(A, vec!["NotInWave"], 0), (U, vec!["NotInWave"], 0), (X, vec![], 1), (R, vec![], 0)]
    {
        let verdict = fixture.evaluate(change(intent, "v1.1.0", "v1.0.0"));
        assert_eq!((codes(&verdict), verdict.notes().len()), (expected, notes), "{intent:?}");
    }
}

#[test]
fn rule_7_the_turn_is_the_first_whole_second_that_permits() {
    let mut fixture = VerdictFixture::auto(&json!({}), &json!({"rollout": {"over": "720h"}}));
    let until = fixture.evaluate(change(A, "v1.1.0", "v1.0.0")).until().unwrap();
    assert_eq!(until.subsec_nanosecond(), 0);
    fixture.now = until;
    fixture.confirmed = Some(until);
    fixture.release = Some(release(&until.to_string(), &[&version_seen("v1.1.0", "2026-11-20T12:00:00Z")]));
    assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), [""; 0]);
    fixture.now = until - jiff::SignedDuration::from_secs(1);
    assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), ["NotInWave"]);
}

#[test]
fn rule_7_canaries_skip_their_policys_soak_and_wave() {
    let canary = json!({"over": "720h", "canarySelector": {"matchLabels": {"role": "bastion"}}});
    let other = json!({"over": "720h", "canarySelector": {"matchLabels": {"role": "ci"}}});
    let of = |rollout: &Value, rest: Value| {
        let mut rest = rest;
        rest["rollout"] = rollout.clone();
        auto(&json!({"minAge": "999h"}), &rest)
    };
    let halted = wave("v1.1.0", &json!({"state": "Halted"}));
    let window = json!({"windows": [{"start": "02:00", "duration": "3h"}]});
    for (specs, status, expected) in [
        (vec![of(&canary, json!({}))], json!({}), vec![]),
        (vec![of(&other, json!({}))], json!({}), vec!["NotInWave", "Soaking"]),
        // Each policy binds alone.
        (vec![of(&canary, json!({})), of(&other, json!({}))], json!({}), vec!["NotInWave", "Soaking"]),
        (vec![of(&canary, json!({})), auto(&json!({"minAge": "999h"}), &json!({}))], json!({}), vec!["Soaking"]),
        // Not a halt, not windows.
        (vec![of(&canary, json!({}))], halted, vec!["WaveHalted"]),
        (vec![of(&canary, window)], json!({}), vec!["OutsideWindow"]),
    ] {
        assert_eq!(
            VerdictFixture::of(&specs).status(&status).codes(change(A, "v1.1.0", "v1.0.0")),
            expected,
            "{specs:?}"
        );
    }
    // A canary needs no record.
    let blind = VerdictFixture { release: None, ..VerdictFixture::of(&[of(&canary, json!({}))]) };
    assert_eq!(blind.codes(change(A, "v1.1.0", "v1.0.0")), [""; 0]);
}

#[test]
fn rule_7_canaries_by_percentage_skip_the_wave_alone() {
    // The bucket of the host for v1.1.0.
    let bucket = Bucket::of("bastion-1", &"stronghold".parse().unwrap(), &Version::parse("v1.1.0").unwrap());
    let in_half = CanaryShare::of_percent(50).unwrap().contains(bucket);
    assert!(in_half && !CanaryShare::of_percent(1).unwrap().contains(bucket), "choose another host");
    let of = |percent: u32, rule: Value, rest: Value| {
        let mut rest = rest;
        rest["rollout"] = json!({"over": "720h", "canaryPercent": percent});
        auto(&rule, &rest)
    };
    let window = json!({"windows": [{"start": "02:00", "duration": "3h"}]});
    let halted = wave("v1.1.0", &json!({"state": "Halted"}));
    for (specs, status, expected) in [
        (vec![of(50, json!({}), json!({}))], json!({}), vec![]),
        (vec![of(1, json!({}), json!({}))], json!({}), vec!["NotInWave"]),
        (vec![of(50, json!({"minAge": "999h"}), json!({}))], json!({}), vec!["Soaking"]),
        (vec![of(50, json!({}), json!({})), of(1, json!({}), json!({}))], json!({}), vec!["NotInWave"]),
        (vec![of(50, json!({}), window)], json!({}), vec!["OutsideWindow"]),
        (vec![of(50, json!({}), json!({}))], halted, vec!["WaveHalted"]),
    ] {
        let fixture = VerdictFixture::of(&specs).status(&status);
        assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), expected, "{specs:?}");
    }
    // Such a canary needs no record, but any other host does.
    for (percent, expected) in [(50, vec![]), (1, vec!["NoRecord"])] {
        let fixture = VerdictFixture { release: None, ..VerdictFixture::of(&[of(percent, json!({}), json!({}))]) };
        assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), expected, "{percent}");
    }
}

#[test]
fn rule_7_a_wave_waits_for_evidence() {
    let required = |more: &Value| {
        let mut rollout = json!({"over": "1m", "requireSucceeded": {"hosts": 3, "for": "1h"}});
        rollout.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"rollout": rollout})
    };
    let no_canary = required(&json!({"canarySelector": {"matchLabels": {"role": "ci"}}}));
    let canary = required(&json!({"canarySelector": {"matchLabels": {"role": "bastion"}}}));
    let by_share = required(&json!({"canaryPercent": 50}));
    let not_by_share = required(&json!({"canaryPercent": 1}));
    let awaiting = json!({"state": "AwaitingEvidence", "succeeded": 1});
    let begun = json!({"state": "Running", "since": "2026-11-21T12:00:00Z"});
    let halted = json!({"state": "Halted", "haltedAt": NOW});
    let up = |intent| change(intent, "v1.1.0", "v1.0.0");
    let waits = || vec!["AwaitingEvidence"];
    for (rest, status, case, expected, notes) in [
        (&no_canary, json!({}), up(A), waits(), 0),
        (&no_canary, wave("v1.1.0", &awaiting), up(A), waits(), 0),
        (&no_canary, wave("v1.1.0", &awaiting), up(U), waits(), 0),
        (&no_canary, wave("v1.1.0", &awaiting), up(X), vec![], 1),
        (&no_canary, wave("v1.1.0", &awaiting), change(R, "v1.1.0", "v1.1.0"), vec![], 0),
        (&no_canary, wave("v1.1.0", &begun), up(A), vec![], 0),
        // A missing `since` decides, whatever the state.
        (&no_canary, wave("v1.1.0", &json!({"state": "Running"})), up(A), waits(), 0),
        (&no_canary, wave("v1.1.0", &halted), up(A), vec!["AwaitingEvidence", "WaveHalted"], 0),
        (&no_canary, wave("v1.2.0", &begun), up(A), waits(), 0),
        // Down.
        (&no_canary, json!({}), change(A, "v1.1.0", "v1.2.0"), vec![], 0),
        (&canary, json!({}), up(A), vec![], 0),
        (&by_share, json!({}), up(A), vec![], 0),
        (&not_by_share, json!({}), up(A), waits(), 0),
    ] {
        let fixture = VerdictFixture::auto(&json!({}), rest).status(&status);
        let verdict = fixture.evaluate(case);
        assert_eq!((codes(&verdict), verdict.notes().len()), (expected, notes), "{rest} {status} {:?}", case.intent);
        assert!(codes(&verdict).is_empty() || verdict.until().is_none());
    }
    let expedited = VerdictFixture::auto(&json!({"expedite": ["v1.1.0"]}), &no_canary);
    assert_eq!(expedited.codes(up(A)), [""; 0]);
    let unrecorded = VerdictFixture { release: None, ..VerdictFixture::auto(&json!({}), &no_canary) };
    assert_eq!(unrecorded.codes(up(A)), ["AwaitingEvidence", "NoRecord"]);
}

#[test]
fn rule_6_expedite_lifts_the_time_gates_of_its_own_policy() {
    let gates = json!({"rollout": {"over": "720h"}, "windows": [{"start": "02:00", "duration": "3h"}]});
    let slow = |expedite: &[&str]| auto(&json!({"minAge": "999h", "expedite": expedite}), &gates);
    let all = vec!["NotInWave", "OutsideWindow", "Soaking"];
    for (specs, expected) in [
        (vec![slow(&[])], all.clone()),
        (vec![slow(&["v1.1.0"])], vec![]),
        (vec![slow(&["1.1.0+build"])], vec![]),
        (vec![slow(&["v1.1.1"])], all.clone()),
        (vec![slow(&["v1.1.0"]), slow(&[])], all),
    ] {
        assert_eq!(VerdictFixture::of(&specs).codes(change(A, "v1.1.0", "v1.0.0")), expected, "{specs:?}");
    }
    let halted = wave("v1.1.0", &json!({"state": "Halted"}));
    let halted = VerdictFixture::of(&[slow(&["v1.1.0"])]).status(&halted);
    assert_eq!(halted.codes(change(A, "v1.1.0", "v1.0.0")), ["WaveHalted"]);
}

#[test]
fn rule_9_a_halted_wave() {
    let halt = |version: &str, rest: &Value| {
        let fields = json!({"state": "Halted", "haltedAt": "2026-11-22T09:00:00Z", "failed": 3, "since": NOW});
        VerdictFixture::auto(&json!({}), rest).status(&wave(version, &fields))
    };
    let rollout = json!({"rollout": {"over": "1m", "maxFailed": 3}});
    for (fixture, intent, active, expected, notes) in [
        (halt("v1.1.0", &rollout), A, "v1.0.0", vec!["NotInWave", "WaveHalted"], 0),
        (halt("1.1.0", &rollout), U, "v1.0.0", vec!["NotInWave", "WaveHalted"], 0),
        (halt("v1.1.0", &rollout), X, "v1.0.0", vec![], 2),
        (halt("v1.1.0", &rollout), R, "v1.1.0", vec![], 0),
        (halt("v1.2.0", &rollout), A, "v1.0.0", vec![], 0),
        // On the way down there is no wave, but the halt is one of the version.
        (halt("v1.1.0", &rollout), A, "v1.2.0", vec!["WaveHalted"], 0),
        // A policy that lost its rollout still halts.
        (halt("v1.1.0", &json!({})), A, "v1.0.0", vec!["WaveHalted"], 0),
        (halt("v1.1.0", &json!({})), X, "v1.0.0", vec![], 1),
    ] {
        let verdict = fixture.evaluate(change(intent, "v1.1.0", active));
        assert_eq!((codes(&verdict), verdict.notes().len()), (expected, notes), "{intent:?} {active}");
        assert!(codes(&verdict).is_empty() || verdict.until().is_none());
    }
}

#[test]
fn rule_8_a_policy_the_operator_has_not_seen() {
    let rollout = json!({"rollout": {"over": "1h"}});
    let of = |rest: &Value, generation: Option<i64>, observed: Option<i64>| {
        let mut fixture = VerdictFixture::auto(&json!({}), rest);
        fixture.policies[0]["metadata"]["generation"] = json!(generation);
        fixture.policies[0]["status"] = json!({"observedGeneration": observed});
        fixture
    };
    let not_observed = vec!["PolicyNotObserved"];
    for (fixture, intent, expected) in [
        (of(&rollout, Some(4), Some(3)), A, not_observed.clone()),
        (of(&rollout, Some(4), Some(3)), U, not_observed.clone()),
        (of(&rollout, Some(4), Some(3)), X, vec![]),
        (of(&rollout, Some(4), Some(3)), R, vec![]),
        (of(&rollout, Some(4), None), U, not_observed),
        (of(&rollout, Some(4), Some(4)), U, vec![]),
        (of(&rollout, None, None), U, vec![]),
        (of(&json!({}), Some(4), Some(3)), U, vec![]),
    ] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{:?}", fixture.policies);
    }
}

#[test]
fn rule_10_windows_bind_the_agent() {
    let day = |start: &str| json!({"windows": [{"start": start, "duration": "2h"}]});
    let of = |windows: &[Value]| windows.iter().map(|rest| auto(&json!({}), rest)).collect::<Vec<_>>();
    for (specs, intent, expected, until) in [
        (of(&[day("11:00")]), A, vec![], None),
        (of(&[day("12:00")]), A, vec![], None),
        (of(&[day("10:00")]), A, vec!["OutsideWindow"], Some("2026-11-23T10:00:00Z")),
        (of(&[day("10:00")]), U, vec![], None),
        (of(&[day("10:00")]), X, vec![], None),
        // All of them: from 13:00 to 14:00.
        (of(&[day("12:00"), day("13:00")]), A, vec!["OutsideWindow"], Some("2026-11-22T13:00:00Z")),
        (of(&[day("13:00"), day("14:00")]), A, vec!["OutsideWindow", "OutsideWindow"], Some("2026-11-22T14:00:00Z")),
        (of(&[day("11:00"), day("15:00")]), A, vec!["WindowsNeverMeet"], None),
        (of(&[json!({}), day("11:00")]), A, vec![], None),
    ] {
        // An hour of overlap would do for the third row, so windows of two hours meet.
        let verdict = VerdictFixture::of(&specs).evaluate(change(intent, "v1.1.0", "v1.0.0"));
        let (expected, until) = match expected.as_slice() {
            ["OutsideWindow", "OutsideWindow"] => (vec!["OutsideWindow"; 2], until),
            _ => (expected, until),
        };
        assert_eq!((codes(&verdict), verdict.until()), (expected, until.map(at)), "{specs:?} {intent:?}");
    }
}

#[test]
fn a_view_of_the_policies_older_than_ten_minutes_stops_the_agent() {
    let fixture = VerdictFixture::auto(&json!({}), &json!({}));
    let stale = vec!["PolicyStale"];
    for (confirmed, intent, expected) in [
        (Some(NOW), A, vec![]),
        (Some("2026-11-22T11:50:00Z"), A, vec![]),
        (Some("2026-11-22T11:49:59Z"), A, stale.clone()),
        (None, A, stale.clone()),
        (Some("2026-11-22T12:30:00Z"), A, vec![]),
        (Some("2026-11-01T00:00:00Z"), U, vec![]),
        (None, X, vec![]),
        (None, R, vec![]),
    ] {
        let fixture = VerdictFixture { confirmed: confirmed.map(at), ..fixture.clone() };
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{confirmed:?} {intent:?}");
    }
    // Not lifted when leaving what is blocked.
    let fixture = VerdictFixture { confirmed: None, ..VerdictFixture::auto(&json!({"block": ["1.0.0"]}), &json!({})) };
    assert_eq!(fixture.codes(change(A, "v1.1.0", "v1.0.0")), stale);
}

#[test]
fn rule_12_the_clock() {
    let fixture = VerdictFixture::auto(&json!({"minAge": "47h"}), &json!({}));
    for (server, intent, expected) in [
        (None, A, vec![]),
        (Some("2026-11-22T12:05:00Z"), A, vec![]),
        (Some("2026-11-22T12:05:01Z"), A, vec!["ClockSkew"]),
        (Some("2026-11-22T12:05:01Z"), U, vec![]),
        // The smaller of the two, for people.
        (Some("2026-11-22T10:59:59Z"), A, vec!["ClockSkew", "Soaking"]),
        (Some("2026-11-22T10:59:59Z"), U, vec!["Soaking"]),
        (Some("2026-11-22T10:59:59Z"), X, vec!["Soaking"]),
        (Some("2026-11-22T10:59:59Z"), R, vec![]),
    ] {
        let fixture = VerdictFixture { server_time: server.map(at), ..fixture.clone() };
        assert_eq!(fixture.codes(change(intent, "v1.1.0", "v1.0.0")), expected, "{server:?} {intent:?}");
    }
}

#[test]
fn rule_19_a_version_once_active_here() {
    let slow = json!({"rollout": {"over": "720h"}, "integrity": {"movedTags": "Refuse"}});
    let fixture = VerdictFixture::auto(&json!({"minAge": "999h"}), &slow);
    let was_active = VerdictFixture { stored: Some(Vec::new()), ..fixture.clone() };
    let waits = vec!["NotInWave", "Soaking"];
    for (fixture, intent, active, expected) in [
        (&fixture, X, "v1.0.0", vec!["Soaking"]),
        (&was_active, X, "v1.0.0", vec![]),
        (&was_active, U, "v1.0.0", waits.clone()),
        (&was_active, A, "v1.0.0", waits.clone()),
        // What is active was.
        (&fixture, X, "v1.1.0", vec![]),
        (&fixture, A, "v1.1.0", waits),
    ] {
        assert_eq!(fixture.codes(change(intent, "v1.1.0", active)), expected, "{intent:?} {active}");
    }
    let unrecorded = VerdictFixture { release: None, ..was_active };
    assert_eq!(unrecorded.codes(change(X, "v1.1.0", "v1.0.0")), [""; 0]);
    // What forbids, binds.
    let blocked = VerdictFixture::auto(
        &json!({"block": ["1.1.0"], "versions": "<1", "updates": "Frozen"}),
        &json!({"paused": true}),
    );
    let blocked = VerdictFixture { stored: Some(Vec::new()), ..blocked };
    assert_eq!(blocked.codes(change(X, "v1.1.0", "v1.0.0")), ["Blocked", "VersionNotPermitted", "Frozen", "Paused"]);
}

#[test]
fn rule_1_the_first_install_of_what_is_required() {
    let required = |rest: &Value, rule: &Value| {
        let mut own = json!({"access": "Require", "updates": "Manual"});
        own.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        VerdictFixture::auto(&own, rest)
    };
    let closed = json!({"windows": [{"start": "02:00", "duration": "3h"}]});
    for (fixture, expected) in [
        (required(&json!({}), &json!({})), vec![]),
        (required(&json!({}), &json!({"updates": "Frozen"})), vec![]),
        (required(&closed, &json!({})), vec!["OutsideWindow"]),
        (required(&json!({"rollout": {"over": "720h"}}), &json!({})), vec!["NotInWave"]),
        (required(&json!({}), &json!({"minAge": "999h"})), vec!["Soaking"]),
    ] {
        assert_eq!(fixture.codes(change(A, "v1.1.0", None)), expected, "{:?}", fixture.policies);
    }
}

/// What is computed once for a host (openings, canaries, rules) changes no later verdict.
#[test]
fn host_policies_evaluate_many_candidates_independently() {
    let window = |start: &str| json!([{"start": start, "duration": "2h"}]);
    let fixture = VerdictFixture::of(&[
        auto(&json!({"expedite": ["v1.1.0"], "minAge": "72h"}), &json!({"windows": window("13:00")})),
        auto(&json!({}), &json!({"windows": window("14:00"), "rollout": {"over": "720h", "canarySelector": {}}})),
        json!({"rules": [{"plugins": ["other"], "access": "Deny"}], "windows": window("14:30")}),
        json!({"rules": [{"plugins": ["x"], "versions": "what"}]}),
        json!({"hostSelector": {"matchLabels": {"role": "ci"}}, "paused": true}),
    ]);
    let (set, labels) = (PolicySet::from_json(&fixture.policies), labels());
    let host = Host::unattended(fixture.host, &labels, None);
    let shared = set.for_host(host);
    let (old, components) = (version("v1.0.0"), ["stronghold", "other", "my_plugin", "d8"]);
    for now in ["2026-11-22T12:00:00Z", "2026-11-22T14:45:00Z", "2026-11-22T13:30:00Z", "2026-11-22T12:00:00Z"] {
        for (component, wanted) in components.iter().flat_map(|c| ["v1.1.0", "v1.2.0", "v2.0.0"].map(|v| (*c, v))) {
            for intent in [A, U, X, R] {
                let (component, wanted): (Component, Version) = (component.parse().unwrap(), version(wanted));
                let case = Candidate::new(host, &component, &wanted, intent, at(now)).active(Some(&old));
                let case = case.confirmed(Some(at(now))).release(fixture.release.as_ref());
                assert_eq!(
                    shared.evaluate(&case),
                    set.for_host(host).evaluate(&case),
                    "{now} {component} {wanted} {intent:?}"
                );
            }
        }
    }
    let names = set.for_host(host).policy_names();
    assert_eq!((shared.policy_names(), shared.required()), (names, set.for_host(host).required()));
}

#[test]
fn rule_23_the_next_version_of_a_host() {
    let night = json!({"windows": [{"start": "02:00", "duration": "3h"}]});
    let hour = json!({"windows": [{"start": "12:00", "duration": "1h"}]});
    let soak = |age: &str| json!({"minAge": age});
    let both = json!({"minAge": "49h30m", "expedite": ["v1.0.0"]});
    let open = json!({});
    // v1.1.0 was seen at noon two days ago, v1.0.0 at noon yesterday. It is noon.
    for (rule, rest, active, expected) in [
        (open.clone(), &open, Some("v0.9.0"), Some(("v1.1.0", NOW))),
        (open.clone(), &open, Some("v1.1.0"), None),
        (open.clone(), &open, None, Some(("v1.1.0", NOW))),
        (soak("30h"), &open, Some("v0.9.0"), Some(("v1.1.0", NOW))),
        (soak("72h"), &open, Some("v0.9.0"), Some(("v1.1.0", "2026-11-23T12:00:00Z"))),
        (soak("72h"), &night, Some("v0.9.0"), Some(("v1.1.0", "2026-11-24T02:00:00Z"))),
        // The window closes before v1.1.0 is old enough, and opens again on the next day.
        (soak("49h30m"), &hour, Some("v0.9.0"), Some(("v1.1.0", "2026-11-23T12:00:00Z"))),
        // The older version comes first.
        (both, &hour, Some("v0.9.0"), Some(("v1.0.0", NOW))),
        (json!({"updates": "Manual"}), &open, Some("v0.9.0"), None),
        (json!({"block": ["v1.1.0"]}), &night, Some("v0.9.0"), Some(("v1.0.0", "2026-11-23T02:00:00Z"))),
        (open.clone(), &json!({"paused": true}), Some("v0.9.0"), None),
    ] {
        let fixture = VerdictFixture::auto(&rule, rest);
        let next = fixture.next(active, &["v1.0.0", "v1.1.0"]);
        let expected = expected.map(|(version, at_)| (version.to_owned(), at(at_)));
        assert_eq!(next, expected, "{rule} {rest} {active:?}");
    }
    let stale = VerdictFixture { confirmed: Some(at("2026-11-22T11:00:00Z")), ..VerdictFixture::auto(&open, &night) };
    assert_eq!(stale.next(Some("v0.9.0"), &["v1.1.0"]), None, "the policies stay as old as they are");
    let skewed = VerdictFixture { server_time: Some(at("2026-11-22T13:00:00Z")), ..VerdictFixture::auto(&open, &open) };
    assert_eq!(skewed.next(Some("v0.9.0"), &["v1.1.0"]), None);
}
