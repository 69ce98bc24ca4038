//! Cases and properties of rule 23.

use super::*;
use crate::{
    generate::{self, Random},
    table::{base, set},
};

const SATURDAY: &str = r#"[{"days":["Sat"],"start":"02:00","duration":"3h"}]"#;
const SPEC: &str = "/policies/0/spec";

/// The case of the table, with four candidates. v1.3.3 was first seen on 2026-11-21, all others in October.
fn case(changes: &[(&str, &str)]) -> Value {
    let mut case = base();
    case["candidates"] = json!(["v1.3.3", "v1.3.2", "v2.0.0", "v1.4.0-rc.1"]);
    if let Some(fields) = case.as_object_mut() {
        fields.remove("version");
        fields.remove("intent");
    }
    for (pointer, value) in changes {
        set(&mut case, &pointer.replace('S', SPEC), serde_json::from_str(value).unwrap());
    }
    case
}

/// Name, changes, and the expected version with its time.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Option<(&'a str, &'a str)>);

#[test]
fn rule_23_in_examples() {
    let age = r#"{"updates":"Auto","minAge":"72h"}"#;
    let cross = r#"{"updates":"Auto","minAge":"72h","majorUpdates":"Cross"}"#;
    let slow = r#"{"over":"720h"}"#;
    let long = r#"[{"from":"2026-11-01T00:00","to":"2028-01-01T00:00","reason":"a"}]"#;
    let emergency = r#"{"spec":{"hostSelector":{},"emergency":{"until":"2026-11-22T12:00:00Z"},"rules":[{"plugins":["*"],"expedite":["1.3.3"]}]}}"#;
    let cases: &[Case<'_>] = &[
        ("now", &[], Some(("v1.3.3", "2026-11-22T09:00:00Z"))),
        ("not to another major, not to a pre-release", &[("/active", r#""v1.3.3""#)], None),
        ("the end of a hold", &[("S/defaults", age)], Some(("v1.3.3", "2026-11-24T09:00:00Z"))),
        ("the first, although a newer one is held", &[("S/defaults", cross)], Some(("v2.0.0", "2026-11-22T09:00:00Z"))),
        (
            "the opening after the end of a hold",
            &[("S/defaults", age), ("S/windows", SATURDAY)],
            Some(("v1.3.3", "2026-11-28T02:00:00Z")),
        ),
        (
            "the second opening",
            &[("S/defaults", r#"{"updates":"Auto","minAge":"170h"}"#), ("S/windows", SATURDAY)],
            Some(("v1.3.3", "2026-12-05T02:00:00Z")),
        ),
        (
            "the newest at that instant",
            &[("S/defaults", cross), ("S/windows", SATURDAY)],
            Some(("v2.0.0", "2026-11-28T02:00:00Z")),
        ),
        ("the wave", &[("S/rollout", slow)], Some(("v1.3.3", "2026-11-29T19:07:40Z"))),
        ("never in a window", &[("S/blackouts", long)], None),
        ("a hold without an end", &[("S/paused", "true"), ("S/windows", SATURDAY)], None),
        ("Manual", &[("S/defaults", "{}")], None),
        ("an emergency", &[("S/defaults", "{}"), ("/policies/+", emergency)], Some(("v1.3.3", "2026-11-22T09:00:00Z"))),
        (
            "after the emergency",
            &[
                ("S/defaults", "{}"),
                ("S/blackouts", r#"[{"from":"2026-11-22T00:00","to":"2026-11-22T12:00","reason":"a"}]"#),
                ("/policies/+", emergency),
            ],
            None,
        ),
        (
            "a record that is too old then",
            &[("S/defaults", r#"{"updates":"Auto","minAge":"500h"}"#)],
            Some(("v1.3.3", "2026-12-12T05:00:00Z")),
        ),
        ("a view that is too old now", &[("/confirmed", r#""2026-11-22T08:00:00Z""#)], None),
        ("nothing newer", &[("/active", r#""v3.0.0""#)], None),
        ("nothing is active", &[("/active", "null")], Some(("v2.0.0", "2026-11-22T09:00:00Z"))),
        ("no policy", &[("/policies", "[]")], None),
    ];
    for (name, changes, expected) in cases {
        let expected = expected.map_or(Value::Null, |(version, at)| json!({"version": version, "at": at}));
        assert_eq!(next(&case(changes)).unwrap(), expected, "{name}");
    }
}

/// `at` is the first instant of all that a search finds, and `version` the newest then.
#[test]
fn nothing_is_eligible_before() {
    const VERSIONS: [&str; 6] = ["v1.2.0", "v1.3.2", "v1.3.3", "v1.4.0", "v2.0.0", "v1.4.0-rc.1"];
    let mut later = 0;
    for seed in 0..600 {
        let mut case = generate::case(seed);
        case["candidates"] = json!(VERSIONS);
        let found = next(&case).unwrap();
        let now = clock::instant(case["now"].as_str().unwrap()).unwrap();
        let at = found["at"].as_str().and_then(clock::instant);
        let active = case["active"].as_str().map(|text| Version::parse(text).unwrap());
        let takes = |at: i128| -> Option<&str> {
            let newer = |text: &&&str| active.as_ref().is_none_or(|active| Version::parse(text).unwrap() > *active);
            let eligible =
                |text: &&&str| at_instant(&case, text, at).unwrap().ends().is_some_and(|ends| ends.is_empty());
            let candidates = VERSIONS.iter().filter(newer).filter(eligible);
            candidates.max_by_key(|text| Version::parse(text).unwrap()).copied()
        };
        if let Some(at) = at {
            assert_eq!(takes(at), found["version"].as_str(), "{case}");
            later += u32::from(at > now);
        }
        // Windows and blackouts are searched for 400 days.
        let end = at.unwrap_or(now + 400 * 24 * clock::HOUR);
        let mut d = Random::new(seed + 7_000_000);
        for _ in 0..8 {
            let share = i128::try_from(d.below(1000)).unwrap();
            let before = now + (end - now) * share / 1000;
            assert!(before >= end || takes(before).is_none(), "{before}, {found}: {case}");
        }
    }
    assert!(later > 10, "{later} cases have a later instant");
}
