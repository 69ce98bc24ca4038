//! Plans for small sets of plugins that depend on each other.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        explain,
        plan::{
            Actor, ChangeReason, Dependencies, DependencyPolicy, EvaluationRequest, Evaluator, FactRequest,
            InstalledComponent, InstalledContract, KnownFacts, Obstacle, Outcome, Plan, PlanOptions, PlanStep, Request,
            Snapshot, VersionFacts, plan as make,
        },
        reason::{Field, Origin, Source},
        requirements::{Findings, Unchecked, Unmet},
        selection::read_tags,
        verdict::Verdict,
    },
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{channel::Channel, name::Component, version::Version},
};

use crate::input::{Input, assert_printable};

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

/// Limit of planning rounds. It exceeds the number of facts that the planner can request.
const ROUNDS: usize = 500;

struct World<'a> {
    input: Input<'a>,
    tags: BTreeMap<Component, Vec<&'static str>>,
}

fn name(text: &str) -> Component {
    text.parse().expect("a name")
}

impl World<'_> {
    fn dependencies(&mut self) -> PluginRequirements {
        let mut plugins = PluginRequirements::default();
        for _ in 0..self.input.number(4) {
            let wanted = NamedRequirement {
                name: if self.input.once_in(50) { self.input.text() } else { (*self.input.pick(NAMES)).to_owned() },
                constraint: if self.input.once_in(20) {
                    self.input.text()
                } else {
                    (*self.input.pick(CONSTRAINTS)).to_owned()
                },
            };
            let conditional = self.input.once_in(3);
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
            if self.input.once_in(3) {
                let version = self.input.pick(TAGS).parse::<Version>().ok();
                let contract = match Dependencies::read(&self.dependencies()) {
                    Ok(dependencies) => InstalledContract::Known(dependencies),
                    Err(error) => InstalledContract::Unreadable(error.to_string()),
                };
                snapshot.installed.insert(name(text), InstalledComponent { version, contract });
            }
            let request = match self.input.number(8) {
                0 => Request::Newest,
                1 => Request::NewestOfAll,
                2 => Request::Major(if self.input.once_in(4) { u64::MAX } else { self.input.number(3) as u64 }),
                3 => match self.input.pick(TAGS).parse() {
                    Ok(version) => Request::Exact(version),
                    Err(_) => continue,
                },
                _ => continue,
            };
            snapshot.requests.insert(name(text), request);
        }
        snapshot.options = PlanOptions {
            actor: if self.input.once_in(3) { Actor::Agent } else { Actor::Person },
            missing: if self.input.once_in(5) {
                let origin = Origin::Spec(Field::MissingDependencies);
                DependencyPolicy::Refuse { by: Source::Policy { policy: "p".into(), origin, field: None } }
            } else {
                DependencyPolicy::Install
            },
            no_dependencies: self.input.once_in(6),
        };
        snapshot
    }

    fn learn(&mut self, known: &mut KnownFacts, request: FactRequest) {
        match request {
            FactRequest::Tags(component) if self.input.once_in(20) => {
                known.insert_tags(component, Err("unreachable".to_owned()));
            }
            FactRequest::Tags(component) => {
                let list = read_tags(&component, self.tags.get(&component).into_iter().flatten(), None);
                known.insert_tags(component, Ok(list));
            }
            FactRequest::Contract { component, published } => {
                let offer =
                    Dependencies::read(&self.dependencies()).map_err(|error| error.to_string()).map(|dependencies| {
                        VersionFacts {
                            findings: Findings {
                                unmet: if self.input.once_in(6) {
                                    Unmet::recorded(&["requires Kubernetes".to_owned()])
                                } else {
                                    Vec::new()
                                },
                                unchecked: if self.input.once_in(20) {
                                    Unchecked::recorded(&["could not".to_owned()])
                                } else {
                                    Vec::new()
                                },
                                warnings: Vec::new(),
                            },
                            dependencies,
                        }
                    });
                known.insert_version(component, published.version, offer);
            }
        }
    }
}

/// Finds every version eligible. The flag permits pre-releases.
struct PermissiveEvaluator {
    prereleases: bool,
}

impl Evaluator for PermissiveEvaluator {
    fn evaluate(&self, _: &EvaluationRequest<'_>) -> Verdict {
        Verdict::default()
    }

    fn channel(&self, _: &Component) -> Channel {
        if self.prereleases { Channel::Prerelease } else { Channel::Stable }
    }
}

pub(crate) fn plan(data: &[u8]) {
    let mut world = World { input: Input::new(data), tags: BTreeMap::new() };
    let evaluator = PermissiveEvaluator { prereleases: world.input.once_in(3) };
    let snapshot = world.snapshot();
    let mut known = KnownFacts::default();
    for _ in 0..ROUNDS {
        match make(&snapshot, &known, &evaluator) {
            PlanStep::Fetch(needs) => {
                assert!(!needs.is_empty());
                for need in needs {
                    assert!(!known.contains(&need), "requested again: {need:?}");
                    world.learn(&mut known, need);
                }
            }
            PlanStep::Done(plan) => {
                assert_eq!(make(&snapshot, &known, &evaluator), PlanStep::Done(plan.clone()));
                return check_plan(&snapshot, &known, &plan);
            }
        }
    }
    panic!("no plan after {ROUNDS} rounds");
}

fn check_plan(snapshot: &Snapshot, known: &KnownFacts, plan: &Plan) {
    assert!(plan.outcomes.keys().eq(snapshot.requests.keys()), "every request has an outcome");
    let mut after: BTreeMap<&Component, &Version> = BTreeMap::new();
    for (name, installed) in &snapshot.installed {
        after.extend(installed.version.as_ref().map(|version| (name, version)));
    }
    let mut changed = BTreeSet::new();
    for change in &plan.changes {
        assert!(changed.insert(&change.component), "{} changes twice", change.component);
        after.insert(&change.component, &change.to.version);
        change.warnings.iter().for_each(|warning| assert_printable(&explain::warning(warning)));
        if let ChangeReason::Dependency { chain } = &change.why {
            assert!(chain.len() > 1 && chain.last() == Some(&change.component));
        }
    }
    for change in &plan.changes {
        let Some(Ok(offer)) = known.versions.get(&change.component).and_then(|offers| offers.get(&change.to.version))
        else {
            panic!("the contract of {} is unknown", change.component)
        };
        for demand in offer.dependencies.all() {
            match after.get(&demand.component) {
                Some(version) => {
                    assert!(demand.constraint.matches(version), "{} and {}", change.component, demand.component);
                }
                None => assert!(!demand.mandatory || snapshot.installed.contains_key(&demand.component)),
            }
        }
    }
    for outcome in plan.outcomes.values() {
        match outcome {
            Outcome::Stopped(stop) => assert_printable(&stop.to_string()),
            Outcome::NotPublished(error) => assert_printable(&error.to_string()),
            Outcome::Refused { verdict, .. } | Outcome::Incomplete { obstacle: Obstacle::Refused(verdict), .. } => {
                verdict.reasons().iter().for_each(|reason| assert_printable(&explain::in_record(reason)));
            }
            _ => {}
        }
        for (_, judgement) in outcome.passed_over() {
            judgement.reasons().iter().for_each(|reason| assert_printable(&explain::in_record(reason)));
        }
        outcome.fixes().iter().for_each(|(_, command)| assert_printable(command));
    }
}
