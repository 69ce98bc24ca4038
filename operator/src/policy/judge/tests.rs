//! One policy, a few records and hosts over time: what its status says.

use d8_crds::records::{
    policy::{HostCounts, PluginPolicy, WaveState},
    release::CliRelease,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    hosts::{Span, Trouble},
    policy::waves::Happened,
};

const DAY: i64 = 24 * 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn digest(text: &str) -> String {
    format!("sha256:{}", text.repeat(64))
}

/// A version: its name, when it was first seen, what the cluster says of it.
fn version(name: &str, first_seen: i64, more: &Value) -> Value {
    let mut version =
        json!({"version": name, "digest": digest("0"), "firstSeen": at(first_seen).to_string(), "fit": "Fits"});
    for (key, value) in more.as_object().into_iter().flatten() {
        version[key] = value.clone();
    }
    version
}

/// A policy's life: what is around it, and what the operator keeps of it.
struct World {
    spec: Value,
    generation: i64,
    uid: &'static str,
    annotation: Option<String>,
    /// Of `p`.
    versions: Vec<Value>,
    matched: Matched,
    shown: PluginPolicyStatus,
    ledger: Ledger,
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            generation: 1,
            uid: "first",
            annotation: None,
            versions: vec![version("v1.3.0", 0, &json!({}))],
            matched: Matched { counts: HostCounts { matched: 5, ..HostCounts::default() }, ..Matched::default() },
            shown: PluginPolicyStatus::default(),
            ledger: Ledger::default(),
        }
    }

    fn rolling() -> Self {
        let defaults = json!({"updates": "Auto", "access": "Deny"});
        let rules = json!([{"plugins": ["p"], "access": "Allow"}]);
        Self::new(
            json!({"hostSelector": {}, "defaults": defaults, "rules": rules, "rollout": {"over": "24h", "maxFailed": 2}}),
        )
    }

    fn judge(&mut self, second: i64) -> Outcome {
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
        let situation = Situation {
            policy: &policy,
            checked: &checked,
            releases: &releases,
            matched: &self.matched,
            previous: &self.shown,
            cluster_uid: Some("uid"),
            now: at(second),
        };
        let outcome = judge(&situation, &mut self.ledger);
        // What is written reads back.
        self.ledger = Ledger::from_data(&self.ledger.to_data()).unwrap();
        self.shown = serde_json::from_value(serde_json::to_value(&outcome.status).unwrap()).unwrap();
        outcome
    }

    fn p(&self) -> &ComponentProgress {
        let found: Vec<_> = self.shown.components.iter().filter(|component| component.name == "p").collect();
        assert_eq!(found.len(), 1, "{:?}", self.shown.components);
        found[0]
    }

    /// `v1.3.0 Running since 5, failed 0` for each wave.
    fn waves(&self) -> Vec<String> {
        let say = |wave: &d8_crds::records::policy::WaveStatus| {
            let since = wave.since.as_ref().map_or(-1, |time| time.0.as_second());
            format!("{} {:?} since {since}, failed {}", wave.version, wave.state.unwrap(), wave.failed)
        };
        self.p().waves.iter().map(say).collect()
    }

    /// Target, hold and its end.
    fn way(&self) -> (Option<&str>, Option<&str>, Option<i64>) {
        let p = self.p();
        (p.target.as_deref(), p.hold.as_deref(), p.until.as_ref().map(|time| time.0.as_second()))
    }

    fn ready(&self) -> String {
        let ready = self.shown.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        format!("{}/{}", ready.status, ready.reason)
    }

    fn fail(&mut self, version: &str, hosts: usize) {
        let trouble = Trouble { component: "p".into(), version: version.into(), switching_since: None };
        self.matched.troubles = vec![trouble; hosts];
    }
}

#[test]
fn a_wave_from_its_beginning_to_its_end() {
    let mut world = World::rolling();
    let outcome = world.judge(100);
    assert_eq!(world.waves(), ["v1.3.0 Running since 100, failed 0"]);
    assert_eq!(world.way(), (Some("v1.3.0"), Some("NotInWave"), Some(100 + DAY)));
    assert_eq!(world.ready(), "True/RollingOut");
    assert_eq!(outcome.next, Some(at(100 + DAY)));
    assert_eq!(world.shown.components.len(), 1, "what it denies is not its way");

    world.judge(100 + DAY);
    assert_eq!(world.waves(), ["v1.3.0 Complete since 100, failed 0"]);
    assert_eq!((world.way(), world.ready().as_str()), ((Some("v1.3.0"), None, None), "True/Enforced"));

    // A newer version; of the older one, whose wave is over, nothing needs to be said.
    world.versions.insert(0, version("v1.4.0", 2 * DAY, &json!({})));
    world.judge(2 * DAY + 5);
    assert_eq!(world.waves(), [format!("v1.4.0 Running since {}, failed 0", 2 * DAY + 5)]);
}

#[test]
fn what_the_clients_read_is_what_was_written() {
    let mut world = World::rolling();
    world.versions.insert(0, version("v1.4.0", 0, &json!({})));
    world.judge(100);
    world.fail("v1.4.0", 2);
    world.judge(200);
    let policy = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": "slowly", "generation": 1}, "spec": world.spec, "status": world.shown});
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
fn a_halt_and_its_end() {
    let mut world = World::rolling();
    world.judge(100);
    world.fail("v1.3.0", 1);
    assert_eq!(world.judge(200).news, []);
    assert_eq!(world.waves(), ["v1.3.0 Running since 100, failed 1"]);
    world.fail("v1.3.0", 2);
    let news = world.judge(300).news;
    assert_eq!(news.iter().map(|news| news.what).collect::<Vec<_>>(), [Happened::Halted(at(300))]);
    assert_eq!(world.waves(), ["v1.3.0 Halted since 100, failed 2"]);
    assert_eq!((world.way().1, world.ready().as_str()), (Some("WaveHalted"), "False/WaveHalted"));
    // In the ConfigMap as well: it outlives a lost status.
    world.shown = PluginPolicyStatus::default();
    world.judge(400);
    assert_eq!(world.waves(), ["v1.3.0 Halted since 100, failed 2"]);
    assert_eq!(world.p().waves[0].halted_at.as_ref().map(|time| time.0), Some(at(300)));

    world.annotation = Some(format!("v1.3.0@{}", at(301)));
    world.judge(500);
    assert_eq!(world.ready(), "False/WaveHalted", "that names another halt");
    world.annotation = Some(format!("v1.3.0@{}", at(300)));
    world.judge(600);
    assert_eq!(world.waves(), ["v1.3.0 Running since 100, failed 2"]);
    assert_eq!(world.ready(), "True/RollingOut");

    world.fail("v1.3.0", 3);
    world.judge(700);
    assert_eq!(world.ready(), "False/WaveHalted");
    world.generation = 2;
    world.judge(800);
    assert_eq!(world.ready(), "True/RollingOut");
}

#[test]
fn what_is_lost_is_made_again() {
    for (what, lose_status, lose_ledger) in
        [("neither", false, false), ("status", true, false), ("ledger", false, true)]
    {
        let mut world = World::rolling();
        world.versions.push(version("v1.2.0", 0, &json!({})));
        world.judge(100);
        world.versions.insert(0, version("v1.4.0", DAY, &json!({})));
        world.judge(100 + DAY);
        let before = world.shown.clone();
        assert_eq!(world.waves(), [format!("v1.4.0 Running since {}, failed 0", 100 + DAY)]);
        if lose_status {
            world.shown = PluginPolicyStatus::default();
        }
        if lose_ledger {
            world.ledger = Ledger::default();
        }
        world.judge(200 + DAY);
        assert_eq!(world.shown.components, before.components, "{what}");
        // The waves that were over stay so.
        assert_eq!(world.ledger.entries["p"].len(), 3, "{what}");
    }
}

#[test]
fn a_record_that_comes_after_the_policy_starts_its_waves_then() {
    let mut world = World::rolling();
    let versions = std::mem::take(&mut world.versions);
    world.judge(100);
    assert_eq!(world.way(), (None, None, None), "it is listed, and has nothing yet");
    world.versions = versions;
    world.judge(200);
    assert_eq!(world.waves(), ["v1.3.0 Running since 200, failed 0"]);
}

#[test]
fn a_policy_made_anew_starts_anew() {
    let mut world = World::rolling();
    world.judge(100);
    world.uid = "second";
    world.shown = PluginPolicyStatus::default();
    world.judge(200);
    assert_eq!(world.waves(), ["v1.3.0 Running since 200, failed 0"]);
}

#[test]
fn a_slip_restarts_nothing() {
    let mut world = World::rolling();
    world.judge(100);
    let good = world.spec.clone();
    world.generation = 2;
    world.spec["rules"][0]["versions"] = json!("one or two");
    world.judge(200);
    assert_eq!((world.ready().as_str(), world.waves().len()), ("False/Invalid", 1));
    world.generation = 3;
    world.spec = good;
    world.judge(300);
    assert_eq!(world.waves(), ["v1.3.0 Running since 100, failed 0"]);
}

#[test]
fn only_what_the_policy_permits_has_a_wave() {
    let moved = json!({"moved": {"from": digest("1"), "at": at(0).to_string()}});
    for (rule, more, permitted) in [
        (json!({}), json!({}), true),
        (json!({"versions": ">=1.3"}), json!({}), true),
        (json!({"versions": "<1.3"}), json!({}), false),
        (json!({"block": ["v1.3.0"]}), json!({}), false),
        (json!({"pins": [{"version": "v1.3.0", "digest": digest("0")}]}), json!({}), true),
        (json!({"pins": [{"version": "v1.3.0", "digest": digest("1")}]}), json!({}), false),
        (json!({"pins": [{"version": "v1.2.0", "digest": digest("1")}]}), json!({}), true),
        // Held is not forbidden.
        (json!({"minAge": "72h"}), json!({}), true),
        (json!({"updates": "Frozen"}), json!({}), true),
        (json!({}), json!({"fit": "Unfit"}), true),
        (json!({}), moved, true),
    ] {
        let mut world = World::rolling();
        for (key, value) in rule.as_object().into_iter().flatten() {
            world.spec["rules"][0][key] = value.clone();
        }
        world.versions = vec![version("v1.3.0", 0, &more)];
        world.judge(100);
        assert_eq!(world.waves().len(), usize::from(permitted), "{rule} {more}");
    }
}

#[test]
fn where_it_leads_and_what_holds_it_back() {
    let span =
        |oldest: &str, newest: &str| Some(Span { oldest: oldest.parse().unwrap(), newest: newest.parse().unwrap() });
    let unfit = || json!({"fit": "Unfit"});
    let plain = || json!({});
    for (what, policy, rule, newest, runs, way) in [
        ("all is open", plain(), plain(), plain(), None, (Some("v1.4.0"), None, None)),
        (
            "it waits for a person",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            None,
            (Some("v1.4.0"), Some("Manual"), None),
        ),
        (
            "nobody replaces it",
            plain(),
            json!({"updates": "Frozen"}),
            plain(),
            None,
            (Some("v1.4.0"), Some("Frozen"), None),
        ),
        ("it soaks", plain(), json!({"minAge": "1h"}), plain(), None, (Some("v1.4.0"), Some("Soaking"), Some(3600))),
        ("it is paused", json!({"paused": true}), plain(), plain(), None, (Some("v1.4.0"), Some("Paused"), None)),
        ("it is blocked", plain(), json!({"block": ["v1.4.0"]}), plain(), None, (Some("v1.3.0"), None, None)),
        ("it does not fit", plain(), plain(), unfit(), None, (Some("v1.3.0"), None, None)),
        (
            "its tag is gone",
            plain(),
            plain(),
            json!({"withdrawn": at(0).to_string()}),
            None,
            (Some("v1.3.0"), None, None),
        ),
        (
            "nothing is permitted",
            plain(),
            json!({"versions": ">9"}),
            plain(),
            None,
            (None, Some("VersionNotPermitted"), None),
        ),
        (
            "the window is closed",
            json!({"windows": [{"start": "02:00", "duration": "1h"}]}),
            plain(),
            plain(),
            None,
            (Some("v1.4.0"), Some("OutsideWindow"), Some(7200)),
        ),
        (
            "some are behind",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            span("v1.3.0", "v1.4.0"),
            (Some("v1.4.0"), Some("Manual"), None),
        ),
        (
            "all are there",
            plain(),
            json!({"updates": "Manual"}),
            plain(),
            span("v1.4.0", "v1.4.0"),
            (Some("v1.4.0"), None, None),
        ),
        (
            "they stay in their major",
            plain(),
            plain(),
            plain(),
            span("v0.9.0", "v0.9.0"),
            (None, Some("MajorStays"), None),
        ),
        (
            "they may leave it",
            plain(),
            json!({"majorUpdates": "Cross"}),
            plain(),
            span("v0.9.0", "v0.9.0"),
            (Some("v1.4.0"), None, None),
        ),
    ] {
        let mut world = World::rolling();
        world.spec.as_object_mut().unwrap().remove("rollout");
        for (key, value) in policy.as_object().into_iter().flatten() {
            world.spec[key] = value.clone();
        }
        for (key, value) in rule.as_object().into_iter().flatten() {
            world.spec["rules"][0][key] = value.clone();
        }
        world.versions = vec![version("v1.4.0", 0, &newest), version("v1.3.0", 0, &plain())];
        world.matched.active = runs.map(|span| ("p".to_owned(), span)).into_iter().collect();
        let outcome = world.judge(100);
        assert_eq!(world.way(), way, "{what}");
        assert!(world.ledger == Ledger::default(), "{what}: without a rollout nothing is kept");
        assert_eq!(outcome.next.map(Timestamp::as_second), way.2, "{what}");
    }
}

#[test]
fn moved_tags_and_pre_releases_are_no_target() {
    let moved = json!({"moved": {"from": digest("1"), "at": at(0).to_string()}});
    for (newest, more, alone) in [("v1.4.0", moved, "TagMoved"), ("v1.4.0-rc.1", json!({}), "PreRelease")] {
        let mut world = World::rolling();
        world.versions = vec![version(newest, 0, &more), version("v1.3.0", 0, &json!({}))];
        world.judge(100);
        assert_eq!(world.way().0, Some("v1.3.0"), "{newest}");
        world.versions.pop();
        world.judge(100);
        assert_eq!(world.way(), (None, Some(alone), None), "{newest}");
    }
}

#[test]
fn an_expedited_version_has_no_wave_and_halts_all_the_same() {
    let mut world = World::rolling();
    world.spec["rules"][0]["expedite"] = json!(["v1.3.0"]);
    world.judge(100);
    assert_eq!(world.waves(), ["v1.3.0 Complete since 100, failed 0"]);
    assert_eq!((world.way(), world.ready().as_str()), ((Some("v1.3.0"), None, None), "True/Enforced"));
    world.fail("v1.3.0", 2);
    world.judge(200);
    assert_eq!((world.way().1, world.p().waves[0].state), (Some("WaveHalted"), Some(WaveState::Halted)));
}

#[test]
fn canaries_hide_no_wave() {
    let mut world = World::rolling();
    world.spec["rollout"]["canarySelector"] = json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]});
    world.judge(100);
    assert_eq!(world.way(), (Some("v1.3.0"), Some("NotInWave"), Some(100 + DAY)));
}
