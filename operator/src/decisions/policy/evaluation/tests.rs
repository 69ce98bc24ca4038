//! One policy with a few records and hosts over time.

use d8_crds::records::{
    policy::{HostCounts, PluginPolicy, WaveState},
    release::CliRelease,
};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use super::{super::waves::WaveEventKind, *};
use crate::decisions::{
    hosts::{HostFailure, HostIndex, VersionSpan},
    ledger::Ledger as _,
};

const DAY: i64 = 24 * 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn digest(text: &str) -> String {
    format!("sha256:{}", text.repeat(64))
}

/// Returns a recorded version. `more` replaces fields.
fn version(name: &str, first_seen: i64, more: &Value) -> Value {
    let mut version =
        json!({"version": name, "digest": digest("0"), "firstSeen": at(first_seen).to_string(), "fit": "Fits"});
    for (key, value) in more.as_object().into_iter().flatten() {
        version[key] = value.clone();
    }
    version
}

/// A policy, its surroundings, and what the operator keeps of it.
struct PolicyFixture {
    spec: Value,
    generation: i64,
    uid: &'static str,
    annotation: Option<String>,
    /// The recorded versions of `p`.
    versions: Vec<Value>,
    matched: MatchedHosts,
    shown: PluginPolicyStatus,
    ledger: WaveLedger,
    events: Vec<WaveEventKind>,
}

impl PolicyFixture {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            generation: 1,
            uid: "first",
            annotation: None,
            versions: vec![version("v1.3.0", 0, &json!({}))],
            matched: MatchedHosts {
                counts: HostCounts { matched: 5, ..HostCounts::default() },
                ..MatchedHosts::default()
            },
            shown: PluginPolicyStatus::default(),
            ledger: WaveLedger::default(),
            events: vec![],
        }
    }

    fn rolling() -> Self {
        let defaults = json!({"updates": "Auto", "access": "Deny"});
        let rules = json!([{"plugins": ["p"], "access": "Allow"}]);
        Self::new(
            json!({"hostSelector": {}, "defaults": defaults, "rules": rules, "rollout": {"over": "24h", "maxFailed": 2}}),
        )
    }

    /// Evaluates the policy and writes ledger and status, as the reconciler does.
    fn evaluate(&mut self, second: i64) -> PolicyEvaluation {
        let policy = json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "slowly", "generation": self.generation, "uid": self.uid,
                "annotations": self.annotation.as_ref().map(|text| json!({"cli.deckhouse.io/resume": text}))},
            "spec": self.spec, "status": self.shown,
        });
        let policy: PluginPolicy = serde_json::from_value(policy).unwrap();
        let release = |name: &str, versions: &[Value]| {
            let status = json!({"versions": versions, "lastSyncTime": at(second).to_string()});
            let record = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease",
                "metadata": {"name": name}, "spec": {}, "status": status});
            Arc::new(serde_json::from_value::<CliRelease>(record).unwrap())
        };
        let releases = [release("p", &self.versions), release("denied", &[version("v9.0.0", 0, &json!({}))])];
        let checked = CheckedPolicy::new(&policy);
        let previous = self.shown.clone();
        let inputs = PolicyInputs::new(&policy, &checked, &releases, &self.matched, &previous, Some("uid"), at(second));
        let update = inputs.update_waves(&self.ledger);
        self.ledger.apply(update.changes);
        let evaluation = inputs.evaluate(&self.ledger, update.trimmed);
        self.events = update.events.into_iter().map(|event| event.kind).collect();
        // What is written must read back.
        self.ledger = WaveLedger::from_data(&self.ledger.to_data()).unwrap();
        self.shown = serde_json::from_value(serde_json::to_value(&evaluation.status).unwrap()).unwrap();
        evaluation
    }

    fn p(&self) -> &ComponentProgress {
        let found: Vec<_> = self.shown.components.iter().filter(|component| component.name == "p").collect();
        assert_eq!(found.len(), 1, "{:?}", self.shown.components);
        found[0]
    }

    /// `v1.3.0 Running since 5, failed 0` for each wave.
    fn waves(&self) -> Vec<String> {
        let line = |wave: &d8_crds::records::policy::WaveStatus| {
            let since = wave.since.as_ref().map_or(-1, |time| time.0.as_second());
            format!("{} {:?} since {since}, failed {}", wave.version, wave.state.unwrap(), wave.failed)
        };
        self.p().waves.iter().map(line).collect()
    }

    /// Target, hold and end of the hold.
    fn target(&self) -> (Option<&str>, Option<&str>, Option<i64>) {
        let p = self.p();
        (p.target.as_deref(), p.hold.as_deref(), p.until.as_ref().map(|time| time.0.as_second()))
    }

    fn ready(&self) -> String {
        let ready = self.shown.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        format!("{}/{}", ready.status, ready.reason)
    }

    fn fail(&mut self, version: &str, hosts: usize) {
        let failure = HostFailure { component: "p".into(), version: version.into(), switching_since: None };
        self.matched.failures = vec![failure; hosts];
    }
}

#[test]
fn a_wave_from_its_beginning_to_its_end() {
    let mut fixture = PolicyFixture::rolling();
    let evaluation = fixture.evaluate(100);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 100, failed 0"]);
    assert_eq!(fixture.target(), (Some("v1.3.0"), Some("NotInWave"), Some(100 + DAY)));
    assert_eq!(fixture.ready(), "True/RollingOut");
    assert_eq!(evaluation.next, Some(at(100 + DAY)));
    assert_eq!(fixture.shown.components.len(), 1, "a denied component is not listed");

    fixture.evaluate(100 + DAY);
    assert_eq!(fixture.waves(), ["v1.3.0 Complete since 100, failed 0"]);
    assert_eq!((fixture.target(), fixture.ready().as_str()), ((Some("v1.3.0"), None, None), "True/Enforced"));

    // A newer version. The complete wave of the older one is not shown any more.
    fixture.versions.insert(0, version("v1.4.0", 2 * DAY, &json!({})));
    fixture.evaluate(2 * DAY + 5);
    assert_eq!(fixture.waves(), [format!("v1.4.0 Running since {}, failed 0", 2 * DAY + 5)]);
}

#[test]
fn clients_read_the_waves_that_were_written() {
    let mut fixture = PolicyFixture::rolling();
    fixture.versions.insert(0, version("v1.4.0", 0, &json!({})));
    fixture.evaluate(100);
    fixture.fail("v1.4.0", 2);
    fixture.evaluate(200);
    let policy = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": "slowly", "generation": 1}, "spec": fixture.spec, "status": fixture.shown});
    let checked = CheckedPolicy::new(&serde_json::from_value(policy).unwrap()).unwrap();
    assert_eq!(checked.generation_lag, None);
    let waves = &checked.waves["p"];
    let read: Vec<_> =
        waves.iter().map(|w| (w.version.to_string(), w.since, w.halted, w.halted_at, w.failed)).collect();
    assert_eq!(
        read,
        [
            ("v1.4.0".to_owned(), Some(at(100)), true, Some(at(200)), 2),
            ("v1.3.0".to_owned(), Some(at(100)), false, None, 0)
        ]
    );
}

#[test]
fn a_halt_and_its_resumption() {
    let mut fixture = PolicyFixture::rolling();
    fixture.evaluate(100);
    fixture.fail("v1.3.0", 1);
    fixture.evaluate(200);
    assert_eq!(fixture.events, []);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 100, failed 1"]);
    fixture.fail("v1.3.0", 2);
    fixture.evaluate(300);
    assert_eq!(fixture.events, [WaveEventKind::Halted(at(300))]);
    assert_eq!(fixture.waves(), ["v1.3.0 Halted since 100, failed 2"]);
    assert_eq!((fixture.target().1, fixture.ready().as_str()), (Some("WaveHalted"), "False/WaveHalted"));
    // The ledger has the halt too, so it outlives a lost status.
    fixture.shown = PluginPolicyStatus::default();
    fixture.evaluate(400);
    assert_eq!(fixture.waves(), ["v1.3.0 Halted since 100, failed 2"]);
    assert_eq!(fixture.p().waves[0].halted_at.as_ref().map(|time| time.0), Some(at(300)));

    fixture.annotation = Some(format!("p/v1.3.0@{}", at(301)));
    fixture.evaluate(500);
    assert_eq!(fixture.ready(), "False/WaveHalted", "the annotation names another halt");
    fixture.annotation = Some(format!("p/v1.3.0@{}", at(300)));
    fixture.evaluate(600);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 400, failed 2"], "moved by the length of the halt");
    assert_eq!(fixture.ready(), "True/RollingOut");

    fixture.fail("v1.3.0", 3);
    fixture.evaluate(700);
    assert_eq!(fixture.ready(), "False/WaveHalted");
    fixture.generation = 2;
    fixture.spec["rollout"] = json!(null);
    fixture.evaluate(800);
    assert_eq!(fixture.ready(), "False/WaveHalted", "a policy without a rollout keeps its halts");
    assert_eq!(fixture.target().1, Some("WaveHalted"));
    fixture.annotation = Some(format!("p/v1.3.0@{}", at(700)));
    fixture.evaluate(900);
    assert_eq!((fixture.ready().as_str(), fixture.waves().len()), ("True/Enforced", 0));
}

#[test]
fn a_wave_waits_for_evidence() {
    let mut fixture = PolicyFixture::rolling();
    fixture.spec["rollout"]["canarySelector"] = json!({"matchLabels": {"canary": "true"}});
    fixture.spec["rollout"]["requireSucceeded"] = json!({"hosts": 2, "for": "1h"});
    let report = |fixture: &mut PolicyFixture, changes: &[(&str, i64)]| {
        let mut hosts = HostIndex::default();
        for (i, (state, change)) in changes.iter().enumerate() {
            let component =
                json!({"name": "p", "active": "v1.3.0", "state": state, "lastChange": at(*change).to_string()});
            let host = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliHost",
                "metadata": {"name": format!("bastion-{i}"), "labels": {"canary": "true"}},
                "spec": {"identity": "i"}, "status": {"components": [component]}});
            hosts.apply(Event::Apply(serde_json::from_value(host).unwrap()));
        }
        fixture.matched.reports = hosts.reports(|_| true, |labels| labels["canary"] == "true");
    };
    let evidence = |fixture: &PolicyFixture| {
        let wave = &fixture.p().waves[0];
        (wave.state, wave.since.is_some(), wave.succeeded, wave.canaries)
    };
    report(&mut fixture, &[("UpToDate", 0), ("UpToDate", 600), ("Failed", 0)]);
    let evaluation = fixture.evaluate(100);
    assert_eq!(evidence(&fixture), (Some(WaveState::AwaitingEvidence), false, Some(0), Some(3)));
    assert_eq!((fixture.target().1, fixture.ready().as_str()), (Some("AwaitingEvidence"), "True/AwaitingEvidence"));
    assert_eq!(evaluation.next, Some(at(3600)), "when the first host counts");
    fixture.evaluate(3600);
    assert_eq!(evidence(&fixture), (Some(WaveState::AwaitingEvidence), false, Some(1), Some(3)));
    // A canary fails: the wave is halted before it begins.
    fixture.fail("v1.3.0", 2);
    fixture.evaluate(3700);
    assert_eq!(fixture.events, [WaveEventKind::Halted(at(3700))]);
    fixture.evaluate(4200);
    assert_eq!(evidence(&fixture), (Some(WaveState::Halted), false, Some(2), Some(3)), "evidence does not begin it");
    fixture.shown = PluginPolicyStatus::default();
    fixture.annotation = Some(format!("p/v1.3.0@{}", at(3700)));
    fixture.evaluate(4300);
    assert_eq!(fixture.events, [WaveEventKind::Resumed, WaveEventKind::Began]);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 4300, failed 2"]);
    assert_eq!(evidence(&fixture), (Some(WaveState::Running), true, None, None));
    // The wave goes on if hosts leave the version, and if the ledger is lost.
    report(&mut fixture, &[]);
    fixture.fail("v1.3.0", 0);
    fixture.ledger = WaveLedger::default();
    fixture.evaluate(4400);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 4300, failed 0"]);
    // A version that nobody has waits. The complete wave of the older one stays, because clients need it.
    fixture.versions.insert(0, version("v1.4.0", 0, &json!({})));
    fixture.evaluate(4300 + DAY);
    assert_eq!(fixture.waves(), ["v1.4.0 AwaitingEvidence since -1, failed 0", "v1.3.0 Complete since 4300, failed 0"]);
}

/// The message has room for a few waves only.
#[test]
fn ready_names_components_on_hosts_first() {
    let spec = json!({"hostSelector": {}, "defaults": {"updates": "Auto"}, "rollout": {"over": "24h"}});
    let mut fixture = PolicyFixture::new(spec);
    let installed: d8_crds::values::version::Version = "v9.0.0-0".parse().unwrap();
    let span = VersionSpan { oldest: installed.clone(), newest: installed };
    for (active, first) in [(None, "p v1.3.0 until "), (Some(span), "denied v9.0.0 until ")] {
        fixture.matched.active = active.into_iter().map(|span| ("denied".to_owned(), span)).collect();
        fixture.evaluate(100);
        let ready = fixture.shown.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        assert!(ready.message.starts_with(first), "{}", ready.message);
    }
}

/// A policy is evaluated again when one of its warnings changes.
#[test]
fn warnings_are_current_at_their_times() {
    let hour = 3600;
    let blackout = json!({"from": "1970-01-01T10:00", "to": "1970-01-01T11:00", "reason": "audit"});
    let mut fixture = PolicyFixture::new(json!({"hostSelector": {}, "blackouts": [blackout],
        "windows": [{"start": "02:00", "duration": "1h"}]}));
    assert_eq!(fixture.evaluate(4 * hour).next, Some(at(11 * hour)), "the end of the blackout");
    let over = "spec.blackouts has entries that are over";
    let warns = |fixture: &PolicyFixture| fixture.shown.conditions.iter().any(|c| c.message.contains(over));
    assert!(!warns(&fixture));
    assert_eq!(fixture.evaluate(11 * hour).next, Some(at(26 * hour)), "the next window");
    assert!(warns(&fixture));
}

#[test]
fn a_lost_status_or_ledger_is_restored() {
    for (what, lose_status, lose_ledger) in
        [("neither", false, false), ("status", true, false), ("ledger", false, true)]
    {
        let mut fixture = PolicyFixture::rolling();
        fixture.versions.push(version("v1.2.0", 0, &json!({})));
        fixture.evaluate(100);
        fixture.versions.insert(0, version("v1.4.0", DAY, &json!({})));
        fixture.evaluate(100 + DAY);
        let before = fixture.shown.clone();
        assert_eq!(fixture.waves(), [format!("v1.4.0 Running since {}, failed 0", 100 + DAY)]);
        if lose_status {
            fixture.shown = PluginPolicyStatus::default();
        }
        if lose_ledger {
            fixture.ledger = WaveLedger::default();
        }
        fixture.evaluate(200 + DAY);
        assert_eq!(fixture.shown.components, before.components, "{what}");
        // Complete waves stay complete.
        assert_eq!(fixture.ledger.waves[&"p".parse().unwrap()].len(), 3, "{what}");
    }
}

#[test]
fn the_waves_of_a_new_record_begin_when_it_appears() {
    let mut fixture = PolicyFixture::rolling();
    let versions = std::mem::take(&mut fixture.versions);
    fixture.evaluate(100);
    assert_eq!(fixture.target(), (None, None, None), "listed, without a version");
    fixture.versions = versions;
    fixture.evaluate(200);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 200, failed 0"]);
}

#[test]
fn a_policy_that_is_created_again_keeps_its_waves_for_an_hour() {
    for (deleted_at, again, since) in
        [(None, 3699, 100), (None, 3700, 3700), (Some(1000), 4599, 100), (Some(1000), 4600, 4600)]
    {
        let mut fixture = PolicyFixture::rolling();
        fixture.evaluate(100);
        fixture.ledger.deleted_at = deleted_at.map(at);
        fixture.uid = "second";
        fixture.shown = PluginPolicyStatus::default();
        fixture.evaluate(again);
        assert_eq!(fixture.waves(), [format!("v1.3.0 Running since {since}, failed 0")], "{deleted_at:?}");
        assert_eq!(fixture.ledger.deleted_at, None);
    }
}

#[test]
fn an_invalid_edit_restarts_no_wave() {
    let mut fixture = PolicyFixture::rolling();
    fixture.evaluate(100);
    let good = fixture.spec.clone();
    fixture.generation = 2;
    fixture.spec["rules"][0]["versions"] = json!("one or two");
    fixture.evaluate(200);
    assert_eq!((fixture.ready().as_str(), fixture.waves().len()), ("False/Invalid", 1));
    fixture.generation = 3;
    fixture.spec = good;
    fixture.evaluate(300);
    assert_eq!(fixture.waves(), ["v1.3.0 Running since 100, failed 0"]);
}

#[test]
fn only_permitted_versions_have_a_wave() {
    let moved = json!({"moved": {"from": digest("1"), "at": at(0).to_string()}});
    for (rule, more, permitted) in [
        (json!({}), json!({}), true),
        (json!({"versions": ">=1.3"}), json!({}), true),
        (json!({"versions": "<1.3"}), json!({}), false),
        (json!({"block": ["v1.3.0"]}), json!({}), false),
        (json!({"pins": [{"version": "v1.3.0", "digest": digest("0")}]}), json!({}), true),
        (json!({"pins": [{"version": "v1.3.0", "digest": digest("1")}]}), json!({}), false),
        (json!({"pins": [{"version": "v1.2.0", "digest": digest("1")}]}), json!({}), true),
        // A held version is permitted.
        (json!({"minAge": "72h"}), json!({}), true),
        (json!({"updates": "Frozen"}), json!({}), true),
        (json!({}), json!({"fit": "Unfit"}), true),
        (json!({}), moved, true),
    ] {
        let mut fixture = PolicyFixture::rolling();
        for (key, value) in rule.as_object().into_iter().flatten() {
            fixture.spec["rules"][0][key] = value.clone();
        }
        fixture.versions = vec![version("v1.3.0", 0, &more)];
        fixture.evaluate(100);
        assert_eq!(fixture.waves().len(), usize::from(permitted), "{rule} {more}");
    }
}

#[test]
fn the_target_and_what_holds_it() {
    let span = |oldest: &str, newest: &str| {
        Some(VersionSpan { oldest: oldest.parse().unwrap(), newest: newest.parse().unwrap() })
    };
    let unfit = || json!({"fit": "Unfit"});
    let plain = || json!({});
    for (what, policy, rule, newest, active, expected) in [
        ("nothing holds", plain(), plain(), plain(), None, (Some("v1.4.0"), None, None)),
        (
            "updates: Manual",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            None,
            (Some("v1.4.0"), Some("Manual"), None),
        ),
        (
            "updates: Frozen",
            plain(),
            json!({"updates": "Frozen"}),
            plain(),
            None,
            (Some("v1.4.0"), Some("Frozen"), None),
        ),
        ("minAge", plain(), json!({"minAge": "1h"}), plain(), None, (Some("v1.4.0"), Some("Soaking"), Some(3600))),
        ("paused", json!({"paused": true}), plain(), plain(), None, (Some("v1.4.0"), Some("Paused"), None)),
        ("blocked", plain(), json!({"block": ["v1.4.0"]}), plain(), None, (Some("v1.3.0"), None, None)),
        ("unfit", plain(), plain(), unfit(), None, (Some("v1.3.0"), None, None)),
        ("withdrawn", plain(), plain(), json!({"withdrawn": at(0).to_string()}), None, (Some("v1.3.0"), None, None)),
        (
            "no version is permitted",
            plain(),
            json!({"versions": ">9"}),
            plain(),
            None,
            (None, Some("VersionNotPermitted"), None),
        ),
        (
            "outside the window",
            json!({"windows": [{"start": "02:00", "duration": "1h"}]}),
            plain(),
            plain(),
            None,
            (Some("v1.4.0"), Some("OutsideWindow"), Some(7200)),
        ),
        (
            "some hosts run an older version",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            span("v1.3.0", "v1.4.0"),
            (Some("v1.4.0"), Some("Manual"), None),
        ),
        (
            "all hosts run the target",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            span("v1.4.0", "v1.4.0"),
            (Some("v1.4.0"), None, None),
        ),
        (
            "hosts stay in their major version",
            plain(),
            plain(),
            plain(),
            span("v0.9.0", "v0.9.0"),
            (None, Some("MajorStays"), None),
        ),
        (
            "hosts may leave their major version",
            plain(),
            json!({"majorUpdates": "Cross"}),
            plain(),
            span("v0.9.0", "v0.9.0"),
            (Some("v1.4.0"), None, None),
        ),
    ] {
        let mut fixture = PolicyFixture::rolling();
        fixture.spec.as_object_mut().unwrap().remove("rollout");
        for (key, value) in policy.as_object().into_iter().flatten() {
            fixture.spec[key] = value.clone();
        }
        for (key, value) in rule.as_object().into_iter().flatten() {
            fixture.spec["rules"][0][key] = value.clone();
        }
        fixture.versions = vec![version("v1.4.0", 0, &newest), version("v1.3.0", 0, &plain())];
        fixture.matched.active = active.map(|span| ("p".to_owned(), span)).into_iter().collect();
        let evaluation = fixture.evaluate(100);
        assert_eq!(fixture.target(), expected, "{what}");
        assert!(fixture.ledger == WaveLedger::default(), "{what}: no ledger without a rollout");
        assert_eq!(evaluation.next.map(Timestamp::as_second), expected.2, "{what}");
    }
}

#[test]
fn moved_tags_and_pre_releases_are_never_the_target() {
    let moved = json!({"moved": {"from": digest("1"), "at": at(0).to_string()}});
    for (newest, more, alone) in [("v1.4.0", moved, "TagMoved"), ("v1.4.0-rc.1", json!({}), "PreRelease")] {
        let mut fixture = PolicyFixture::rolling();
        fixture.versions = vec![version(newest, 0, &more), version("v1.3.0", 0, &json!({}))];
        fixture.evaluate(100);
        assert_eq!(fixture.target().0, Some("v1.3.0"), "{newest}");
        fixture.versions.pop();
        fixture.evaluate(100);
        assert_eq!(fixture.target(), (None, Some(alone), None), "{newest}");
    }
}

#[test]
fn an_expedited_version_has_no_wave_but_can_be_halted() {
    let mut fixture = PolicyFixture::rolling();
    fixture.spec["rules"][0]["expedite"] = json!(["v1.3.0"]);
    fixture.evaluate(100);
    assert_eq!(fixture.waves(), ["v1.3.0 Complete since 100, failed 0"]);
    assert_eq!((fixture.target(), fixture.ready().as_str()), ((Some("v1.3.0"), None, None), "True/Enforced"));
    fixture.fail("v1.3.0", 2);
    fixture.evaluate(200);
    assert_eq!((fixture.target().1, fixture.p().waves[0].state), (Some("WaveHalted"), Some(WaveState::Halted)));
}

#[test]
fn canaries_do_not_hide_the_wave_of_the_other_hosts() {
    let mut fixture = PolicyFixture::rolling();
    fixture.spec["rollout"]["canarySelector"] = json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]});
    fixture.evaluate(100);
    assert_eq!(fixture.target(), (Some("v1.3.0"), Some("NotInWave"), Some(100 + DAY)));
}
