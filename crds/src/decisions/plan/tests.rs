//! Tables for the rules of `docs/plugins.md` on selection and dependencies, and properties of every plan.

mod choice;
mod dependencies;
mod hostile;
mod properties;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    decisions::{
        explain,
        reason::{Cause, Class, Field, Origin, Reason, ReasonCode, Source},
        requirements::{Findings, Unchecked, Unmet},
        selection::{self, PublishedVersion},
        verdict::Verdict,
    },
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{name::Component, version::Version},
};

/// The contract of a published version.
#[derive(Debug, Clone, Default)]
struct PublishedContract {
    plugins: PluginRequirements,
    /// The result of checking it against the cluster.
    findings: Findings,
    /// Whether its contract is invalid.
    invalid: bool,
}

/// A registry, a host and its policies.
#[derive(Debug, Clone, Default)]
struct PlanFixture {
    published: BTreeMap<Component, BTreeMap<String, PublishedContract>>,
    snapshot: Snapshot,
    /// What policies have against a plugin (`a`), or against one of its versions (`a v1.0.0`).
    verdicts: BTreeMap<String, ReasonCode>,
    /// Whether all facts are known from the start, as they are from records.
    recorded: bool,
}

/// Returns a cause with this code, set by policy `p`.
fn cause(code: ReasonCode) -> Cause {
    let by = Source::Policy { policy: "p".into(), origin: Origin::Rule(0), field: None };
    let hour = Duration::from_hours(1);
    match code {
        ReasonCode::Denied => Cause::Denied { by, message: None },
        ReasonCode::Blocked => Cause::Blocked { by, range: None, same_layer_as: None, message: None },
        ReasonCode::Soaking => {
            let first_seen = Timestamp::UNIX_EPOCH;
            Cause::Soaking { by, min_age: hour, first_seen, expedited: false }
        }
        ReasonCode::NotInWave => Cause::NotInWave { by, over: hour, until: None },
        other => panic!("no cause for {other}"),
    }
}

fn name(text: &str) -> Component {
    text.parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Reads requirements on plugins: `b >=2, ?c <3` is a mandatory one on b and a conditional one on c.
fn requirements(text: &str) -> PluginRequirements {
    let mut plugins = PluginRequirements::default();
    for one in text.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let (list, one) = match one.strip_prefix('?') {
            Some(one) => (&mut plugins.conditional, one),
            None => (&mut plugins.mandatory, one),
        };
        let (name, constraint) = one.split_once(' ').unwrap_or((one, ""));
        list.push(NamedRequirement { name: name.to_owned(), constraint: constraint.to_owned() });
    }
    plugins
}

impl PlanFixture {
    /// Reads what is published: `a 2: b >=2, ?c; b 2 !requires Kubernetes >=9; c 1 ?unreadable; d 1 *; e`.
    /// After `:` come requirements on plugins, after `!` a requirement that the cluster does not meet, after
    /// `?` one that cannot be checked. `*` is an invalid contract. A name alone has no versions.
    fn new(published: &str) -> Self {
        let mut fixture = Self::default();
        for one in published.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let (head, dependencies) = one.split_once(':').unwrap_or((one, ""));
            let (head, unmet) = head.split_once('!').unwrap_or((head, ""));
            let (head, unchecked) = head.split_once('?').unwrap_or((head, ""));
            let mut words = head.split_whitespace();
            let versions = fixture.published.entry(name(words.next().unwrap())).or_default();
            if let Some(version) = words.next() {
                let reasons = |text: &str| vec![text.trim().to_owned()];
                let findings = Findings {
                    unmet: if unmet.is_empty() { Vec::new() } else { Unmet::recorded(&reasons(unmet)) },
                    unchecked: if unchecked.is_empty() { Vec::new() } else { Unchecked::recorded(&reasons(unchecked)) },
                    warnings: Vec::new(),
                };
                let invalid = words.next().is_some();
                let contract = PublishedContract { plugins: requirements(dependencies), findings, invalid };
                versions.insert(version.to_owned(), contract);
            }
        }
        fixture
    }

    /// Reads what is installed: `a 1: b >=1; b ?; c 1 *`. `?` is an unknown version, `*` an invalid contract.
    /// Without requirements, those of the published version apply.
    fn installed(mut self, installed: &str) -> Self {
        for one in installed.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let (head, dependencies) = one.split_once(':').unwrap_or((one, ""));
            let mut words = head.split_whitespace();
            let (plugin, at) = (name(words.next().unwrap()), words.next().unwrap());
            let published = self.published.get(&plugin).and_then(|versions| versions.get(at));
            let plugins = match published {
                Some(contract) if dependencies.is_empty() => contract.plugins.clone(),
                _ => requirements(dependencies),
            };
            let contract = match words.next() {
                Some(_) => InstalledContract::Unreadable("it is empty".to_owned()),
                None => InstalledContract::Known(Dependencies::read(&plugins).unwrap()),
            };
            let installed = InstalledComponent { version: (at != "?").then(|| version(at)), contract };
            self.snapshot.installed.insert(plugin, installed);
        }
        self
    }

    /// Reads requests: `a, b@1.2, c/3` are for the newest, an exact version, and a major.
    fn request(mut self, requests: &str) -> Self {
        for one in requests.split(',').map(str::trim) {
            let (plugin, request) = match (one.split_once('@'), one.split_once('/')) {
                (Some((plugin, exact)), _) => (plugin, Request::Exact(version(exact))),
                (_, Some((plugin, major))) => (plugin, Request::Major(major.parse().unwrap())),
                _ => (one, Request::Newest),
            };
            self.snapshot.requests.insert(name(plugin), request);
        }
        self
    }

    /// Adds a reason against a plugin (`a`) or one of its versions (`a v1.0.0`).
    fn rejects(mut self, what: &str, code: ReasonCode) -> Self {
        self.verdicts.insert(what.to_owned(), code);
        self
    }

    fn options(mut self, options: PlanOptions) -> Self {
        self.snapshot.options = options;
        self
    }

    fn evaluate(&self, request: &EvaluationRequest<'_>) -> Verdict {
        let subject = conflicts::subject(request.component, request.version, request.active);
        let reason = |cause| Reason { subject: Arc::clone(&subject), cause };
        let unmet = request.unmet.iter().map(|unmet| reason(Cause::Unmet(Box::new(unmet.clone()))));
        let unchecked = request.unchecked.iter().map(|unchecked| reason(Cause::Unchecked(Box::new(unchecked.clone()))));
        let keys = [request.component.to_string(), format!("{} {}", request.component, request.version)];
        let by_policy = keys.iter().filter_map(|key| self.verdicts.get(key)).map(|code| reason(cause(*code)));
        Verdict::new(unmet.chain(unchecked).chain(by_policy).collect())
    }

    fn tags(&self, plugin: &Component) -> selection::TagList {
        let tags = self.published.get(plugin).into_iter().flat_map(BTreeMap::keys).map(|tag| version(tag).to_string());
        selection::read_tags(plugin, tags, None)
    }

    fn facts(&self, plugin: &Component, wanted: &Version) -> Result<VersionFacts, String> {
        let (_, contract) = self.published[plugin].iter().find(|(tag, _)| version(tag) == *wanted).unwrap();
        if contract.invalid {
            return Err(format!("the contract of {plugin} {wanted} is not valid"));
        }
        let dependencies = Dependencies::read(&contract.plugins).unwrap();
        Ok(VersionFacts { findings: contract.findings.clone(), dependencies })
    }

    fn fetch(&self, known: &mut KnownFacts, request: &FactRequest) {
        match request {
            FactRequest::Tags(component) => known.insert_tags(component.clone(), Ok(self.tags(component))),
            FactRequest::Contract { component, published } => {
                let facts = self.facts(component, &published.version);
                known.insert_version(component.clone(), published.version.clone(), facts);
            }
        }
    }

    /// Returns the facts about everything that is published.
    fn all_facts(&self) -> KnownFacts {
        let mut known = KnownFacts::default();
        for component in self.published.keys() {
            let tags = self.tags(component);
            for published in tags.published.iter().cloned() {
                self.fetch(&mut known, &FactRequest::Contract { component: component.clone(), published });
            }
            known.insert_tags(component.clone(), Ok(tags));
        }
        known
    }

    /// Plans with the facts that the planner requests and no others. Returns the requests too, round by round.
    fn plan_lazily(&self) -> (Plan, Vec<Vec<String>>) {
        let mut known = KnownFacts::default();
        let mut rounds = Vec::new();
        loop {
            match plan(&self.snapshot, &known, &|request: &EvaluationRequest<'_>| self.evaluate(request)) {
                PlanStep::Done(plan) => return (plan, rounds),
                PlanStep::Fetch(requests) => {
                    assert!(!requests.is_empty() && rounds.len() < 1000);
                    for request in &requests {
                        assert!(!known.contains(request), "{request:?} is known");
                        self.fetch(&mut known, request);
                    }
                    rounds.push(requests.iter().map(shown_request).collect());
                }
            }
        }
    }

    fn plan(&self) -> Plan {
        let (lazy, _) = self.plan_lazily();
        let mut all = self.all_facts();
        let contracts = self.published.values().flat_map(BTreeMap::values);
        let required = contracts
            .flat_map(|contract| contract.plugins.mandatory.iter().chain(&contract.plugins.conditional))
            .map(|required| name(&required.name));
        for component in required.chain(self.snapshot.requests.keys().cloned()) {
            all.tags.entry(component.clone()).or_insert_with(|| Ok(self.tags(&component)));
        }
        let evaluator = |request: &EvaluationRequest<'_>| self.evaluate(request);
        let PlanStep::Done(full) = plan(&self.snapshot, &all, &evaluator) else { panic!("all facts are known") };
        assert_eq!(full.changes, lazy.changes, "facts that were not requested change nothing");
        if self.recorded { full } else { lazy }
    }

    /// Returns the changes in short: `b 1->2, a 1`.
    fn changes(&self) -> String {
        shown_changes(&self.plan().changes)
    }

    /// Returns why versions were passed over, a line for each reason.
    fn reasons(&self, plugin: &str) -> String {
        let plan = self.plan();
        let mut lines = String::new();
        let outcome = &plan.outcomes[&name(plugin)];
        let refused = match outcome {
            Outcome::Refused { version, verdict } => vec![(version.clone(), verdict.clone())],
            _ => Vec::new(),
        };
        for (published, verdict) in outcome.passed_over().iter().chain(&refused) {
            for reason in verdict.reasons() {
                let _ = writeln!(lines, "{}: {}: {}", published.tag, reason.code(), explain::in_record(reason));
            }
        }
        lines
    }
}

fn shown_request(request: &FactRequest) -> String {
    match request {
        FactRequest::Tags(component) => component.to_string(),
        FactRequest::Contract { component, published } => format!("{component} {}", published.tag),
    }
}

fn bare(version: &Version) -> String {
    version.to_string().trim_start_matches('v').trim_end_matches(".0.0").to_owned()
}

fn shown_changes(changes: &[PlannedChange]) -> String {
    let one = |change: &PlannedChange| match &change.from {
        PreviousVersion::Nothing => format!("{} {}", change.component, bare(&change.to.version)),
        PreviousVersion::Unknown => format!("{} ?->{}", change.component, bare(&change.to.version)),
        PreviousVersion::Version(from) => format!("{} {}->{}", change.component, bare(from), bare(&change.to.version)),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn class_of(fixture: &PlanFixture, plugin: &str) -> Option<Class> {
    fixture.plan().outcomes[&name(plugin)].passed_over().first().map(|(_, verdict)| verdict.class())
}
