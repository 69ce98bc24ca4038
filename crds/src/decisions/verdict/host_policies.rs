//! The policies that apply to one host. Which policies select the host, where it is a canary and when switches may
//! begin is the same for all components, and is computed once.

use std::{borrow::Cow, sync::OnceLock};

use jiff::Timestamp;

use super::{
    applicable::{ApplicableRule, MatchedPolicy, schedule_for},
    candidate::Host,
    loaded::{Applying, BrokenPolicy, LoadedPolicy},
    local_rules::LocalRules,
};
use crate::{
    decisions::{
        intent::Intent,
        person::Person,
        reason::{Field, Source},
        validation::{CheckedPolicy, CheckedSubjects, Pattern, Reach},
        window::MergedSchedule,
    },
    records::release::{CliRelease, CliReleaseSpec, CliReleaseStatus, ReleaseVersion},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

/// The policies that apply to one host, made by [`PolicySet::for_host`](super::PolicySet::for_host).
#[derive(Debug, Clone)]
pub struct HostPolicies<'a> {
    pub(super) host: Host<'a>,
    /// Valid ones but emergency policies, by name.
    matched: Vec<MatchedPolicy<'a>>,
    /// Valid emergency policies, by name. They set nothing, and alone they govern nothing.
    emergencies: Vec<MatchedPolicy<'a>>,
    /// Invalid ones, by name.
    broken: Vec<&'a BrokenPolicy>,
    /// What applies to the agent, if a policy with `subjects` applies to the person.
    for_agent: Option<Box<HostPolicies<'a>>>,
    /// What some of the valid policies have. Gates look for it in none of them otherwise.
    features: Features,
    /// Whose switches the schedule of some policy limits.
    limited: Limited,
    /// State of the schedules at the first instant that was evaluated, usually the only one.
    schedules: OnceLock<ScheduleState>,
}

/// What at least one of some policies has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Features {
    /// Pins of a version of some component.
    pub(super) pins: bool,
    /// Canaries by percentage.
    pub(super) canary_shares: bool,
    /// Waves.
    pub(super) rollouts: bool,
}

impl Features {
    fn of(matched: &[MatchedPolicy<'_>]) -> Self {
        let mut rules = matched.iter().flat_map(|matched| matched.policy.rules.iter().chain(&matched.policy.cli));
        let rollouts = || matched.iter().filter_map(|matched| matched.policy.rollout.as_ref());
        Self {
            pins: rules.any(|rule| !rule.pins.is_empty()),
            canary_shares: rollouts().any(|rollout| rollout.canary_share.is_some()),
            rollouts: rollouts().next().is_some(),
        }
    }
}

/// Whose switches are limited by schedules.
#[derive(Debug, Clone, Copy)]
struct Limited {
    agent: bool,
    people: bool,
}

/// What the schedules of all policies permit at an instant.
#[derive(Debug, Clone)]
pub(super) struct ScheduleState {
    at: Timestamp,
    /// By index of the policy.
    policies: Vec<PolicyState>,
    /// When the agent may begin a switch next; `None`: not within 400 days.
    agent: Option<Timestamp>,
    /// When people may begin a switch next; `None`: not within 400 days.
    people: Option<Timestamp>,
}

/// What the schedule of one policy permits at an instant.
#[derive(Debug, Clone, Copy)]
struct PolicyState {
    /// The policy has no windows, or one is open.
    windows_open: bool,
    in_blackout: bool,
}

impl ScheduleState {
    /// Returns whether the windows of the policy with this index are open.
    pub(super) fn windows_open(&self, index: usize) -> bool {
        self.policies.get(index).is_none_or(|state| state.windows_open)
    }

    /// Returns whether a blackout of the policy with this index lasts.
    pub(super) fn in_blackout(&self, index: usize) -> bool {
        self.policies.get(index).is_some_and(|state| state.in_blackout)
    }

    /// Returns when all policies let a change with this intent begin; `None`: not within 400 days.
    pub(super) fn opening(&self, intent: Intent) -> Option<Timestamp> {
        if intent == Intent::Agent { self.agent } else { self.people }
    }
}

impl<'a> HostPolicies<'a> {
    pub(super) fn new(policies: &'a [LoadedPolicy], host: Host<'a>) -> Self {
        let (mut matched, mut emergencies, mut broken) = (Vec::new(), Vec::new(), Vec::new());
        for applying in policies.iter().filter_map(|policy| policy.on(&host)) {
            match applying {
                Applying::Valid(policy) if policy.emergency.is_some() => {
                    emergencies.push(MatchedPolicy::new(policy, emergencies.len(), &host));
                }
                Applying::Valid(policy) => matched.push(MatchedPolicy::new(policy, matched.len(), &host)),
                Applying::Broken(policy) => broken.push(policy),
            }
        }
        let of_valid = matched.iter().map(|matched| &matched.policy.subjects);
        let mut subjects = of_valid.chain(broken.iter().map(|policy| &policy.subjects));
        let has_subjects = subjects.any(|subjects| *subjects != CheckedSubjects::Everyone);
        let nobody = Host { person: Person::Nobody, ..host };
        let for_agent = has_subjects.then(|| Box::new(Self::new(policies, nobody)));
        let limits = |intent| matched.iter().any(|matched| schedule_for(matched.policy, intent).is_some());
        let limited = Limited { agent: limits(Intent::Agent), people: limits(Intent::Update) };
        let (features, schedules) = (Features::of(&matched), OnceLock::new());
        Self { host, matched, emergencies, broken, for_agent, features, limited, schedules }
    }

    /// Returns the policies of another host that the same policies select, and of which it is a canary as this one is.
    #[must_use]
    pub fn for_twin(&self, host: Host<'a>) -> Self {
        let for_agent = self.for_agent.as_ref().map(|policies| {
            let nobody = Host { person: Person::Nobody, ..host };
            Box::new(policies.for_twin(nobody))
        });
        let Self { host: _, matched, emergencies, broken, for_agent: _, features, limited, schedules } = self;
        Self {
            host,
            matched: matched.clone(),
            emergencies: emergencies.clone(),
            broken: broken.clone(),
            for_agent,
            features: *features,
            limited: *limited,
            schedules: schedules.clone(),
        }
    }

    /// Computes now what is the same for all components at this time.
    #[must_use]
    pub fn prepared_for(self, now: Timestamp) -> Self {
        if self.limited.agent || self.limited.people {
            self.schedules_at(now);
        }
        Self { for_agent: self.for_agent.map(|policies| Box::new(policies.prepared_for(now))), ..self }
    }

    /// Returns the host, and the person who acts there.
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// Returns the names of the policies that apply, invalid ones included, in order.
    pub fn policy_names(&self) -> Vec<&'a str> {
        let valid = self.valid().chain(self.emergencies()).map(|policy| &*policy.name);
        let mut names: Vec<_> = valid.chain(self.broken().map(|policy| &*policy.name)).collect();
        names.sort_unstable();
        names
    }

    /// Returns the plugins that a policy names outright, each once and in order.
    pub(super) fn named_plugins(&self) -> Vec<&'a PluginName> {
        let mut names: Vec<_> = self.valid().flat_map(CheckedPolicy::named_plugins).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Returns whether a policy, valid or not, or the host's own rules apply. A policy does not count if only
    /// its Deny and `block` apply.
    pub(super) fn is_governed(&self) -> bool {
        let is_whole = |subjects: &CheckedSubjects| subjects.reach(self.host.person) == Reach::Whole;
        self.host.local_rules.is_some()
            || self.valid().any(|policy| is_whole(&policy.subjects))
            || self.broken().any(|policy| is_whole(&policy.subjects))
    }

    /// Returns what applies to a change with this intent: policies with `subjects` do not bind the agent.
    #[must_use]
    pub(super) fn for_intent(&self, intent: Intent) -> &Self {
        self.for_agent.as_deref().filter(|_| intent == Intent::Agent).unwrap_or(self)
    }

    /// Returns whether changes on this host are paused. A policy that is invalid acts as paused.
    pub fn is_paused(&self) -> bool {
        !self.broken.is_empty() || self.valid().any(|policy| policy.paused)
    }

    /// Returns what some of the valid policies have.
    pub(super) fn features(&self) -> Features {
        self.features
    }

    pub(super) fn local_rules(&self) -> Option<&'a LocalRules> {
        self.host.local_rules
    }

    /// Returns the valid policies but emergency policies, by name.
    pub(super) fn valid(&self) -> impl Iterator<Item = &'a CheckedPolicy> {
        self.matched.iter().map(|matched| matched.policy)
    }

    /// Returns the valid emergency policies by name.
    pub(super) fn emergencies(&self) -> impl Iterator<Item = &'a CheckedPolicy> {
        self.emergencies.iter().map(|matched| matched.policy)
    }

    /// Returns what the emergency policies expedite of a component, those that are over included.
    pub(super) fn emergency_rules(&self, component: &Component) -> Vec<ApplicableRule<'a>> {
        self.emergencies.iter().map(|matched| ApplicableRule::new(*matched, component)).collect()
    }

    /// Returns what the emergency policies expedite of the plugins of a pattern that no narrower pattern names.
    pub(super) fn emergency_rules_for_pattern(&self, pattern: &Pattern) -> Vec<ApplicableRule<'a>> {
        self.emergencies.iter().map(|matched| ApplicableRule::for_pattern(*matched, pattern)).collect()
    }

    /// Returns whether an emergency policy expedites the version now.
    pub(super) fn in_emergency(&self, component: &Component, version: &Version, now: Timestamp) -> bool {
        let stands = |policy: &&CheckedPolicy| policy.emergency.is_some_and(|until| now < until);
        let mut rules = self.emergencies().filter(stands).filter_map(|policy| policy.rule_for(component));
        rules.any(|rule| rule.expedite.contains(version))
    }

    /// Returns the fields that expedite the version, each for the gates of its own policy. Emergency policies are left
    /// out.
    pub fn expedited_by(&self, component: &Component, version: &Version) -> Vec<Source> {
        let rules = self.rules(component);
        let source = |rule: &ApplicableRule<'_>| {
            let (origin, fields) = rule.rule()?;
            fields.expedite.contains(version).then(|| rule.source(origin, Some(Field::Expedite)))
        };
        rules.iter().filter_map(source).collect()
    }

    /// Returns the invalid policies by name.
    pub(super) fn broken(&self) -> impl Iterator<Item = &'a BrokenPolicy> {
        self.broken.iter().copied()
    }

    /// Returns what each valid policy sets for a component, by name of the policy.
    pub(super) fn rules(&self, component: &Component) -> Vec<ApplicableRule<'a>> {
        self.matched.iter().map(|matched| ApplicableRule::new(*matched, component)).collect()
    }

    /// Returns what each valid policy sets for the plugins of a pattern that no narrower pattern names.
    pub(super) fn rules_for_pattern(&self, pattern: &Pattern) -> Vec<ApplicableRule<'a>> {
        self.matched.iter().map(|matched| ApplicableRule::for_pattern(*matched, pattern)).collect()
    }

    /// Returns the part of a component's record with which a run can be decided without the cluster: the blocked versions,
    /// with their layers. `None`: the record has none.
    pub fn blocked_part(&self, component: &Component, record: &CliRelease) -> Option<CliRelease> {
        let rules = self.rules(component);
        let is_blocked = |recorded: &&ReleaseVersion| {
            let version = Version::parse_full(&recorded.version);
            let blocks = |rule: &ApplicableRule<'_>, version: &Version| {
                rule.rule().is_some_and(|(_, r)| r.block.iter().any(|entry| entry.contains(version)))
            };
            version.is_ok_and(|version| rules.iter().any(|rule| blocks(rule, &version)))
        };
        let versions = record.status.iter().flat_map(|status| &status.versions).filter(is_blocked);
        let versions: Vec<_> = versions.map(ReleaseVersion::without_contract).collect();
        let status = CliReleaseStatus { versions, ..CliReleaseStatus::default() };
        (!status.versions.is_empty()).then(|| CliRelease {
            status: Some(status),
            ..CliRelease::new(component.name(), CliReleaseSpec::default())
        })
    }

    /// Returns whether some policy limits when a change with this intent may begin.
    pub(super) fn limits_switches(&self, intent: Intent) -> bool {
        if intent == Intent::Agent { self.limited.agent } else { self.limited.people }
    }

    /// Returns what the schedules permit.
    pub(super) fn schedules_at(&self, now: Timestamp) -> Cow<'_, ScheduleState> {
        let known = self.schedules.get_or_init(|| self.compute_schedules(now));
        if known.at == now { Cow::Borrowed(known) } else { Cow::Owned(self.compute_schedules(now)) }
    }

    fn compute_schedules(&self, at: Timestamp) -> ScheduleState {
        let state = |policy: &CheckedPolicy| PolicyState {
            windows_open: policy.schedule.windows_open_at(at),
            in_blackout: policy.schedule.blackouts_at(at).next().is_some(),
        };
        let opening = |intent| {
            let schedules = self.valid().filter_map(|policy| schedule_for(policy, intent));
            schedules.collect::<MergedSchedule<'_>>().next_opening(at)
        };
        let policies = self.valid().map(state).collect();
        ScheduleState { at, policies, agent: opening(Intent::Agent), people: opening(Intent::Update) }
    }
}
