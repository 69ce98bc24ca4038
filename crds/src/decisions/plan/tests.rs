//! Tables over the sentences of `docs/plugins.md` on selection and dependencies, and properties.

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
        reason::{Cause, Class, Origin, Reason, ReasonCode, Source},
        requirements::{Findings, Unchecked, Unmet},
        selection::{self, PublishedVersion},
        verdict::Verdict,
    },
    records::requirements::{NamedRequirement, PluginRequirements},
    values::{instant, name::Component, version::Version},
};

/// What one version has to say: what it dependencies, and what the cluster says to it.
#[derive(Debug, Clone, Default)]
struct Says {
    plugins: PluginRequirements,
    findings: Findings,
    broken: bool,
}

/// A small world: what is published, installed, requested and judged.
#[derive(Debug, Clone, Default)]
struct World {
    published: BTreeMap<Component, BTreeMap<String, Says>>,
    snapshot: Snapshot,
    /// By plugin, or by plugin and version: what the verdict has against it.
    verdicts: BTreeMap<String, ReasonCode>,
    /// There are records: all is known from the start.
    recorded: bool,
}

/// A cause of this code, set by policy `p`.
fn cause(code: ReasonCode) -> Cause {
    let by = Source::Policy { policy: "p".into(), origin: Origin::Rule(0), field: "" };
    let hour = Duration::from_hours(1);
    match code {
        ReasonCode::Denied => Cause::Denied { by, message: None },
        ReasonCode::Blocked => Cause::Blocked { by, message: None },
        ReasonCode::Soaking => {
            let first_seen = Timestamp::UNIX_EPOCH;
            Cause::Soaking { by, min_age: hour, first_seen, until: instant::after(first_seen, hour) }
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

/// `b >=2, ?c <3`: mandatory b, conditional c.
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

impl World {
    /// `a 2: b >=2, ?c; b 2 !requires Kubernetes >=9; c 1 ?unreadable; d 1 *` : what is published. After
    /// `!` comes what the cluster does not meet, after `?` without a list what cannot be checked; `*` is
    /// a broken contract; a bare name has no versions.
    fn new(published: &str) -> Self {
        let mut world = Self::default();
        for one in published.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let (head, dependencies) = one.split_once(':').unwrap_or((one, ""));
            let (head, unmet) = head.split_once('!').unwrap_or((head, ""));
            let (head, unchecked) = head.split_once('?').unwrap_or((head, ""));
            let mut words = head.split_whitespace();
            let versions = world.published.entry(name(words.next().unwrap())).or_default();
            if let Some(version) = words.next() {
                let reasons = |text: &str| vec![text.trim().to_owned()];
                let findings = Findings {
                    unmet: if unmet.is_empty() { Vec::new() } else { Unmet::recorded(&reasons(unmet)) },
                    unchecked: if unchecked.is_empty() { Vec::new() } else { Unchecked::recorded(&reasons(unchecked)) },
                    warnings: Vec::new(),
                };
                let says = Says { plugins: requirements(dependencies), findings, broken: words.next().is_some() };
                versions.insert(version.to_owned(), says);
            }
        }
        world
    }

    /// `a 1: b >=1; b ?; c 1 *`: what is installed, `?` in an unknown version, `*` with a broken contract. What
    /// is published in that version dependencies what it says there, unless it is said anew.
    fn installed(mut self, installed: &str) -> Self {
        for one in installed.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let (head, dependencies) = one.split_once(':').unwrap_or((one, ""));
            let mut words = head.split_whitespace();
            let (plugin, at) = (name(words.next().unwrap()), words.next().unwrap());
            let published = self.published.get(&plugin).and_then(|versions| versions.get(at));
            let plugins = match published {
                Some(says) if dependencies.is_empty() => says.plugins.clone(),
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

    /// `a, b@1.2, c/3`: newest, exact, major.
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

    fn but(mut self, what: &str, code: ReasonCode) -> Self {
        self.verdicts.insert(what.to_owned(), code);
        self
    }

    fn options(mut self, options: PlanOptions) -> Self {
        self.snapshot.options = options;
        self
    }

    fn evaluate(&self, question: &EvaluationRequest<'_>) -> Verdict {
        let subject = conflicts::subject(question.component, question.version, question.active);
        let reason = |cause| Reason { subject: Arc::clone(&subject), cause };
        let unmet = question.unmet.iter().map(|unmet| reason(Cause::Unmet(unmet.clone())));
        let keys = [question.component.to_string(), format!("{} {}", question.component, question.version)];
        let by_policy = keys.iter().filter_map(|key| self.verdicts.get(key)).map(|code| reason(cause(*code)));
        Verdict::new(unmet.chain(by_policy).collect())
    }

    fn listing(&self, plugin: &Component) -> selection::TagList {
        let tags = self.published.get(plugin).into_iter().flat_map(BTreeMap::keys).map(|tag| version(tag).to_string());
        selection::read_tags(plugin, tags, None)
    }

    fn offer(&self, plugin: &Component, wanted: &Version) -> Result<VersionFacts, String> {
        let (_, says) = self.published[plugin].iter().find(|(tag, _)| version(tag) == *wanted).unwrap();
        if says.broken {
            return Err(format!("the contract of {plugin} {wanted} is not valid"));
        }
        Ok(VersionFacts { findings: says.findings.clone(), dependencies: Dependencies::read(&says.plugins).unwrap() })
    }

    fn learn(&self, knowledge: &mut KnownFacts, need: &FactRequest) {
        match need {
            FactRequest::Tags(plugin) => knowledge.insert_tags(plugin.clone(), Ok(self.listing(plugin))),
            FactRequest::Contract { component: name, published } => {
                let offer = self.offer(name, &published.version);
                knowledge.insert_version(name.clone(), published.version.clone(), offer);
            }
        }
    }

    /// Everything there is to know.
    fn all(&self) -> KnownFacts {
        let mut knowledge = KnownFacts::default();
        for plugin in self.published.keys() {
            let listing = self.listing(plugin);
            for published in &listing.published {
                self.learn(
                    &mut knowledge,
                    &FactRequest::Contract { component: plugin.clone(), published: published.clone() },
                );
            }
            knowledge.insert_tags(plugin.clone(), Ok(listing));
        }
        knowledge
    }

    /// Plans, learning what is asked for and no more; and what was asked for, round by round.
    fn plan_lazily(&self) -> (Plan, Vec<Vec<String>>) {
        let mut knowledge = KnownFacts::default();
        let mut asked = Vec::new();
        loop {
            match plan(&self.snapshot, &knowledge, &|q: &EvaluationRequest<'_>| self.evaluate(q)) {
                PlanStep::Done(plan) => return (plan, asked),
                PlanStep::Fetch(needs) => {
                    assert!(!needs.is_empty() && asked.len() < 1000);
                    for need in &needs {
                        assert!(!knowledge.contains(need), "{need:?} is known");
                        self.learn(&mut knowledge, need);
                    }
                    asked.push(needs.iter().map(shown_need).collect());
                }
            }
        }
    }

    fn plan(&self) -> Plan {
        let (lazy, _) = self.plan_lazily();
        let mut all = self.all();
        for need in self.published.values().flat_map(BTreeMap::values).flat_map(|says| {
            says.plugins.mandatory.iter().chain(&says.plugins.conditional).map(|wanted| name(&wanted.name))
        }) {
            all.tags.entry(need.clone()).or_insert_with(|| Ok(self.listing(&need)));
        }
        for requested in self.snapshot.requests.keys() {
            all.tags.entry(requested.clone()).or_insert_with(|| Ok(self.listing(requested)));
        }
        let PlanStep::Done(full) = plan(&self.snapshot, &all, &|q: &EvaluationRequest<'_>| self.evaluate(q)) else {
            panic!("everything is known")
        };
        assert_eq!(full.changes, lazy.changes, "what is known beyond need changes nothing");
        if self.recorded { full } else { lazy }
    }

    /// The plan in short: `b 1.0.0 -> 2.0.0, a -> 1.0.0`.
    fn changes(&self) -> String {
        shown_changes(&self.plan().changes)
    }

    /// Why versions were passed over, a line each.
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

fn shown_need(need: &FactRequest) -> String {
    match need {
        FactRequest::Tags(name) => name.to_string(),
        FactRequest::Contract { component: name, published } => format!("{name} {}", published.tag),
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

fn class_of(world: &World, plugin: &str) -> Option<Class> {
    world.plan().outcomes[&name(plugin)].passed_over().first().map(|(_, verdict)| verdict.class())
}
