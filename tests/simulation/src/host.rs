//! A host and its agent: what it has, what it plans, and what it reports.

use std::{collections::BTreeMap, rc::Rc};

use d8_agent::{
    StoreErrorKind,
    enrolled_host::TokenTimes,
    failed_changes::{self, FailedChanges},
    tick_schedule::{TickResult, TickSchedule},
};
use d8_crds::{
    decisions::{
        agent_report::{ActiveArtifact, ComponentReport, FailedAttempt, HostReport},
        intent::Intent,
        plan::{
            self, Actor, DependencyPolicy, EvaluationRequest, Evaluator as _, InstalledComponent, PlanOptions,
            PlanStep, PolicyEvaluator, Request, Snapshot, StoredDigests,
        },
        reason::Reason,
        verdict::{Host as PolicyHost, HostPolicies},
    },
    records::{
        host::{CliHost, CliHostSpec, CliHostStatus, ComponentState, ObservedPolicy, REPORT_INTERVAL},
        policy::MajorUpdates,
    },
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    cluster::{View, layer},
    time::Millis,
};

/// Generation of every `CliHost`: its spec never changes.
const GENERATION: i64 = 1;
/// Life of a token.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A host with its agent.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) labels: Rc<BTreeMap<String, String>>,
    pub(crate) is_bastion: bool,
    pub(crate) active: Version,
    /// Versions on disk, which need no download.
    stored: Vec<Version>,
    status: CliHostStatus,
    schedule: TickSchedule,
    failures: FailedChanges,
    token: TokenTimes,
    kept: Option<KeptPlan>,
    /// Number and time of the next tick.
    pub(crate) next: (u32, Millis),
    /// The change in progress.
    pub(crate) changing: Option<Change>,
    /// A policy changed during the tick.
    pub(crate) was_notified: bool,
    /// Since when the host has a watch.
    pub(crate) watches_since: Millis,
}

/// A change that every gate permits now.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) to: Version,
    /// Whether the bytes come from the proxy.
    pub(crate) downloads: bool,
    report: HostReport,
}

/// The plan of a tick.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    report: HostReport,
    change: Option<Change>,
    /// Until when the plan stays the same, if nothing but the time changes.
    ends: Option<Timestamp>,
}

/// A plan without a change, and for which state of the cluster it was made.
struct KeptPlan {
    revision: u32,
    planned: Rc<Planned>,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeResult {
    Works,
    FailsTest,
    NoProxy,
}

impl Host {
    pub(crate) fn new(name: String, labels: Rc<BTreeMap<String, String>>, active: Version) -> Self {
        let is_bastion = labels.get("role").is_some_and(|role| role == "bastion");
        Self {
            name,
            labels,
            is_bastion,
            stored: vec![active.clone()],
            active,
            status: CliHostStatus::default(),
            schedule: TickSchedule::default(),
            failures: FailedChanges::default(),
            token: TokenTimes { issued: Timestamp::UNIX_EPOCH, expires: Timestamp::UNIX_EPOCH },
            kept: None,
            next: (0, Millis::MAX),
            changing: None,
            was_notified: false,
            watches_since: 0,
        }
    }

    fn as_policies_see_it<'a>(&'a self, platform: &'a Platform) -> PolicyHost<'a> {
        let Self { name, labels, .. } = self;
        PolicyHost::unattended(name, labels, Some(platform))
    }

    /// Plans as a tick does, unless the last plan still holds: neither the cluster nor the host has changed since, and no
    /// hold has ended. Returns the plan, and whether it is new.
    pub(crate) fn plan(
        &mut self,
        view: &View,
        (component, platform): (&Component, &Platform),
        now: Timestamp,
    ) -> (Rc<Planned>, bool) {
        let holds = |kept: &&KeptPlan| kept.revision == view.revision && kept.planned.ends.is_none_or(|end| now < end);
        if let Some(kept) = self.kept.as_ref().filter(holds) {
            return (kept.planned.clone(), false);
        }
        let planned = Rc::new(self.plan_anew(view, (component, platform), now));
        self.kept = planned.change.is_none().then(|| KeptPlan { revision: view.revision, planned: planned.clone() });
        (planned, true)
    }

    /// Plans, whatever the last plan was.
    pub(crate) fn plan_anew(
        &self,
        view: &View,
        (component, platform): (&Component, &Platform),
        now: Timestamp,
    ) -> Planned {
        let host = self.as_policies_see_it(platform);
        let policies = view.policies.for_host(host);
        let names: Vec<_> = policies.policy_names().into_iter().map(str::to_owned).collect();
        let snapshot = self.snapshot(view, component, &policies);
        let digest = layer(&self.active.to_string());
        let on_disk = StoredDigests { active: vec![digest.clone()], ..StoredDigests::default() };
        let on_disk = BTreeMap::from([(component.clone(), on_disk)]);
        let evaluator = PolicyEvaluator::of_policies(policies, now, &view.records)
            .by_server(Some(now), Some(now))
            .on_disk(&on_disk);
        let PlanStep::Done(plan) = plan::plan(&snapshot, &view.known, &evaluator) else {
            panic!("all facts are known")
        };
        let Some(outcome) = plan.outcomes.get(component) else { panic!("each request has an outcome") };
        let forbidden = evaluator.active_forbidden(&self.request(component));
        let active = ActiveArtifact { version: Some(self.active.clone()), digest: Some(digest) };
        let mut report = ComponentReport::of(active, forbidden.as_ref(), outcome);
        let reasons = outcome.passed_over().iter().flat_map(|(_, verdict)| verdict.reasons());
        let ends = reasons.filter_map(Reason::until).filter(|end| *end > now).min();
        let mut ends = [ends, view.next_change_of_schedules(now)].into_iter().flatten().min();
        let change = plan.changes.iter().find(|change| change.component == *component);
        let mut to = change.map(|change| change.to.version.clone());
        if let Some((failure, until)) = to.as_ref().and_then(|to| self.failed_before(component, to, now)) {
            report = ComponentReport { until, ..report.failed(&failure) };
            ends = [ends, until].into_iter().flatten().min();
            to = None;
        }
        let report = Self::report(view, names, component, report);
        let change = to.map(|to| Change { downloads: !self.stored.contains(&to), to, report: report.clone() });
        Planned { report, change, ends }
    }

    fn failed_before(
        &self,
        component: &Component,
        to: &Version,
        now: Timestamp,
    ) -> Option<(FailedAttempt, Option<Timestamp>)> {
        self.failures.blocking(component, to, Some(&layer(&to.to_string())), now)
    }

    fn snapshot(&self, view: &View, component: &Component, policies: &HostPolicies<'_>) -> Snapshot {
        let crosses = policies.guidance(component, Some(&self.active)).major_updates == MajorUpdates::Cross;
        let request = if crosses { Request::NewestOfAll } else { Request::Newest };
        let installed = InstalledComponent::recorded(Some(self.active.clone()), view.records.get(component.name()));
        let missing = policies.missing_dependencies_refused().map(|by| DependencyPolicy::Refuse { by });
        Snapshot {
            installed: BTreeMap::from([(component.clone(), installed)]),
            requests: BTreeMap::from([(component.clone(), request)]),
            options: PlanOptions { actor: Actor::Agent, missing: missing.unwrap_or_default(), no_dependencies: false },
        }
    }

    fn request<'a>(&'a self, component: &'a Component) -> EvaluationRequest<'a> {
        EvaluationRequest {
            component,
            version: &self.active,
            intent: Intent::Agent,
            active: Some(&self.active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        }
    }

    fn report(view: &View, names: Vec<String>, component: &Component, report: ComponentReport) -> HostReport {
        let generation = |name: &String| view.generations.get(name).copied().unwrap_or_default();
        HostReport {
            platform: "linux-amd64".to_owned(),
            agent_version: "v0.1.0".to_owned(),
            policies: names.into_iter().map(|name| (name.clone(), generation(&name))).collect(),
            components: BTreeMap::from([(component.clone(), report)]),
            clock_offset: Some(SignedDuration::ZERO),
            ..HostReport::default()
        }
    }

    /// Sets what the host reported before the simulation, and when its token was issued.
    pub(crate) fn begin(&mut self, planned: &Planned, seen: Timestamp, issued: Timestamp) {
        self.status = planned.report.status(&self.status, GENERATION, seen).unwrap_or_default();
        self.token = TokenTimes { issued, expires: issued + TOKEN_LIFE };
    }

    /// Returns the host as the API server has it; `None`: it has reported nothing.
    pub(crate) fn object(&self) -> Option<CliHost> {
        self.status.last_seen.as_ref()?;
        let mut host = CliHost::new(&self.name, CliHostSpec::default());
        host.metadata.labels = Some((*self.labels).clone());
        host.status = Some(self.status.clone());
        Some(host)
    }

    /// Returns whether a policy forbids the active version.
    pub(crate) fn is_forbidden(&self, view: &View, (component, platform): (&Component, &Platform)) -> bool {
        let policies = view.policies.for_host(self.as_policies_see_it(platform));
        policies.guidance(component, Some(&self.active)).active_forbidden.is_some()
    }

    /// Renews the token if that is due. Returns whether it was.
    pub(crate) fn renew_token(&mut self, now: Timestamp) -> bool {
        let is_due = self.token.is_due(now);
        if is_due {
            self.token = TokenTimes { issued: now, expires: now + TOKEN_LIFE };
        }
        is_due
    }

    /// Returns whether the status may have to be written although the plan is not new.
    pub(crate) fn is_silent_for_long(&self, now: Timestamp) -> bool {
        self.status.last_seen.as_ref().is_none_or(|seen| now.duration_since(seen.0) >= REPORT_INTERVAL)
    }

    /// Writes the status, if it changes or is old. Returns the object then.
    pub(crate) fn write(&mut self, report: &HostReport, now: Timestamp) -> Option<CliHost> {
        self.status = report.status(&self.status, GENERATION, now)?;
        self.object()
    }

    /// Ends the change in progress. Returns what the host reports then.
    pub(crate) fn end(&mut self, component: &Component, result: ChangeResult, now: Timestamp) -> Option<HostReport> {
        let Change { to, mut report, .. } = self.changing.take()?;
        let before = report.components.remove(component)?;
        let digest: Digest = layer(&to.to_string());
        let kind = match result {
            ChangeResult::Works => None,
            ChangeResult::FailsTest => Some(StoreErrorKind::Smoke.as_str()),
            ChangeResult::NoProxy => Some(d8_rpp::ErrorKind::Unreachable.as_str()),
        };
        let after = if let Some(kind) = kind {
            let message = format!("tool {to}: {kind}");
            let failure = FailedAttempt { version: to, reason: kind.to_owned(), message };
            self.failures.add(component, &failure, Some(&digest), now);
            failed_changes::report(before, &failure)
        } else {
            self.failures.forget(component);
            self.activate(to.clone());
            ComponentReport::changed(ActiveArtifact { version: Some(to), digest: Some(digest) })
        };
        report.components.insert(component.clone(), after);
        self.kept = None;
        Some(report)
    }

    fn activate(&mut self, version: Version) {
        self.stored.retain(|stored| *stored != version);
        self.stored.push(version.clone());
        // The agent keeps the active version, the previous one and three more.
        let excess = self.stored.len().saturating_sub(5);
        self.stored.drain(..excess);
        self.active = version;
    }

    /// Returns how long to wait after a tick that reported.
    pub(crate) fn wait(&mut self, report: &HostReport, now: Timestamp, random: f64) -> std::time::Duration {
        let until = report.components.values().filter_map(|report| report.until).min();
        self.schedule.wait_after(TickResult::Done { until }, now, random)
    }

    /// Returns how long to wait after a tick that failed.
    pub(crate) fn wait_after_failure(&mut self, now: Timestamp, random: f64) -> std::time::Duration {
        self.schedule.wait_after(TickResult::Failed, now, random)
    }

    /// Returns how long to wait with the tick after a policy changed.
    pub(crate) fn wait_after_change(&self, random: f64) -> std::time::Duration {
        self.schedule.wait_after_change(random)
    }

    /// Takes from the policies of the host how many hosts they select.
    pub(crate) fn note_peers(&mut self, view: &View) {
        let of = |policy: &ObservedPolicy| view.matched.get(&policy.name).copied();
        self.schedule.set_peers(self.status.policies.iter().filter_map(of).max().unwrap_or_default());
    }
}

impl Planned {
    /// Returns what the host reports before it changes anything.
    pub(crate) fn report(&self) -> &HostReport {
        &self.report
    }

    /// Returns the change, and the report of it.
    pub(crate) fn change(&self, component: &Component) -> Option<(Change, HostReport)> {
        let change = self.change.clone()?;
        let mut report = self.report.clone();
        if let Some(report) = report.components.get_mut(component) {
            report.state = ComponentState::Switching;
            report.target = Some(change.to.clone());
        }
        Some((Change { report: report.clone(), ..change }, report))
    }
}
