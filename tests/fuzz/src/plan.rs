//! Small worlds of plugins that need each other, and a plan for them.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        plan::{
            Actor, ChangeReason, Contract, Dependencies, EvaluationRequest, Evaluator, Installed, Knowledge,
            MissingPolicy, Need, Options, Outcome, Plan, Request, Snapshot, Step, VersionFacts, plan as make,
        },
        requirements::Findings,
        selection::read_tags,
        verdict::Verdict,
    },
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{
        channel::Channel,
        name::{Component, PluginName},
        version::Version,
    },
};

use crate::input::{Input, shown};

const NAMES: &[&str] = &["a", "b", "c", "d", "my_plugin", "never-published"];
const TAGS: &[&str] = &[
    "v1.0.0",
    "v1.1.0",
    "1.1.0",
    "v1.2.0-rc.1",
    "v1.2.0-main",
    "v2.0.0",
    "v2.0.0-linux-amd64",
    "v18446744073709551615.18446744073709551615.18446744073709551615",
    "v0.0.0-0",
    "latest",
];
const CONSTRAINTS: &[&str] =
    &["", "*", ">=1.1", "<1.1", "=1.0.0", "^1", "~2", ">=2 || <1", "!=1.1.0", ">18446744073709551614", "1.0.0 - 2"];

/// More rounds of questions than the facts of the largest world here.
const ROUNDS: usize = 500;

struct World<'a> {
    input: Input<'a>,
    tags: BTreeMap<PluginName, Vec<&'static str>>,
}

fn name(text: &str) -> PluginName {
    text.parse().expect("a name")
}

impl World<'_> {
    fn dependencies(&mut self) -> PluginRequirements {
        let mut plugins = PluginRequirements::default();
        for _ in 0..self.input.number(4) {
            let wanted = NamedRequirement {
                name: if self.input.rarely(50) { self.input.text() } else { (*self.input.pick(NAMES)).to_owned() },
                constraint: if self.input.rarely(20) {
                    self.input.text()
                } else {
                    (*self.input.pick(CONSTRAINTS)).to_owned()
                },
            };
            let conditional = self.input.rarely(3);
            if conditional { &mut plugins.conditional } else { &mut plugins.mandatory }.push(wanted);
        }
        plugins
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for text in NAMES {
            let count = self.input.number(5);
            let tags = (0..count).map(|_| *self.input.pick(TAGS)).collect();
            self.tags.insert(name(text), tags);
            if self.input.rarely(3) {
                let version = self.input.pick(TAGS).parse::<Version>().ok();
                let contract = match Dependencies::read(&self.dependencies()) {
                    Ok(dependencies) => Contract::Known(dependencies),
                    Err(error) => Contract::Unreadable(error.to_string()),
                };
                snapshot.installed.insert(name(text), Installed { version, contract });
            }
            let wish = match self.input.number(8) {
                0 => Request::Newest,
                1 => Request::NewestOfAll,
                2 => Request::Major(if self.input.rarely(4) { u64::MAX } else { self.input.number(3) as u64 }),
                3 => match self.input.pick(TAGS).parse() {
                    Ok(version) => Request::Exact(version),
                    Err(_) => continue,
                },
                _ => continue,
            };
            snapshot.requests.insert(name(text), wish);
        }
        snapshot.options = Options {
            actor: if self.input.rarely(3) { Actor::Agent } else { Actor::Person },
            missing: if self.input.rarely(5) {
                MissingPolicy::Refuse { policy: "p".to_owned() }
            } else {
                MissingPolicy::Install
            },
            no_dependencies: self.input.rarely(6),
        };
        snapshot
    }

    fn learn(&mut self, knowledge: &mut Knowledge, need: Need) {
        match need {
            Need::Tags(name) if self.input.rarely(20) => knowledge.learn_tags(name, Err("away".to_owned())),
            Need::Tags(name) => {
                let component = Component::Plugin(name.clone());
                let listing = read_tags(&component, self.tags.get(&name).into_iter().flatten(), None);
                knowledge.learn_tags(name, Ok(listing));
            }
            Need::Contract { name, published } => {
                let offer =
                    Dependencies::read(&self.dependencies()).map_err(|error| error.to_string()).map(|dependencies| {
                        VersionFacts {
                            findings: Findings {
                                unmet: if self.input.rarely(6) {
                                    vec!["requires Kubernetes".to_owned()]
                                } else {
                                    Vec::new()
                                },
                                unchecked: if self.input.rarely(20) {
                                    vec!["could not".to_owned()]
                                } else {
                                    Vec::new()
                                },
                                warnings: Vec::new(),
                            },
                            dependencies,
                        }
                    });
                knowledge.learn_offer(name, published.version, offer);
            }
        }
    }
}

/// Judges all alike, and takes pre-releases into account for some.
struct Lenient(bool);

impl Evaluator for Lenient {
    fn judge(&self, _: &EvaluationRequest<'_>) -> Verdict {
        Verdict::default()
    }

    fn channel(&self, _: &PluginName) -> Channel {
        if self.0 { Channel::Prerelease } else { Channel::Stable }
    }
}

pub(crate) fn plan(data: &[u8]) {
    let mut world = World { input: Input::new(data), tags: BTreeMap::new() };
    let judge = Lenient(world.input.rarely(3));
    let snapshot = world.snapshot();
    let mut knowledge = Knowledge::default();
    for _ in 0..ROUNDS {
        match make(&snapshot, &knowledge, &judge) {
            Step::Need(needs) => {
                assert!(!needs.is_empty());
                for need in needs {
                    assert!(!knowledge.knows(&need), "asked again for {need:?}");
                    world.learn(&mut knowledge, need);
                }
            }
            Step::Done(plan) => {
                assert_eq!(make(&snapshot, &knowledge, &judge), Step::Done(plan.clone()));
                return sound(&snapshot, &knowledge, &plan);
            }
        }
    }
    panic!("no plan after {ROUNDS} rounds");
}

fn sound(snapshot: &Snapshot, knowledge: &Knowledge, plan: &Plan) {
    assert!(plan.outcomes.keys().eq(snapshot.requests.keys()), "an outcome for every wish");
    let mut after: BTreeMap<&PluginName, &Version> = BTreeMap::new();
    for (name, installed) in &snapshot.installed {
        after.extend(installed.version.as_ref().map(|version| (name, version)));
    }
    let mut changed = BTreeSet::new();
    for change in &plan.changes {
        assert!(changed.insert(&change.name), "{} twice", change.name);
        after.insert(&change.name, &change.to.version);
        change.warnings.iter().for_each(|warning| shown(warning));
        if let ChangeReason::Dependency { chain } = &change.why {
            assert!(chain.len() > 1 && chain.last() == Some(&change.name));
        }
    }
    for change in &plan.changes {
        let Some(Ok(offer)) = knowledge.offers.get(&change.name).and_then(|offers| offers.get(&change.to.version))
        else {
            panic!("{} is taken without a look at its contract", change.name)
        };
        for demand in offer.dependencies.all() {
            match after.get(&demand.name) {
                Some(version) => assert!(demand.constraint.matches(version), "{} and {}", change.name, demand.name),
                None => assert!(!demand.mandatory || snapshot.installed.contains_key(&demand.name)),
            }
        }
    }
    for outcome in plan.outcomes.values() {
        match outcome {
            Outcome::Stopped(stop) => shown(&stop.to_string()),
            Outcome::NotPublished(error) => shown(&error.to_string()),
            Outcome::Refused { judgement, .. } => judgement.reasons().iter().for_each(|reason| shown(&reason.message)),
            _ => {}
        }
        for (_, judgement) in outcome.passed_over() {
            judgement.reasons().iter().for_each(|reason| shown(&reason.message));
        }
        outcome.fixes().iter().for_each(|(_, command)| shown(command));
    }
}
