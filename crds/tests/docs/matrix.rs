//! The table "What binds whom": every row is evaluated for every intent.
//!
//! [`situation`] has a candidate for each reason. Only the gate of that reason stands in its way, so the
//! verdict shows whom the gate binds. A reason has a second row if its policy can have `windowsFor: Everyone`.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        intent::Intent,
        requirements::{Findings, Unchecked, Unmet},
        verdict::{Candidate, Host, LocalRules, PolicySet, Reason, ReasonCode},
    },
    records::release::CliRelease,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::PAGE;

const INTENTS: [Intent; 4] = [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair];
const NOW: &str = "2026-11-22T12:00:00Z";

/// Reasons that do not come from a gate: one refuses a removal, the other belongs to the planner.
const NOT_GATES: [ReasonCode; 2] = [ReasonCode::Required, ReasonCode::DependencyDenied];

/// One row of the page.
#[derive(Debug)]
struct Row {
    reason: &'static str,
    /// The row is about policies with `windowsFor: Everyone`.
    for_everyone: bool,
    /// One cell for each of [`INTENTS`].
    cells: Vec<&'static str>,
}

/// The rows below the heading.
fn rows() -> Vec<Row> {
    let section = PAGE.split("## What binds whom").nth(1).expect("the section");
    let table = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let read = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [gate, reason, cells @ ..] = cells.as_slice() else { panic!("{line}") };
        Row { reason, for_everyone: gate.contains("windowsFor: Everyone"), cells: cells.to_vec() }
    };
    let mut rows = table.map(read);
    let head = rows.next().expect("a head");
    assert_eq!((head.reason, head.cells), ("reason", vec!["A", "U", "X", "R"]));
    rows.skip(1).collect()
}

/// What a verdict is made from. The default is eligible for every intent.
struct Situation {
    component: &'static str,
    version: &'static str,
    policies: Vec<Value>,
    /// The version's entry in the record.
    entry: Option<Value>,
    last_sync: &'static str,
    confirmed: &'static str,
    server_time: &'static str,
    findings: Findings,
    policy_unaware: bool,
    local_rules: Option<LocalRules>,
}

impl Default for Situation {
    fn default() -> Self {
        Self {
            component: "stronghold",
            version: "v1.4.0",
            policies: vec![policy(&json!({}))],
            entry: Some(entry(&json!({}))),
            last_sync: NOW,
            confirmed: NOW,
            server_time: NOW,
            findings: Findings::default(),
            policy_unaware: false,
            local_rules: None,
        }
    }
}

/// `base` with the fields of `more`.
fn with(mut base: Value, more: &Value) -> Value {
    for (field, value) in more.as_object().into_iter().flatten() {
        base[field] = value.clone();
    }
    base
}

/// A policy for every host that lets the agent update, with these fields in its spec.
fn policy(spec: &Value) -> Value {
    let base = json!({"hostSelector": {}, "defaults": {"updates": "Auto"}});
    json!({"metadata": {"name": "policy", "generation": 2}, "spec": with(base, spec), "status": {"observedGeneration": 2}})
}

/// A policy with these fields in its rule for the plugin.
fn rule(fields: &Value) -> Vec<Value> {
    vec![policy(&json!({"rules": [with(json!({"plugins": ["stronghold"]}), fields)]}))]
}

/// The record's entry of v1.4.0, three weeks old, with these fields.
fn entry(fields: &Value) -> Value {
    let digest = format!("sha256:{}", "1".repeat(64));
    let base = json!({"version": "v1.4.0", "digest": digest, "firstSeen": "2026-11-01T12:00:00Z", "fit": "Fits"});
    with(base, fields)
}

/// A policy whose rollout has this wave of v1.4.0.
fn wave(rollout: &Value, wave: &Value) -> Vec<Value> {
    let mut policy = policy(&json!({"rollout": rollout}));
    let wave = with(json!({"version": "v1.4.0", "since": "2026-11-02T12:00:00Z", "state": "Running"}), wave);
    policy["status"]["components"] = json!([{"name": "stronghold", "waves": [wave]}]);
    vec![policy]
}

/// A candidate to which only the gate of this reason applies.
#[allow(clippy::too_many_lines, reason = "one arm for each row of the page")]
fn situation(reason: &str) -> Situation {
    let other_digest = format!("sha256:{}", "2".repeat(64));
    let under = |policies| Situation { policies, ..Situation::default() };
    match reason {
        "Denied" => under(rule(&json!({"access": "Deny"}))),
        "Blocked" => under(rule(&json!({"block": ["v1.4.0"]}))),
        "VersionNotPermitted" => under(rule(&json!({"versions": "<1.4"}))),
        "NotPinned" => under(rule(&json!({"pins": [{"version": "v1.4.0", "digest": other_digest}]}))),
        "ChannelNotPermitted" => {
            Situation { version: "v1.4.0-rc.1", policies: rule(&json!({"channel": "Stable"})), ..Situation::default() }
        }
        "TagMoved" => {
            let moved = json!({"moved": {"from": other_digest, "at": "2026-11-01T12:00:00Z"}});
            Situation { entry: Some(entry(&moved)), ..Situation::default() }
        }
        "Paused" => under(vec![policy(&json!({"paused": true}))]),
        "InvalidPolicy" => under([rule(&json!({"versions": "newest"})), vec![policy(&json!({}))]].concat()),
        "Frozen" => under(rule(&json!({"updates": "Frozen"}))),
        "Manual" => under(rule(&json!({"updates": "Manual"}))),
        "Soaking" => under(rule(&json!({"minAge": "720h"}))),
        "NoRecord" => Situation { entry: None, ..under(rule(&json!({"minAge": "1h"}))) },
        "RecordStale" => Situation { last_sync: "2026-11-21T11:59:59Z", ..under(rule(&json!({"minAge": "1h"}))) },
        "NotInWave" => under(wave(&json!({"over": "720h"}), &json!({"since": NOW}))),
        "AwaitingEvidence" => {
            let required = json!({"hosts": 1, "for": "1h"});
            under(wave(
                &json!({"over": "1m", "canaryPercent": 1, "requireSucceeded": required}),
                &json!({"state": "AwaitingEvidence", "since": null, "succeeded": 0}),
            ))
        }
        "WaveHalted" => under(wave(
            &json!({"over": "1m", "maxFailed": 1}),
            &json!({"state": "Halted", "haltedAt": "2026-11-03T12:00:00Z", "failed": 1}),
        )),
        "PolicyNotObserved" => {
            let mut policies = wave(&json!({"over": "1m"}), &json!({}));
            policies[0]["status"]["observedGeneration"] = json!(1);
            under(policies)
        }
        "OutsideWindow" => under(vec![policy(&json!({"windows": [{"start": "02:00", "duration": "1h"}]}))]),
        "Blackout" => {
            let span = json!({"from": "2026-11-22T00:00", "to": "2026-11-23T00:00", "reason": "freeze"});
            under(vec![policy(&json!({"blackouts": [span]}))])
        }
        "WindowsNeverMeet" => {
            let windows = |start: &str| policy(&json!({"windows": [{"start": start, "duration": "1h"}]}));
            under(vec![windows("02:00"), windows("20:00")])
        }
        "BelowMinimum" => {
            let local_rules = LocalRules::read([("stronghold", "v1.5.0")], []).expect("local rules");
            Situation { local_rules: Some(local_rules), ..Situation::default() }
        }
        "PolicyStale" => Situation { confirmed: "2026-11-22T11:49:59Z", ..Situation::default() },
        "ClockSkew" => Situation { server_time: "2026-11-22T12:06:00Z", ..Situation::default() },
        "NotGoverned" => under(Vec::new()),
        "MajorStays" => Situation { version: "v2.0.0", ..Situation::default() },
        "PreRelease" => Situation { version: "v1.4.0-rc.1", ..Situation::default() },
        "Unfit" => {
            let findings = Findings { unmet: Unmet::recorded(&[]), ..Findings::default() };
            Situation { findings, ..Situation::default() }
        }
        "RequirementsUnknown" => {
            let findings = Findings { unchecked: Unchecked::recorded(&[]), ..Findings::default() };
            Situation { findings, ..Situation::default() }
        }
        "PolicyUnaware" => Situation { component: "d8", policy_unaware: true, ..Situation::default() },
        other => panic!("add a situation to which only the gate of {other} applies"),
    }
}

/// The cell of the table that the code gives, and every reason that is not the row's.
fn evaluated(row: &Row, intent: Intent) -> (&'static str, Vec<&'static str>) {
    let reason = row.reason;
    let mut situation = situation(reason);
    for policy in situation.policies.iter_mut().filter(|_| row.for_everyone) {
        policy["spec"]["windowsFor"] = json!("Everyone");
    }
    let local_rules = situation.local_rules.take();
    let Situation { component, version, policies, entry, last_sync, confirmed, server_time, findings, .. } = situation;
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let component: Component = component.parse().expect("a component");
    let (version, active) = (Version::parse(version).expect("a version"), Version::parse("v1.3.0").expect("a version"));
    let release = entry.map(|mut entry| {
        entry["version"] = json!(version.to_string());
        let status = json!({"lastSyncTime": last_sync, "versions": [entry]});
        let record = json!({"metadata": {"name": component.name()}, "spec": {}, "status": status});
        serde_json::from_value::<CliRelease>(with(
            json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease"}),
            &record,
        ))
        .expect("a record")
    });
    let labels = BTreeMap::new();
    let host = Host { local_rules: local_rules.as_ref(), ..Host::unattended("bastion-1", &labels, None) };
    let candidate = Candidate::new(host, &component, &version, intent, time(NOW))
        .server_time(Some(time(server_time)))
        .confirmed(Some(time(confirmed)))
        .active(Some(&active))
        .release(release.as_ref())
        .unmet(&findings.unmet)
        .unchecked(&findings.unchecked)
        .unaware(situation.policy_unaware, false);
    let verdict = PolicySet::from_json(&policies).for_host(host).evaluate(&candidate);
    let is_row = |found: &&Reason| found.code().as_str() == reason;
    let cell = match (verdict.reasons().iter().any(|r| is_row(&r)), verdict.notes().iter().any(|r| is_row(&r))) {
        (true, _) => "x",
        (false, true) => "note",
        (false, false) => "-",
    };
    let others = verdict.reasons().iter().filter(|r| !is_row(r)).map(|r| r.code().as_str()).collect();
    (cell, others)
}

#[test]
fn every_cell_is_what_the_gates_do() {
    let mut wrong = Vec::new();
    for row in rows() {
        let Row { reason, cells, .. } = &row;
        for (intent, cell) in INTENTS.into_iter().zip(cells) {
            let (found, others) = evaluated(&row, intent);
            if found != *cell || !others.is_empty() {
                wrong.push(format!(
                    "{reason} for {intent:?}: the page has {cell}, the code {found}, besides {others:?}"
                ));
            }
        }
        assert_eq!(cells.len(), INTENTS.len(), "{reason}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_gate_has_its_rows() {
    let rows = rows();
    for code in ReasonCode::ALL {
        let found: Vec<_> = rows.iter().filter(|row| row.reason == code.as_str()).map(|row| row.for_everyone).collect();
        let expected: &[bool] = match code {
            _ if NOT_GATES.contains(code) => &[],
            ReasonCode::OutsideWindow | ReasonCode::Blackout | ReasonCode::WindowsNeverMeet => &[false, true],
            _ => &[false],
        };
        assert_eq!(found, expected, "{code}");
    }
    assert!(rows.iter().all(|row| ReasonCode::ALL.iter().any(|code| row.reason == code.as_str())));
}
