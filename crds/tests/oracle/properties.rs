//! Properties that hold for all policies, tested on random cases.

use serde_json::{Value, json};

use crate::{
    evaluate::evaluate,
    generate::{self, Random},
};

mod fields;

const CASES: u64 = 3_000;

fn answer(case: &Value) -> Value {
    evaluate(case).expect("a case that can be read")
}

fn has(answer: &Value, reason: &str) -> bool {
    answer["reasons"].as_array().into_iter().flatten().any(|known| known == reason)
}

fn later(case: &Value, seconds: i64) -> Value {
    let mut case = case.clone();
    for field in ["now", "confirmed"] {
        let at: jiff::Timestamp = case[field].as_str().unwrap().parse().unwrap();
        case[field] = json!(jiff::Timestamp::from_second(at.as_second() + seconds).unwrap().to_string());
    }
    case
}

#[test]
fn the_order_of_objects_never_matters() {
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let before = answer(&case);
        for list in ["/policies", "/release/status/versions"] {
            if let Some(list) = case.pointer_mut(list).and_then(Value::as_array_mut) {
                list.reverse();
            }
        }
        assert_eq!(before, answer(&case), "{case}");
        if let Some(list) = case["policies"].as_array_mut()
            && !list.is_empty()
        {
            list.rotate_left(1);
        }
        assert_eq!(before, answer(&case), "{case}");
    }
}

#[test]
fn another_policy_never_permits_what_was_forbidden() {
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        let before = answer(&case);
        let more = generate::another_policy(&case, &mut Random::new(seed + 1_000_000));
        case["policies"].as_array_mut().unwrap().push(more);
        let after = answer(&case);
        if before["verdict"] == "Forbidden" {
            assert_eq!(after["verdict"], "Forbidden", "{case}");
        }
        assert!(before["runAllowed"] == true || after["runAllowed"] == false, "{case}");
    }
}

/// The version to which the agent moves: the newest eligible one, which may be older only if the active one is
/// forbidden (rule 2).
fn agent_moves_to(case: &Value, versions: &[&'static str]) -> Option<&'static str> {
    let active = d8_crds::values::version::Version::parse(case["active"].as_str()?).unwrap();
    let evaluate = |version: &str| {
        let mut case = case.clone();
        case["version"] = json!(version);
        case["intent"] = json!("A");
        answer(&case)
    };
    let leaves = evaluate(case["active"].as_str()?)["verdict"] == "Forbidden";
    let mut best: Option<(&'static str, d8_crds::values::version::Version)> = None;
    for text in versions {
        let version = d8_crds::values::version::Version::parse(text).unwrap();
        let up = version > active;
        if version != active
            && (up || leaves)
            && best.as_ref().is_none_or(|(_, best)| version > *best)
            && evaluate(text)["verdict"] == "Eligible"
        {
            best = Some((text, version));
        }
    }
    best.map(|(text, _)| text)
}

const VERSIONS: [&str; 6] = ["v1.2.0", "v1.3.2", "v1.3.3", "v1.4.0", "v2.0.0", "v1.4.0-rc.1"];

#[test]
fn a_hold_never_replaces_a_version() {
    for seed in 0..CASES {
        let mut case = generate::case(seed);
        if case["active"].is_null() {
            continue;
        }
        case["version"] = case["active"].clone();
        case["intent"] = json!("A");
        let of_active = answer(&case);
        // A held or unfit version runs, and is only replaced by a newer one.
        if of_active["verdict"] != "Forbidden" {
            assert_eq!(of_active["runAllowed"], true, "{case}");
            if let Some(to) = agent_moves_to(&case, &VERSIONS) {
                let to = d8_crds::values::version::Version::parse(to).unwrap();
                assert!(
                    to > d8_crds::values::version::Version::parse(case["active"].as_str().unwrap()).unwrap(),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn a_tighter_time_gate_never_moves_an_installed_version() {
    for seed in 0..CASES / 2 {
        let case = generate::case(seed);
        if case["active"].is_null() || case["policies"].as_array().unwrap().is_empty() {
            continue;
        }
        let mut tighter = case.clone();
        let spec = &mut tighter["policies"][0]["spec"];
        match seed % 3 {
            0 => spec["windows"] = json!([{"days": ["Wed"], "start": "04:00", "duration": "1m"}]),
            1 => spec["rollout"] = json!({"over": "720h"}),
            _ => {
                let age = json!("87600h");
                for rule in spec["rules"].as_array_mut().into_iter().flatten() {
                    if rule["access"] != "Deny" {
                        rule["minAge"] = age.clone();
                    }
                }
                for part in ["cli", "defaults"] {
                    if spec[part].is_object() {
                        spec[part]["minAge"] = age.clone();
                    }
                }
            }
        }
        let of_active = |case: &Value| {
            let mut case = case.clone();
            case["version"] = case["active"].clone();
            case["intent"] = json!("A");
            answer(&case)
        };
        // A policy that becomes valid adds gates that have nothing to do with time.
        let was_valid = |case: &Value| !has(&of_active(case), "InvalidPolicy");
        if !was_valid(&case) || !was_valid(&tighter) {
            continue;
        }
        // Other windows or another rollout may be less strict. Only a policy without them becomes stricter.
        let had = &case["policies"][0]["spec"];
        if (seed % 3 == 0 && !had["windows"].is_null()) || (seed % 3 == 1 && !had["rollout"].is_null()) {
            continue;
        }
        let (before, after) = (of_active(&case), of_active(&tighter));
        assert_eq!(before["verdict"] == "Forbidden", after["verdict"] == "Forbidden", "{tighter}");
        assert_eq!(before["runAllowed"], after["runAllowed"], "{tighter}");
        if agent_moves_to(&case, &VERSIONS).is_none() {
            assert_eq!(agent_moves_to(&tighter, &VERSIONS), None, "{tighter}");
        }
    }
}

/// Removes the emergencies of a case: their end brings back what they lift.
fn without_emergencies(mut case: Value) -> Value {
    if let Some(policies) = case["policies"].as_array_mut() {
        policies.retain(|policy| policy["spec"]["emergency"].is_null());
    }
    case
}

#[test]
fn a_wave_is_monotonic_in_time() {
    for seed in 0..CASES {
        let case = without_emergencies(generate::case(seed));
        let mut in_wave = !has(&answer(&case), "NotInWave");
        for hours in [1, 5, 30, 200, 900, 4000] {
            let now = !has(&answer(&later(&case, hours * 3600)), "NotInWave");
            assert!(now || !in_wave, "{case} after {hours} h");
            in_wave = now;
        }
        // In the end f >= 1, and every host may have the version.
        assert!(in_wave, "{case}");
    }
}

#[test]
fn permitted_at_f_stays_permitted_at_a_greater_f() {
    for seed in 0..CASES {
        let case = generate::case(seed);
        let mut faster = case.clone();
        let mut changed = false;
        for policy in faster["policies"].as_array_mut().unwrap() {
            if let Some(over) = policy.pointer_mut("/spec/rollout/over")
                && ["720h", "48h", "24h"].contains(&over.as_str().unwrap())
            {
                *over = json!("1h");
                changed = true;
            }
        }
        if changed && !has(&answer(&case), "NotInWave") {
            assert!(!has(&answer(&faster), "NotInWave"), "{case}");
        }
    }
}

#[test]
fn until_is_the_end_of_the_holds() {
    for seed in 0..CASES {
        let case = without_emergencies(generate::case(seed));
        let before = answer(&case);
        let Some(until) = before["until"].as_str() else { continue };
        let now: jiff::Timestamp = case["now"].as_str().unwrap().parse().unwrap();
        let until: jiff::Timestamp = until.parse().unwrap();
        let wait = until.as_second() - now.as_second();
        assert!(wait > 0, "{case}");
        // At that time the last of these holds has ended. Another one may have begun: the record became too old, or a
        // window closed before the other holds ended.
        let after = answer(&later(&case, wait));
        for reason in ["Soaking", "NotInWave"] {
            assert!(!has(&after, reason), "{reason} at {until} of {case}");
        }
        if !has(&before, "Soaking") && !has(&before, "NotInWave") {
            for reason in ["Blackout", "OutsideWindow"] {
                assert!(!has(&after, reason), "{reason} at {until} of {case}");
            }
        }
    }
}
