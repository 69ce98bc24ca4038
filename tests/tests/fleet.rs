//! Thirty agents that follow a policy by themselves: canaries, evidence, waves, halts, blocks, emergencies, blackouts
//! and pauses, end to end.
#![allow(clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use d8_crds::decisions::wave::{Bucket, Wave};
use d8_crds::records::policy::{WaveState, WaveStatus};
use d8_tests::catalog::{Plugin, script};
use d8_tests::fleet::{Fleet, ManagedHost, component, reports};
use d8_tests::process::wait_for;
use d8_tests::{Lab, Result, objects, status};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

const HOSTS: usize = 30;
const CANARIES: usize = 3;
const POLICY: &str = "fleet";
/// Longest wait for all hosts to act at once. Two cores run all of them.
const ALL: Duration = Duration::from_mins(2);
/// Longest wait for a wave of a minute.
const WAVE: Duration = Duration::from_mins(3);
/// No agent switches later than this after the policy was paused.
const PAUSE: Duration = Duration::from_secs(2);

struct Scenario {
    lab: Lab,
    fleet: Fleet,
}

fn name(number: usize) -> String {
    format!("host-{number:02}")
}

fn is_canary(host: &str) -> bool {
    (0..CANARIES).any(|number| name(number) == host)
}

impl Scenario {
    fn start() -> Result<Self> {
        let lab = Lab::start(|_| {})?;
        let labels = |number: usize| format!("role=fleet,canary={}", number < CANARIES);
        let hosts: Vec<_> = (0..HOSTS).map(|number| (name(number), labels(number))).collect();
        let fleet = Fleet::enroll(&lab, &hosts, None)?;
        Ok(Self { lab, fleet })
    }

    /// Publishes a version and waits until it is in the record.
    fn publish(&self, plugin: &Plugin) -> Result<()> {
        self.lab.publish(plugin)?;
        self.lab.create_releases(&[&plugin.name])?;
        self.lab.request_poll(&plugin.name)?;
        self.lab.wait_for_version(&plugin.name, &plugin.version).map(drop)
    }

    /// Applies the policy of the fleet with these fields in its spec, and in its rule.
    fn apply(&self, spec: &Value, rule: &Value) -> Result<()> {
        let rule = objects::with(json!({"plugins": ["tool"], "access": "Require", "updates": "Auto"}), rule);
        let base = json!({"hostSelector": {"matchLabels": {"role": "fleet"}}, "rules": [rule]});
        self.lab.apply_policy(POLICY, &objects::with(base, spec))
    }

    /// Waits until all hosts that `selects` selects report this state and reason, and this target.
    fn wait_for_state(
        &self,
        (state, reason, target): (&str, &str, &str),
        selects: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let what = format!("{state} {reason} {target}");
        self.fleet.wait_for_reports(&self.lab, &what, ALL, |host, report| {
            let tool = component(report, "tool");
            let found = json!([tool["state"], tool["reason"], tool["target"]]);
            !selects(host) || found == json!([state, reason, target])
        })
    }

    fn wait_for_wave(&self, version: &str, state: WaveState) -> Result<WaveStatus> {
        let what = format!("{version} is {state:?}");
        wait_for(&what, WAVE, || {
            let policy = self.lab.get_policy(POLICY)?;
            status::wave(&policy, "tool", version).filter(|wave| wave.state == Some(state))
        })
    }

    /// Returns the hosts that report that this version failed.
    fn failed(&self, version: &str) -> Result<BTreeSet<String>> {
        let is_failed = |report: &Value| {
            let tool = component(report, "tool");
            (&tool["state"], &tool["target"]) == (&json!("Failed"), &json!(version))
        };
        Ok(reports(&self.lab)?.into_iter().filter(|(_, report)| is_failed(report)).map(|(host, _)| host).collect())
    }

    /// Returns when the wave of a version reaches each host.
    fn reached_at(&self, version: &str, wave: &WaveStatus) -> BTreeMap<String, Timestamp> {
        let since = wave.since.as_ref().map(|since| since.0);
        let record = self.lab.get_release("tool").expect("the record");
        let first_seen = status::version(&record, version).first_seen.expect("a time").0;
        let wave = Wave::new(first_seen, Duration::ZERO, since, Duration::from_mins(1));
        let (tool, version) = ("tool".parse().expect("a name"), version.parse().expect("a version"));
        let at = |host: &str| wave.permitted_from(Bucket::of(host, &tool, &version)).expect("a time");
        self.fleet.hosts().iter().map(|host| (host.name().to_owned(), at(host.name()))).collect()
    }

    /// Returns when each host was switched last.
    fn switched_at(&self) -> BTreeMap<String, Timestamp> {
        let at = |host: &ManagedHost| -> Timestamp {
            let at: SystemTime = host.installed().switched_at("tool").expect("a switch");
            at.try_into().expect("a time")
        };
        self.fleet.hosts().iter().map(|host| (host.name().to_owned(), at(host))).collect()
    }
}

#[test]
fn thirty_agents_follow_a_policy() -> Result<()> {
    let started = Instant::now();
    let mut scenario = Scenario::start()?;
    let done = |what: &str| println!("{:6.1} s  {what}", started.elapsed().as_secs_f32());
    done("thirty hosts are enrolled");
    required(&mut scenario)?;
    done("all have what is required");
    wave_after_evidence(&scenario)?;
    done("a version went through canaries, evidence and a wave");
    bad_version(&scenario)?;
    done("a bad version halted twice");
    block(&scenario)?;
    done("a block took everybody off");
    emergency(&scenario)?;
    done("a fix passed closed windows");
    blackout(&scenario)?;
    done("a blackout held everybody");
    pause(&scenario)?;
    done("a pause held everybody in mid-change");
    for host in scenario.fleet.hosts_mut() {
        host.check()?;
    }
    Ok(())
}

fn required(scenario: &mut Scenario) -> Result<()> {
    scenario.publish(&Plugin::new("tool", "v1.0.0"))?;
    scenario.apply(&json!({}), &json!({}))?;
    scenario.fleet.start(scenario.lab.plane().scratch())?;
    scenario.fleet.wait_for_version("tool", "v1.0.0", ALL, |_| true)
}

/// Canaries take a version first. Once it has worked on two of them for a minute, it reaches the others in the order of
/// their buckets.
fn wave_after_evidence(scenario: &Scenario) -> Result<()> {
    let rollout = json!({
        "over": "1m", "maxFailed": 3,
        "canarySelector": {"matchLabels": {"canary": "true"}}, "requireSucceeded": {"hosts": 2, "for": "1m"},
    });
    scenario.apply(&json!({"rollout": rollout}), &json!({}))?;
    scenario.publish(&Plugin::new("tool", "v1.1.0"))?;
    let waiting = scenario.wait_for_wave("v1.1.0", WaveState::AwaitingEvidence)?;
    assert_eq!((waiting.since, waiting.canaries), (None, Some(3)));
    scenario.fleet.wait_for_version("tool", "v1.1.0", ALL, is_canary)?;
    scenario.wait_for_state(("Held", "AwaitingEvidence", "v1.1.0"), |host| !is_canary(host))?;
    let versions = scenario.fleet.by_version("tool");
    assert_eq!((versions["v1.0.0"].len(), versions["v1.1.0"].len()), (HOSTS - CANARIES, CANARIES));
    let canaries: Vec<_> = scenario.switched_at().into_iter().filter(|(host, _)| is_canary(host)).collect();

    let wave = scenario.wait_for_wave("v1.1.0", WaveState::Running)?;
    let since = wave.since.as_ref().expect("a time").0;
    let mut proven: Vec<Timestamp> =
        canaries.iter().map(|(_, at)| at.saturating_add(1.minute()).expect("a time")).collect();
    proven.sort();
    // Reports, and the time of the API server by which hosts report, have whole seconds.
    assert!(since.saturating_add(2.seconds()).expect("a time") >= proven[1], "{since} {proven:?}");
    scenario.fleet.wait_for_version("tool", "v1.1.0", WAVE, |_| true)?;
    let (reached, switched) = (scenario.reached_at("v1.1.0", &wave), scenario.switched_at());
    for (host, at) in switched.iter().filter(|(host, _)| !is_canary(host)) {
        assert!(*at >= reached[host], "the wave reached {host} at {}, and it switched at {at}", reached[host]);
    }
    for (host, at) in canaries {
        assert_eq!(switched[&host], at, "{host} switched once");
    }
    Ok(())
}

/// A version that fails its smoke test halts at `maxFailed`. The others never try it, and only the annotation resumes it.
fn bad_version(scenario: &Scenario) -> Result<()> {
    let rollout = |max_failed: u32| json!({"rollout": {"over": "1m", "maxFailed": max_failed}});
    scenario.apply(&rollout(3), &json!({}))?;
    scenario.publish(&Plugin::new("tool", "v1.2.0").with_executable("#!/bin/sh\necho broken >&2\nexit 3\n"))?;
    let halted = scenario.wait_for_wave("v1.2.0", WaveState::Halted)?;
    let halt = halted.halted_at.clone().expect("a time").0;
    let reached = scenario.reached_at("v1.2.0", &halted);
    let others = |failed: &BTreeSet<String>| scenario.fleet.hosts().len() - failed.len();
    let held = |failed: &BTreeSet<String>| {
        scenario.wait_for_state(("Held", "WaveHalted", "v1.2.0"), |host| !failed.contains(host))
    };
    // A host that the wave had reached may fail while the halt is on its way.
    let limit = halt.saturating_add(PAUSE).expect("a time");
    let tried: BTreeSet<String> = {
        let may_try = reached.iter().filter(|(_, at)| **at <= limit).map(|(host, _)| host.clone()).collect();
        held(&may_try)?;
        scenario.failed("v1.2.0")?
    };
    held(&tried)?;
    assert!(tried.len() >= 3 && others(&tried) > 0, "{tried:?}");
    println!("          halted with {} failures; {} hosts tried it", halted.failed, tried.len());
    assert_eq!(scenario.fleet.by_version("tool")["v1.1.0"].len(), HOSTS);

    // An edit does not resume it.
    scenario.apply(&rollout(u32::try_from(tried.len()).unwrap_or_default() + 2), &json!({}))?;
    let generation = scenario.lab.get_policy(POLICY).and_then(|policy| policy.metadata.generation);
    let is_followed = |report: &Value| json!(generation) == report["policies"][0]["generation"];
    scenario.fleet.wait_for_reports(&scenario.lab, "the edit", ALL, |_, report| is_followed(report))?;
    let still = scenario.wait_for_wave("v1.2.0", WaveState::Halted)?;
    assert_eq!((still.halted_at, scenario.failed("v1.2.0")?), (halted.halted_at, tried.clone()));
    // Its annotation does, and two more failures halt it again.
    let resume = format!("cli.deckhouse.io/resume=tool/v1.2.0@{halt}");
    scenario.lab.plane().kubectl(["annotate", "pluginpolicy", POLICY, &resume])?;
    let again = wait_for("another halt", WAVE, || {
        let wave = status::wave(&scenario.lab.get_policy(POLICY)?, "tool", "v1.2.0")?;
        wave.halted_at.clone().filter(|at| at.0 > halt).map(|_| wave)
    })?;
    assert_eq!(again.state, Some(WaveState::Halted));
    let failed = scenario.failed("v1.2.0")?;
    assert!(
        failed.len() >= tried.len() + 2 && failed.is_superset(&tried) && others(&failed) > 0,
        "{failed:?} {tried:?}"
    );
    assert_eq!(scenario.fleet.by_version("tool")["v1.1.0"].len(), HOSTS);
    Ok(())
}

/// A range takes everybody off at once: down to the newest version that is left.
fn block(scenario: &Scenario) -> Result<()> {
    let begun = Instant::now();
    scenario.apply(&json!({"rollout": {"over": "720h"}}), &json!({"block": [">=1.1.0 <1.3.0"]}))?;
    scenario.fleet.wait_for_version("tool", "v1.0.0", ALL, |_| true)?;
    println!("          the last of {HOSTS} hosts left it after {:.1} s", begun.elapsed().as_secs_f32());
    scenario.fleet.wait_for_reports(&scenario.lab, "v1.0.0 is reported", ALL, |_, report| {
        component(report, "tool")["active"] == "v1.0.0"
    })
}

/// Windows are closed and the wave takes a month. An emergency policy lets the fix pass.
fn emergency(scenario: &Scenario) -> Result<()> {
    let in_three_days = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(3.days());
    let day = format!("{:?}", in_three_days.weekday())[..3].to_owned();
    let windows = json!([{"days": [day], "start": "00:00", "duration": "2h", "timeZone": "UTC"}]);
    let block = json!({"block": [">=1.1.0 <1.3.0"]});
    scenario.publish(&Plugin::new("tool", "v1.3.0"))?;
    scenario.apply(&json!({"windows": windows, "rollout": {"over": "720h"}}), &block)?;
    scenario.fleet.wait_for_reports(&scenario.lab, "the fix is held", ALL, |_, report| {
        let tool = component(report, "tool");
        (&tool["state"], &tool["target"]) == (&json!("Held"), &json!("v1.3.0"))
    })?;
    assert_eq!(scenario.fleet.by_version("tool")["v1.0.0"].len(), HOSTS);
    let until = Timestamp::from_second(Timestamp::now().as_second() + 3600).expect("a time").to_string();
    let fix = json!({
        "hostSelector": {"matchLabels": {"role": "fleet"}}, "emergency": {"until": until},
        "rules": [{"plugins": ["tool"], "expedite": ["v1.3.0"]}],
    });
    let begun = Instant::now();
    scenario.lab.apply_policy("fix", &fix)?;
    scenario.fleet.wait_for_version("tool", "v1.3.0", ALL, |_| true)?;
    println!("          the last of {HOSTS} hosts had the fix after {:.1} s", begun.elapsed().as_secs_f32());
    scenario.lab.plane().kubectl(["delete", "pluginpolicy", "fix"]).map(drop)
}

fn blackout(scenario: &Scenario) -> Result<()> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let [from, to] =
        [today.saturating_sub(1.day()), today.saturating_add(2.days())].map(|date| format!("{date}T00:00"));
    scenario.publish(&Plugin::new("tool", "v1.4.0"))?;
    scenario.apply(&json!({"blackouts": [{"from": from, "to": to, "reason": "holidays"}]}), &json!({}))?;
    scenario.wait_for_state(("Held", "Blackout", "v1.4.0"), |_| true)?;
    assert_eq!(scenario.fleet.by_version("tool")["v1.3.0"].len(), HOSTS);
    scenario.apply(&json!({}), &json!({}))?;
    scenario.fleet.wait_for_version("tool", "v1.4.0", ALL, |_| true)
}

/// A pause in mid-change: nobody switches later than two seconds after the edit, and no change is half done.
fn pause(scenario: &Scenario) -> Result<()> {
    let slow = |name: &str, version: &str| {
        // Some tests end when the edit comes, and others seconds later.
        let script = script(name, version).replace("--version) ", "--version) sleep 3; ");
        Plugin::new(name, version).with_executable(&script)
    };
    let plugins = ["extra", "tool"];
    scenario.publish(&slow("extra", "v1.0.0"))?;
    scenario.publish(&slow("tool", "v1.5.0"))?;
    let require = json!({"plugins": plugins});
    scenario.apply(&json!({}), &require)?;
    let is_staging = |host: &&ManagedHost| !host.installed().staged("extra").is_empty();
    let in_change = || scenario.fleet.hosts().iter().filter(is_staging).count();
    wait_for("ten hosts in mid-change", ALL, || (in_change() >= HOSTS / 3).then_some(()))?;
    scenario.apply(&json!({"paused": true}), &require)?;
    let edited = SystemTime::now();
    let generation = scenario.lab.get_policy(POLICY).and_then(|policy| policy.metadata.generation);
    scenario.fleet.wait_for_reports(&scenario.lab, "the pause is reported", ALL, |_, report| {
        let is_switching = |plugin: &&str| component(report, plugin)["state"] == json!("Switching");
        report["policies"][0]["generation"] == json!(generation) && !plugins.iter().any(is_switching)
    })?;
    let mut after = Vec::new();
    for host in scenario.fleet.hosts() {
        let installed = host.installed();
        let (tool, extra) = (installed.version("tool"), installed.version("extra"));
        assert!([Some("v1.4.0"), Some("v1.5.0")].contains(&tool.as_deref()), "{}: {tool:?}", host.name());
        assert!([None, Some("v1.0.0")].contains(&extra.as_deref()), "{}: {extra:?}", host.name());
        let switched = [(tool.as_deref() == Some("v1.5.0"), "tool"), (extra.is_some(), "extra")];
        let switched = switched.into_iter().filter(|(is_switched, _)| *is_switched);
        let switched = switched.filter_map(|(_, plugin)| installed.switched_at(plugin));
        after.extend(switched.map(|at| at.duration_since(edited).unwrap_or_default()));
        // What began has ended or was undone.
        assert!(plugins.iter().all(|plugin| installed.staged(plugin).is_empty()), "{}", host.name());
        let list = host.machine().d8(["plugins", "list", "-o", "json"])?.ok()?;
        let list: Value = serde_json::from_str(&list).expect("JSON");
        for plugin in list.as_array().into_iter().flatten() {
            assert_eq!(plugin["damage"], Value::Null, "{}: {list:#}", host.name());
        }
    }
    let last = after.iter().max().copied().unwrap_or_default();
    println!("          {} switches, the last one {last:.1?} after the edit", after.len());
    assert!(last <= PAUSE, "{after:?}");
    assert!(after.len() < 2 * HOSTS, "the pause held nobody");
    scenario.apply(&json!({}), &require)?;
    scenario.fleet.wait_for_version("extra", "v1.0.0", ALL, |_| true)?;
    scenario.fleet.wait_for_version("tool", "v1.5.0", ALL, |_| true)
}
