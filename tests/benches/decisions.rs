//! How long decisions take, and how that grows: `make bench`. Rows are figures of one machine and one run;
//! what is asked of them is in the design's budgets (a verdict for 1,000 plugins under 100 policies within
//! 50 ms, a plan for 200 installed plugins within 20 ms, growth linear).

use std::{collections::BTreeMap, hint::black_box};

use d8_crds::{
    name::{Component, PluginName},
    plan::{self, Contract, Demands, Installed, Knowledge, Offer, Question, Snapshot, Step, Wish},
    policy::PluginPolicy,
    requirements::{NamedRequirement, PluginRequirements},
    select,
    verdict::{Case, Host, Intent, Judgement, PolicySet},
    version::Version,
};
use divan::{Bencher, counter::ItemsCount};
use jiff::Timestamp;
use serde_json::{Value, json};

fn main() {
    divan::main();
}

/// Policies of three kinds: for all, for one plugin each, for a family each.
fn policies(count: usize, windows: bool) -> PolicySet {
    let policies: Vec<PluginPolicy> = (0..count)
        .map(|i| {
            let rule = match i % 3 {
                0 => json!({"plugins": ["*"], "versions": ">=1.0 <2"}),
                1 => json!({"plugins": [format!("plugin-{i}")], "block": ["v1.3.1"], "versions": "^1"}),
                _ => json!({"plugins": [format!("plugin-{}*", i % 10)], "versions": ">=1.1"}),
            };
            let mut spec =
                json!({"hostSelector": {}, "rules": [rule], "defaults": {"minAge": "24h", "updates": "Auto"}});
            if windows {
                spec["windows"] =
                    json!([{"days": ["Sat", "Sun"], "start": "02:00", "duration": "3h", "timeZone": "Europe/Berlin"}]);
            }
            let policy: Value = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
                "metadata": {"name": format!("policy-{i}")}, "spec": spec});
            serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    PolicySet::new(&policies)
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

fn judge_all(bencher: Bencher<'_, '_>, plugins: usize, intent: Intent, windows: bool) {
    let (set, components, labels) = (policies(100, windows), components(plugins), BTreeMap::new());
    let (new, old) = (version("v1.3.1"), version("v1.3.0"));
    let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap_or(Timestamp::UNIX_EPOCH);
    let host = Host { id: "bastion-1", labels: &labels, new_root: false };
    bencher.counter(ItemsCount::new(plugins)).bench(|| {
        let held = components.iter().filter(|component| {
            let case = Case::new(host, component, &new, intent, now).active(Some(&old)).confirmed(Some(now));
            !set.judge(&case).is_eligible()
        });
        black_box(held.count())
    });
}

/// 100 policies, a person asks.
#[divan::bench(args = [1000, 2000, 4000])]
fn verdict_100_policies(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Intent::Update, false);
}

/// 100 policies, each with windows, the agent asks.
#[divan::bench(args = [1000, 2000, 4000])]
fn verdict_100_policies_with_windows(bencher: Bencher<'_, '_>, plugins: usize) {
    judge_all(bencher, plugins, Intent::Agent, true);
}

/// Installed plugins in chains of five, each version of one demanding the next; all move.
#[divan::bench(args = [200, 400, 800])]
fn plan_update_all(bencher: Bencher<'_, '_>, plugins: usize) {
    let mut snapshot = Snapshot::default();
    let mut knowledge = Knowledge::default();
    for i in 0..plugins {
        let demands = |constraint: &str| {
            let next = NamedRequirement { name: format!("plugin-{}", i + 1), constraint: constraint.to_owned() };
            let mandatory = if i % 5 == 4 || i + 1 == plugins { Vec::new() } else { vec![next] };
            let wanted = PluginRequirements { mandatory, ..PluginRequirements::default() };
            Demands::read(&wanted).unwrap_or_else(|error| panic!("{error}"))
        };
        let component = Component::Plugin(plugin(i));
        let installed = Installed { version: Some(version("v1.0.0")), contract: Contract::Known(demands("^1.0")) };
        snapshot.installed.insert(plugin(i), installed);
        snapshot.wishes.insert(plugin(i), Wish::Newest);
        let tags = ["v1.0.0", "v1.1.0", "v1.2.0", "v2.0.0"];
        knowledge.learn_tags(plugin(i), Ok(select::read_tags(&component, tags, None)));
        for tag in tags {
            let offer = Offer { demands: demands("^1.0"), ..Offer::default() };
            knowledge.learn_offer(plugin(i), version(tag), Ok(offer));
        }
    }
    bencher.counter(ItemsCount::new(plugins)).bench(|| {
        let step = plan::plan(&snapshot, &knowledge, &|_: &Question<'_>| Judgement::default());
        let Step::Done(plan) = step else { panic!("a fact is missing") };
        assert_eq!(plan.changes.len(), plugins);
        plan
    });
}
