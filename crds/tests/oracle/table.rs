//! Tests of the oracle itself: cases with expected answers, named after the rules.

use serde_json::{Value, json};

use crate::evaluate::evaluate;

mod emergency;
mod people;
mod rows;
mod waves;
mod windows;

/// The agent updates stronghold from v1.3.2 to v1.3.3, and the only policy permits it.
pub(crate) fn base() -> Value {
    json!({
        "component": "stronghold", "version": "v1.3.3", "active": "v1.3.2", "intent": "A",
        "now": "2026-11-22T09:00:00Z", "confirmed": "2026-11-22T08:55:00Z",
        "host": {"id": "bastion-1", "labels": {"role": "bastion"}, "newRoot": false},
        "policies": [{
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p", "generation": 1},
            "spec": {"hostSelector": {}, "defaults": {"updates": "Auto"}, "rules": [{"plugins": ["stronghold"]}]},
            "status": {"observedGeneration": 1},
        }],
        "release": {
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": "stronghold"}, "spec": {},
            "status": {"lastSyncTime": "2026-11-22T08:50:00Z", "versions": [
                {"version": "v1.3.3", "digest": "sha256:a", "fit": "Fits", "firstSeen": "2026-11-21T09:00:00Z",
                 "artifacts": [{"platform": "linux-amd64", "manifest": "sha256:b", "layer": "sha256:c", "sizeBytes": 1}]},
                {"version": "v1.3.2", "digest": "sha256:d", "fit": "Fits", "firstSeen": "2026-10-01T09:00:00Z"},
                {"version": "v2.0.0", "digest": "sha256:e", "fit": "Fits", "firstSeen": "2026-10-01T09:00:00Z"},
                {"version": "v1.4.0-rc.1", "digest": "sha256:f", "fit": "Fits", "firstSeen": "2026-10-01T09:00:00Z"},
            ]},
        },
    })
}

/// Sets the value at a pointer. Creates missing objects; `+` adds an item to a list.
pub(crate) fn set(case: &mut Value, pointer: &str, value: Value) {
    let mut at = case;
    for part in pointer.split('/').skip(1) {
        at = match (part, part.parse::<usize>()) {
            ("+", _) => {
                let items = at.as_array_mut().expect("a list");
                items.push(Value::Null);
                items.last_mut().expect("the new item")
            }
            (_, Ok(number)) => &mut at[number],
            (_, Err(_)) => &mut at[part],
        };
    }
    *at = value;
}

struct Row(&'static str, &'static [(&'static str, &'static str)], &'static str);

const SPEC: &str = "/policies/0/spec";
const RULE: &str = "/policies/0/spec/rules/0";
const FULL: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Name, changes, and the expected answer: verdict, reasons, until, and `!run` if the active version may not run. In
/// changes, `S` is the spec of the first policy, `R` its first rule, and `#` a well-formed digest.
const ROWS: &[Row] = &[
    Row("no gate binds", &[], "Eligible"),
    Row("access: Deny", &[("S/defaults/access", "'Deny'")], "Forbidden Denied !run"),
    Row(
        "a rule's access replaces the default",
        &[("S/defaults/access", "'Deny'"), ("R/access", "'Allow'")],
        "Eligible",
    ),
    Row(
        "only the first matching rule applies",
        &[("S/rules", "[{'plugins':['str*']},{'plugins':['stronghold'],'access':'Deny'}]")],
        "Eligible",
    ),
    Row("block of the candidate binds R", &[("/intent", "'R'"), ("R/block", "['1.3.3']")], "Forbidden Blocked"),
    Row("block of the active one refuses its runs", &[("R/block", "['v1.3.2']")], "Eligible !run"),
    Row(
        "rule 6: block by layer",
        &[
            ("R/block", "['v1.3.2']"),
            ("/release/status/versions/1/artifacts", "[{'platform':'linux-amd64','layer':'sha256:c'}]"),
            ("/host/platform", "'linux-amd64'"),
        ],
        "Forbidden Blocked !run",
    ),
    Row(
        "rule 6: block by layer, on another platform",
        &[
            ("R/block", "['v2.0.0']"),
            ("/release/status/versions/2/artifacts", "[{'platform':'linux-amd64','layer':'sha256:c'}]"),
            ("/host/platform", "'linux-arm64'"),
        ],
        "Eligible",
    ),
    Row(
        "rule 6: a moved tag gives no block by layer",
        &[
            ("R/block", "['v2.0.0']"),
            ("/release/status/versions/2/artifacts", "[{'platform':'linux-amd64','layer':'sha256:c'}]"),
            ("/release/status/versions/2/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}"),
            ("/host/platform", "'linux-amd64'"),
        ],
        "Eligible",
    ),
    Row("versions do not bind R", &[("/intent", "'R'"), ("R/versions", "'<1'")], "Eligible"),
    Row("versions", &[("R/versions", "'<1.3.3'")], "Forbidden VersionNotPermitted"),
    Row(
        "pins: nothing about other versions",
        &[("R/pins", "[{'version':'v1.3.2','digest':'#'}]"), ("/active", "null")],
        "Eligible",
    ),
    Row("pins: another digest", &[("R/pins", "[{'version':'v1.3.3','digest':'#'}]")], "Forbidden NotPinned"),
    Row(
        "pins: the layer's digest",
        &[("R/pins", "[{'version':'v1.3.3','digest':'#'}]"), ("/release/status/versions/0/artifacts/0/layer", "'#'")],
        "Eligible",
    ),
    Row(
        "a set channel",
        &[("/version", "'v1.4.0-rc.1'"), ("R/channel", "'Stable'"), ("/intent", "'X'")],
        "Forbidden ChannelNotPermitted",
    ),
    Row("no channel: A", &[("/version", "'v1.4.0-rc.1'")], "Held PreRelease"),
    Row("no channel: X", &[("/version", "'v1.4.0-rc.1'"), ("/intent", "'X'")], "Eligible"),
    Row(
        "channel Prerelease",
        &[("/version", "'v1.4.0-rc.1'"), ("R/channel", "'Prerelease'"), ("R/versions", "'>=1.2 <2'")],
        "Eligible",
    ),
    Row(
        "rule 11: an exact comparator",
        &[("/version", "'v1.4.0-rc.1'"), ("R/channel", "'Prerelease'"), ("R/versions", "'=1.4.0'")],
        "Forbidden VersionNotPermitted",
    ),
    Row(
        "rule 11: an ordering",
        &[
            ("/version", "'v2.0.0-rc.1'"),
            ("R/channel", "'Prerelease'"),
            ("R/majorUpdates", "'Cross'"),
            ("R/versions", "'<2'"),
        ],
        "Forbidden VersionNotPermitted",
    ),
    Row(
        "movedTags: Refuse is the default",
        &[("/release/status/versions/0/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}")],
        "Held TagMoved",
    ),
    Row(
        "movedTags: Soak",
        &[
            ("S/integrity/movedTags", "'Soak'"),
            ("/release/status/versions/0/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}"),
        ],
        "Eligible",
    ),
    Row("rule 3: paused", &[("S/paused", "true"), ("/intent", "'X'")], "Held Paused"),
    Row("rule 3: not for R", &[("S/paused", "true"), ("/intent", "'R'")], "Eligible"),
    Row("rule 4: Frozen", &[("R/updates", "'Frozen'"), ("/intent", "'X'")], "Held Frozen"),
    Row("rule 4: a first install", &[("R/updates", "'Frozen'"), ("/active", "null")], "Eligible"),
    Row("Manual", &[("S/defaults/updates", "'Manual'")], "Held Manual"),
    Row("Manual: a person", &[("S/defaults/updates", "'Manual'"), ("/intent", "'U'")], "Eligible"),
    Row(
        "rule 1: the first install of what is required",
        &[("R/updates", "'Manual'"), ("R/access", "'Require'"), ("/active", "null")],
        "Eligible",
    ),
    Row("minAge", &[("R/minAge", "'72h'"), ("/intent", "'X'")], "Held Soaking 2026-11-24T09:00:00Z"),
    Row("minAge: reached exactly", &[("R/minAge", "'24h'")], "Eligible"),
    Row("rule 6: expedite", &[("R/minAge", "'72h'"), ("R/expedite", "['1.3.3']")], "Eligible"),
    Row("rule 15: no record", &[("R/minAge", "'1h'"), ("/release", "null")], "Held NoRecord"),
    Row("rule 15: no gate needs one", &[("/release", "null")], "Eligible"),
    Row(
        "a stale record",
        &[("R/minAge", "'1h'"), ("/release/status/lastSyncTime", "'2026-11-21T08:59:59Z'")],
        "Held RecordStale",
    ),
    Row(
        "rule 19: once active here",
        &[("R/minAge", "'1h'"), ("/release", "null"), ("/active", "'v1.3.3'"), ("/intent", "'X'")],
        "Eligible",
    ),
    Row(
        "rule 7: a new root comes last",
        &[("S/rollout/over", "'48h'"), ("/host/newRoot", "true")],
        "Held NotInWave 2026-11-23T09:00:00Z",
    ),
    Row(
        "rule 7: the wave starts after minAge",
        &[("S/rollout/over", "'48h'"), ("/host/newRoot", "true"), ("R/minAge", "'24h'")],
        "Held NotInWave 2026-11-24T09:00:00Z",
    ),
    Row(
        "rule 7: since",
        &[
            ("S/rollout/over", "'48h'"),
            ("/host/newRoot", "true"),
            (
                "/policies/0/status/components",
                "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-22T09:00:00Z','state':'Running'}]}]",
            ),
        ],
        "Held NotInWave 2026-11-24T09:00:00Z",
    ),
    Row("rule 7: not for X", &[("S/rollout/over", "'48h'"), ("/host/newRoot", "true"), ("/intent", "'X'")], "Eligible"),
    Row(
        "rule 7: canary",
        &[("S/rollout", "{'over':'720h','canarySelector':{'matchLabels':{'role':'bastion'}}}"), ("R/minAge", "'999h'")],
        "Eligible",
    ),
    Row(
        "rule 7: a halt binds canaries",
        &[
            ("S/rollout", "{'over':'1m','canarySelector':{'matchLabels':{'role':'bastion'}}}"),
            (
                "/policies/0/status/components",
                "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-22T09:00:00Z','state':'Halted'}]}]",
            ),
        ],
        "Held WaveHalted",
    ),
    Row(
        "rule 7: a change to an older version",
        &[("S/rollout/over", "'48h'"), ("/host/newRoot", "true"), ("/active", "'v1.4.0'")],
        "Eligible",
    ),
    Row("rule 8", &[("S/rollout/over", "'1m'"), ("/policies/0/metadata/generation", "2")], "Held PolicyNotObserved"),
    Row("rule 8: only with a rollout", &[("/policies/0/metadata/generation", "2")], "Eligible"),
    Row(
        "rule 9: a resumed halt",
        &[
            ("S/rollout/over", "'1m'"),
            (
                "/policies/0/metadata/annotations",
                "{'cli.deckhouse.io/resume':'stronghold/v1.3.3@2026-11-21T09:00:00Z'}",
            ),
            (
                "/policies/0/status/components",
                "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-20T09:00:00Z','state':'Halted','haltedAt':'2026-11-21T09:00:00Z'}]}]",
            ),
        ],
        "Eligible",
    ),
    Row(
        "rule 10",
        &[("S/windows", "[{'days':['Sat','Sun'],'start':'02:00','duration':'3h','timeZone':'Europe/Berlin'}]")],
        "Held OutsideWindow 2026-11-28T01:00:00Z",
    ),
    Row(
        "rule 10: a person",
        &[("S/windows", "[{'days':['Sat'],'start':'02:00','duration':'3h'}]"), ("/intent", "'U'")],
        "Eligible",
    ),
    Row("rule 10: an empty list", &[("S/windows", "[]")], "Held InvalidPolicy Manual"),
    Row("policies that were confirmed too long ago", &[("/confirmed", "'2026-11-22T08:49:59Z'")], "Held PolicyStale"),
    Row("majorUpdates: Stay", &[("/version", "'v2.0.0'"), ("/intent", "'U'")], "Held MajorStays"),
    Row("majorUpdates: X", &[("/version", "'v2.0.0'"), ("/intent", "'X'")], "Eligible"),
    Row(
        "rule 2: away from a forbidden version, to another major",
        &[("/version", "'v2.0.0'"), ("R/versions", "'>=2'")],
        "Eligible",
    ),
    Row(
        "rule 2: away from a blocked version",
        &[
            ("R/block", "['v1.3.2']"),
            ("R/updates", "'Frozen'"),
            ("S/windows", "[{'days':['Sat'],'start':'02:00','duration':'3h'}]"),
        ],
        "Eligible !run",
    ),
    Row("rule 2: the agent waits under paused", &[("R/block", "['v1.3.2']"), ("S/paused", "true")], "Held Paused !run"),
    Row("requirements", &[("/release/status/versions/0/fit", "'Unfit'"), ("/intent", "'X'")], "Unfit Unfit"),
    Row(
        "requirements that are unknown",
        &[("/release/status/versions/0/fit", "'Unknown'"), ("/intent", "'X'")],
        "Held RequirementsUnknown",
    ),
    Row("requirements: R", &[("/release/status/versions/0/fit", "'Unfit'"), ("/intent", "'R'")], "Eligible"),
    Row("rule 13: no policy", &[("/policies", "[]")], "Held NotGoverned"),
    Row(
        "rule 13: no policy, a person",
        &[("/policies", "[]"), ("/intent", "'U'"), ("/version", "'v2.0.0'")],
        "Eligible",
    ),
    Row(
        "rule 14: an invalid selector selects every host",
        &[("S/hostSelector", "{'matchExpressions':[{'key':'a','operator':'In'}]}"), ("/intent", "'U'")],
        "Held InvalidPolicy",
    ),
    Row("rule 14: invalid, not for R", &[("S/rules/0/versions", "'>>'"), ("/intent", "'R'")], "Eligible"),
    Row("rule 14: undecodable", &[("R/access", "'Perhaps'"), ("/intent", "'R'")], "Held InvalidPolicy"),
    Row(
        "rule 14: undecodable, d8 itself",
        &[("R/access", "'Perhaps'"), ("/intent", "'U'"), ("/component", "'d8'")],
        "Eligible",
    ),
    Row(
        "rule 16: no access gate",
        &[("S/defaults", "{'access':'Deny','updates':'Auto'}"), ("/component", "'d8'")],
        "Eligible",
    ),
    Row("rule 16: no refused runs", &[("S/cli/block", "['v1.3.2']"), ("/component", "'d8'")], "Eligible"),
    Row(
        "the strongest verdict, all reasons",
        &[("R/versions", "'<1'"), ("R/minAge", "'72h'"), ("S/paused", "true")],
        "Forbidden Paused Soaking VersionNotPermitted",
    ),
    Row("no until if one hold has no end", &[("R/minAge", "'72h'"), ("S/paused", "true")], "Held Paused Soaking"),
];

const ALL_ROWS: [&[Row]; 6] = [ROWS, rows::MORE_ROWS, windows::ROWS, emergency::ROWS, waves::ROWS, people::ROWS];

#[test]
fn every_row_is_evaluated_as_expected() {
    let mut wrong = Vec::new();
    for Row(name, changes, expected) in ALL_ROWS.into_iter().flatten() {
        let mut case = base();
        for (pointer, value) in *changes {
            let pointer = pointer.strip_prefix('S').map_or_else(
                || pointer.strip_prefix('R').map_or_else(|| (*pointer).to_owned(), |rest| format!("{RULE}{rest}")),
                |rest| format!("{SPEC}{rest}"),
            );
            let value = value.replace('\'', "\"").replace('#', FULL);
            set(&mut case, &pointer, serde_json::from_str(&value).unwrap());
        }
        let answer = evaluate(&case).unwrap();
        let mut parts = vec![answer["verdict"].as_str().unwrap().to_owned()];
        parts.extend(answer["reasons"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().to_owned()));
        parts.extend(answer["until"].as_str().map(str::to_owned));
        if answer["runAllowed"] == false {
            parts.push("!run".to_owned());
        }
        if parts.join(" ") != *expected {
            wrong.push(format!("{name}: {}, not {expected}", parts.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_entry_of_a_block_covers_its_versions() {
    let mut wrong = Vec::new();
    for (entry, covered, others) in rows::ENTRIES {
        for (versions, expected) in [(covered, "Forbidden"), (others, "Eligible")] {
            for version in versions.split(' ').filter(|version| !version.is_empty()) {
                let mut case = base();
                set(&mut case, "/intent", json!("R"));
                set(&mut case, "/version", json!(version));
                set(&mut case, &format!("{RULE}/block"), json!([entry]));
                let answer = evaluate(&case).unwrap();
                if answer["verdict"] != expected {
                    wrong.push(format!("{entry}, {version}: {answer}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The bucket of rule 7, computed with `printf 'bastion-1\0stronghold\0v1.3.3' | sha256sum`.
#[test]
fn bucket_of_one_host() {
    let mut case = base();
    set(&mut case, "/policies/0/spec/rollout", json!({"over": "720h"}));
    let until = |case: &Value| evaluate(case).unwrap()["until"].clone();
    assert_eq!(until(&case), json!(BUCKET_UNTIL));
    // Every version has its own clock and its own bucket.
    set(&mut case, "/host/id", json!("bastion-2"));
    assert_ne!(until(&case), json!(BUCKET_UNTIL));
}

const BUCKET_UNTIL: &str = "2026-11-29T19:07:40Z";
