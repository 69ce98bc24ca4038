//! Which gate binds which intent: one row a gate ("What binds whom" in `docs/policies.md`).
//!
//! A gate compares one candidate with what all policies of the host set, and returns a cause for each policy
//! that stands against it. Its row alone decides whether it runs.

mod access;
mod bytes;
mod causes;
mod change;
mod record;
mod schedule;
mod time;

use std::cell::LazyCell;

pub(super) use self::causes::Causes;
use super::{applicable::ApplicableRule, candidate::Candidate, host_policies::HostPolicies, merge::ACCESS};
use crate::{
    decisions::{clock::ClockSkew, intent::Intent, reason::ReasonCode, selection::is_stable, wave::Bucket},
    records::{policy::Access, release::ReleaseVersion},
    values::name::Component,
};

use Intent::{Agent, Explicit, Repair, Update};

/// What a gate evaluates.
#[derive(Clone, Copy)]
pub(super) struct GateInput<'a> {
    candidate: &'a Candidate<'a>,
    /// What each valid policy of the host sets for the component.
    rules: &'a [ApplicableRule<'a>],
    policies: &'a HostPolicies<'a>,
    /// A record can have the component's name. If it cannot (`my_plugin`), only access, versions, block and
    /// channel of a rule bind the component.
    has_record_name: bool,
    /// What the record says of the version.
    entry: Option<&'a ReleaseVersion>,
    /// An emergency policy expedites the version under every policy.
    in_emergency: bool,
    /// The version is the installed one, and the question is whether it must be replaced.
    installed: bool,
    /// The local clock differs too much from the API server's.
    skew: Option<ClockSkew>,
    /// Bucket of the host for the version, if a policy has canaries by percentage; it costs a hash.
    bucket: Option<Bucket>,
}

/// Adds the causes of one gate.
type Gate = fn(&GateInput<'_>, &mut Causes<'_>);

/// When a gate does not bind a change away from a forbidden version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaving {
    /// The installed version is not forbidden.
    No,
    /// The installed version is forbidden.
    Forbidden,
    /// The installed version is blocked.
    Blocked,
}

/// One row of "What binds whom".
struct Row {
    /// Intents that the gate stops.
    binds: &'static [Intent],
    /// Intents that get its causes as notes.
    notes: &'static [Intent],
    /// Least kind of leaving that lifts the gate, and the intents for which it does; `None`: never lifted.
    lifted: Option<(Leaving, &'static [Intent])>,
    gate: Gate,
}

impl Row {
    const fn new(binds: &'static [Intent], gate: Gate) -> Self {
        Self { binds, notes: &[], lifted: None, gate }
    }

    const fn notes(mut self, intents: &'static [Intent]) -> Self {
        self.notes = intents;
        self
    }

    const fn lifted(self, from: Leaving) -> Self {
        self.lifted_for(ALL, from)
    }

    const fn lifted_for(mut self, intents: &'static [Intent], from: Leaving) -> Self {
        self.lifted = Some((from, intents));
        self
    }

    /// Returns whether the gate does not bind a change that leaves a version so.
    fn is_lifted(&self, intent: Intent, leaving: impl FnOnce() -> Leaving) -> bool {
        self.lifted.is_some_and(|(from, intents)| intents.contains(&intent) && leaving() >= from)
    }
}

const ALL: &[Intent] = &[Agent, Update, Explicit, Repair];
const CHANGES: &[Intent] = &[Agent, Update, Explicit];
const PEOPLE: &[Intent] = &[Update, Explicit];

/// Gates that forbid a version: an installed version that they forbid must be replaced. Signatures belong here,
/// too, but the only value of their field is Ignore.
const FORBIDDING: &[Row] = &[
    Row::new(ALL, access::denied),
    Row::new(ALL, access::blocked),
    Row::new(CHANGES, access::versions),
    Row::new(CHANGES, access::minimum),
    Row::new(CHANGES, bytes::pinned),
    Row::new(CHANGES, access::channel),
];

/// Gates that hold a version, and its requirements.
const HOLDING: &[Row] = &[
    Row::new(CHANGES, bytes::moved),
    Row::new(CHANGES, change::paused).lifted_for(PEOPLE, Leaving::Blocked),
    Row::new(CHANGES, change::frozen).lifted(Leaving::Blocked),
    Row::new(&[Agent], change::manual).lifted(Leaving::Blocked),
    Row::new(CHANGES, time::min_age),
    Row::new(CHANGES, record::missing_or_stale),
    Row::new(&[Agent, Update], time::wave).notes(&[Explicit]),
    Row::new(&[Agent, Update], time::halted).notes(&[Explicit]),
    // People are bound by policies with `windowsFor: Everyone`.
    Row::new(CHANGES, schedule::closed).lifted(Leaving::Blocked),
    Row::new(&[Agent], time::policy_stale),
    Row::new(&[Agent, Update], change::major).lifted(Leaving::Forbidden),
    Row::new(CHANGES, change::unmet),
    Row::new(CHANGES, change::unchecked),
    // Not in that table: the merge table's last column, rules 8, 12, 13, 14 and 16.
    Row::new(&[Agent, Update], change::pre_release),
    Row::new(&[Agent, Update], time::not_observed),
    Row::new(&[Agent], time::clock_skew),
    Row::new(&[Agent], change::not_governed),
    Row::new(CHANGES, change::invalid_policy).lifted_for(PEOPLE, Leaving::Blocked),
    Row::new(ALL, change::unreadable_policy),
    Row::new(CHANGES, change::policy_unaware),
];

impl<'a> GateInput<'a> {
    pub(super) fn new(
        candidate: &'a Candidate<'a>,
        rules: &'a [ApplicableRule<'a>],
        policies: &'a HostPolicies<'a>,
    ) -> Self {
        let has_record_name = match candidate.component {
            Component::D8 => true,
            Component::Plugin(name) => name.is_dns_label(),
        };
        let entry = recorded(candidate);
        let in_emergency = policies.in_emergency(candidate.component, candidate.version, candidate.now);
        let bucket = policies.features().canary_shares.then(|| candidate.bucket());
        Self { candidate, rules, policies, has_record_name, entry, in_emergency, installed: false, skew: None, bucket }
    }

    /// Adds that the clocks differ too much.
    pub(super) fn with_skew(self, skew: Option<ClockSkew>) -> Self {
        Self { skew, ..self }
    }

    /// Adds the causes against the candidate, and those that are only noted.
    pub(super) fn evaluate(&self, causes: &mut Causes<'_>, notes: &mut Causes<'_>) {
        // Evaluated only if a gate that it lifts has a cause.
        let leaving = LazyCell::new(|| self.leaving());
        for row in FORBIDDING.iter().chain(HOLDING) {
            if row.binds.contains(&self.candidate.intent) {
                let before = causes.len();
                (row.gate)(self, causes);
                if causes.len() > before && row.is_lifted(self.candidate.intent, || *leaving) {
                    causes.truncate(before);
                }
            } else if row.notes.contains(&self.candidate.intent) {
                (row.gate)(self, notes);
            }
        }
    }

    /// Adds the causes of some gates, whatever the intent.
    fn evaluate_gates(&self, gates: &[Gate], causes: &mut Causes<'_>) {
        for gate in gates {
            gate(self, causes);
        }
    }

    /// Adds the causes that refuse a run: Deny and block.
    pub(super) fn against_run(&self, causes: &mut Causes<'_>) {
        Self { installed: true, ..*self }.evaluate_gates(&[access::denied, access::blocked], causes);
    }

    /// Adds the causes that refuse the component as a whole: Deny.
    pub(super) fn against_access(&self, causes: &mut Causes<'_>) {
        self.evaluate_gates(&[access::denied], causes);
    }

    /// Adds the causes that refuse a removal, but for the rule that requires the plugin.
    pub(super) fn against_removal(&self, causes: &mut Causes<'_>) {
        self.evaluate_gates(&[change::paused, change::invalid_policy, change::unreadable_policy], causes);
    }

    /// Adds the causes for which the installed version, which is the candidate, must be replaced.
    pub(super) fn against_staying(&self, causes: &mut Causes<'_>) {
        Self { installed: true, ..*self }.against_version(causes);
    }

    /// Adds the causes that forbid the candidate, whatever the intent.
    pub(super) fn against_version(&self, causes: &mut Causes<'_>) {
        for row in FORBIDDING {
            (row.gate)(self, causes);
        }
    }

    /// Adds what people should know of the installed version, which is the candidate, although it may stay: that its tag
    /// moved, and requirements that are not met or unknown.
    pub(super) fn about_installed(&self, causes: &mut Causes<'_>) {
        self.evaluate_gates(&[bytes::moved, change::unmet, change::unchecked], causes);
    }

    /// Returns whether this change leads away from an installed version that a policy forbids.
    fn leaving(&self) -> Leaving {
        let Some(active) = self.candidate.active.filter(|active| *active != self.candidate.version) else {
            return Leaving::No;
        };
        let candidate = Candidate { version: active, stored: None, ..*self.candidate };
        let subject = || candidate.subject();
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, self.rules, self.policies).against_staying(&mut causes);
        if causes.reasons().iter().any(|reason| reason.code() == ReasonCode::Blocked) {
            Leaving::Blocked
        } else if causes.len() == 0 {
            Leaving::No
        } else {
            Leaving::Forbidden
        }
    }

    /// Returns whether some policy requires the component and none denies it.
    fn is_required(&self) -> bool {
        let refused = || self.policies.local_rules().is_some_and(|local| local.denies(self.candidate.component));
        ACCESS.merge(self.rules).value == Access::Require && !refused()
    }

    /// Returns whether the version is a pre-release for its component.
    fn is_pre_release(&self) -> bool {
        !is_stable(self.candidate.component, self.candidate.version)
    }

    /// Returns whether the policy's time gates are lifted for the version: by the policy itself, or by an emergency
    /// policy.
    fn is_expedited(&self, rule: &ApplicableRule<'_>) -> bool {
        self.in_emergency || rule.rule().is_some_and(|(_, rule)| rule.expedite.contains(self.candidate.version))
    }

    /// Returns the active version if the change replaces it.
    fn replaced(&self) -> Option<&'a crate::values::version::Version> {
        self.candidate.active.filter(|active| *active != self.candidate.version)
    }
}

/// Returns what the record says of the candidate's version.
fn recorded<'a>(candidate: &Candidate<'a>) -> Option<&'a ReleaseVersion> {
    candidate.release?.recorded(candidate.version)
}
