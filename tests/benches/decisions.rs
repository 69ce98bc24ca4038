//! How long decisions take, and how that grows with the input: `make bench`.
//!
//! Budgets on the reference machine (two cores): a verdict for 1,000 plugins under 100 policies takes less than
//! 15 ms in every mix, a plan for 200 installed plugins less than 20 ms. Both grow linearly. For `d8 policy diff` of one
//! edited policy among 100 on hosts with 60 plugins each, group `diff` prints the times and the growth; for
//! `d8 fleet status` of hosts with 20 plugins each, group `fleet` does. The budget of both is two seconds for 10,000 hosts.

#[path = "decisions/diff.rs"]
mod diff;
#[path = "decisions/fleet.rs"]
mod fleet;

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        intent::Intent,
        plan::{
            self, Dependencies, EvaluationRequest, InstalledComponent, InstalledContract, KnownFacts, PlanStep,
            Request, Snapshot, VersionFacts,
        },
        selection,
        verdict::{Candidate, Host, PolicySet, Verdict},
    },
    records::{
        policy::PluginPolicy,
        release::CliRelease,
        requirements::{NamedRequirement, PluginRequirements},
    },
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};
use divan::{Bencher, counter::ItemsCount};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    divan::main();
    // A filter on the command line may be for other groups.
    let is_wanted = |group: &str| std::env::args().skip(1).all(|arg| arg.starts_with('-') || group.contains(&arg));
    if is_wanted("diff") {
        diff::print_growth();
    }
    if is_wanted("fleet") {
        fleet::print_growth();
    }
}

/// Which gates of the policies bind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// None: every version is eligible.
    Eligible,
    /// minAge, without records.
    NoRecords,
    /// minAge that the version has not reached.
    Soak,
    /// Closed windows. The version has reached minAge.
    Windows,
    /// Waves that have not reached the host. The version has reached minAge.
    Waves,
}

/// Policies of three kinds: for every plugin, for one plugin, for a name pattern. Each has its own values.
fn policies(count: usize, mix: Mix) -> PolicySet {
    let policies: Vec<PluginPolicy> = (0..count)
        .map(|i| {
            let rule = match i % 3 {
                0 => json!({"plugins": ["*"], "versions": ">=1.0 <2"}),
                1 => json!({"plugins": [format!("plugin-{i}")], "block": ["v1.3.2"], "versions": "^1"}),
                _ => json!({"plugins": [format!("plugin-{}*", i % 10)], "versions": ">=1.1"}),
            };
            let soak = match mix {
                Mix::Soak => 240,
                Mix::Waves => 67,
                Mix::Eligible | Mix::NoRecords | Mix::Windows => 24,
            };
            let mut spec = json!({"hostSelector": {}, "rules": [rule],
                "defaults": {"minAge": format!("{}h", soak + i), "updates": "Auto"}});
            match mix {
                Mix::Windows => {
                    spec["windows"] = json!([{"days": ["Sat", "Sun"], "start": format!("02:{:02}", i % 60),
                        "duration": "3h", "timeZone": "Europe/Berlin"}]);
                }
                Mix::Waves => spec["rollout"] = json!({"over": format!("{}h", 500 + i)}),
                Mix::Eligible | Mix::NoRecords | Mix::Soak => {}
            }
            let policy: Value = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
                "metadata": {"name": format!("policy-{i}")}, "spec": spec});
            serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    PolicySet::new(&policies)
}

/// Returns a record of twenty versions that were first seen a week ago.
fn record() -> CliRelease {
    let digest = format!("sha256:{}", "a".repeat(64));
    let versions: Vec<Value> = (0..20)
        .map(|i| {
            json!({"version": format!("v1.{}.{}", 3 - i / 7, 6 - i % 7), "digest": digest,
                "firstSeen": "2026-11-15T12:00:00Z", "fit": "Fits"})
        })
        .collect();
    let record = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease",
        "metadata": {"name": "any"}, "spec": {},
        "status": {"lastSyncTime": "2026-11-22T11:30:00Z", "versions": versions}});
    serde_json::from_value(record).unwrap_or_else(|error| panic!("{error}"))
}

fn components(count: usize) -> Vec<Component> {
    (0..count).map(|i| Component::Plugin(plugin(i))).collect()
}

fn plugin(i: usize) -> PluginName {
    format!("plugin-{i}").parse().unwrap_or_else(|error| panic!("{error}"))
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

fn judge_all(bencher: Bencher<'_, '_>, plugins: usize, mix: Mix) {
    let (set, components, labels) = (policies(100, mix), components(plugins), BTreeMap::new());
    let (new, old) = (version("v1.3.1"), version("v1.3.0"));
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let record = (mix != Mix::NoRecords).then(record);
    let host = Host::unattended("bastion-1", &labels, None);
    bencher.counter(ItemsCount::new(plugins)).bench(|| {
        let policies = set.for_host(host);
        let eligible = components.iter().filter(|component| {
            let case =
                Candidate::new(host, component, &new, Intent::Agent, now).active(Some(&old)).confirmed(Some(now));
            policies.evaluate(&case.release(record.as_ref())).is_eligible()
        });
        assert_eq!(eligible.count() > plugins / 20, mix == Mix::Eligible);
    });
}

/// 100 policies, intent A, no gate binds.
#[divan::bench(args = [1000, 2000, 4000], sample_count = 30)]
fn verdict_eligible(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Mix::Eligible);
}

/// 100 policies, each needs a record that does not exist.
#[divan::bench(args = [1000, 2000, 4000], sample_count = 30)]
fn verdict_no_records(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Mix::NoRecords);
}

/// 100 policies, each holds the version by minAge.
#[divan::bench(args = [1000, 2000, 4000], sample_count = 30)]
fn verdict_soak(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Mix::Soak);
}

/// 100 policies, each with closed windows.
#[divan::bench(args = [1000, 2000, 4000], sample_count = 30)]
fn verdict_windows(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Mix::Windows);
}

/// 100 policies, each with a wave that has not reached the host.
#[divan::bench(args = [1000, 2000, 4000], sample_count = 30)]
fn verdict_waves(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Mix::Waves);
}

/// Installed plugins in chains of five: each version needs the next plugin of its chain. All are updated.
#[divan::bench(args = [200, 400, 800])]
fn plan_update_all(bencher: Bencher<'_, '_>, plugins: usize) {
    let mut snapshot = Snapshot::default();
    let mut knowledge = KnownFacts::default();
    for i in 0..plugins {
        let demands = |constraint: &str| {
            let next = NamedRequirement { name: format!("plugin-{}", i + 1), constraint: constraint.to_owned() };
            let mandatory = if i % 5 == 4 || i + 1 == plugins { Vec::new() } else { vec![next] };
            let wanted = PluginRequirements { mandatory, ..PluginRequirements::default() };
            Dependencies::read(&wanted).unwrap_or_else(|error| panic!("{error}"))
        };
        let component = Component::Plugin(plugin(i));
        let installed = InstalledComponent {
            version: Some(version("v1.0.0")),
            contract: InstalledContract::Known(demands("^1.0")),
        };
        snapshot.installed.insert(component.clone(), installed);
        snapshot.requests.insert(component.clone(), Request::Newest);
        let tags = ["v1.0.0", "v1.1.0", "v1.2.0", "v2.0.0"];
        knowledge.insert_tags(component.clone(), Ok(selection::read_tags(&component, tags, None)));
        for tag in tags {
            let offer = VersionFacts { dependencies: demands("^1.0"), ..VersionFacts::default() };
            knowledge.insert_version(component.clone(), version(tag), Ok(offer));
        }
    }
    bencher.counter(ItemsCount::new(plugins)).bench(|| {
        let step = plan::plan(&snapshot, &knowledge, &|_: &EvaluationRequest<'_>| Verdict::default());
        let PlanStep::Done(plan) = step else { panic!("a fact is missing") };
        assert_eq!(plan.changes.len(), plugins);
        plan
    });
}
