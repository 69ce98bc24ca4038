//! What binds whom: one row a gate, and what each gate says.
//!
//! A gate looks at what all matching policies say about one version and names every policy that stands
//! against it. Whether it is asked at all is decided by its row alone.

mod forbid;
mod hold;
mod record;
mod time;

use std::cell::LazyCell;

use jiff::Timestamp;

use crate::{
    decisions::{
        intent::Intent,
        selection::is_stable,
        verdict::{
            Candidate, HostPolicies, LocalRules,
            reason::{Origin, Reason, ReasonCode},
            speech::Speech,
        },
    },
    records::{policy::Access, release::ReleaseVersion},
    values::{duration, name::Component},
};

use Intent::{Agent, Explicit, Repair, Update};

/// What a gate is asked about.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    case: &'a Candidate<'a>,
    /// The word of each matching policy that is valid.
    speeches: &'a [Speech<'a>],
    /// All that match.
    policies: &'a HostPolicies<'a>,
    /// The host's own.
    local_rules: Option<&'a LocalRules>,
    /// At least one policy matches, valid or not, or the host has local rules.
    governed: bool,
    /// The component's name can carry a record. Of a plugin whose name cannot (`my_plugin`) nothing is
    /// recorded, so of a rule only access, versions, block and channel bind it.
    has_record_name: bool,
    /// What the record has on the version.
    entry: Option<&'a ReleaseVersion>,
    /// The version is the installed one, and the question is whether it must be left.
    installed: bool,
}

/// When a gate does not stand in the way of leaving an installed version that policy forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leaving {
    /// The installed version is not forbidden.
    No,
    /// It is forbidden.
    Forbidden,
    /// It is blocked.
    Blocked,
}

/// One row of "What binds whom".
struct Gate {
    binds: &'static [Intent],
    /// Whom it tells and does not stop.
    tells: &'static [Intent],
    /// Lifted from this kind of leaving on; `None`: never.
    lifted: Option<Leaving>,
    says: fn(&View<'_>, &mut Vec<Reason>),
}

impl Gate {
    const fn new(binds: &'static [Intent], says: fn(&View<'_>, &mut Vec<Reason>)) -> Self {
        Self { binds, tells: &[], lifted: None, says }
    }

    const fn tells(mut self, intents: &'static [Intent]) -> Self {
        self.tells = intents;
        self
    }

    const fn lifted(mut self, from: Leaving) -> Self {
        self.lifted = Some(from);
        self
    }
}

const ALL: &[Intent] = &[Agent, Update, Explicit, Repair];
const CHANGES: &[Intent] = &[Agent, Update, Explicit];

/// Gates that make a version Forbidden: an installed one under them leaves. Signatures, which stand
/// among them, are not built: the only value their field takes is Ignore.
const FORBID: &[Gate] = &[
    Gate::new(ALL, forbid::access),
    Gate::new(ALL, forbid::block),
    Gate::new(CHANGES, forbid::versions),
    Gate::new(CHANGES, forbid::minimum),
    Gate::new(CHANGES, forbid::pins),
    Gate::new(CHANGES, forbid::channel),
];

/// Gates that hold, and the requirements.
const HOLD: &[Gate] = &[
    Gate::new(CHANGES, hold::moved),
    Gate::new(CHANGES, hold::paused),
    Gate::new(CHANGES, hold::frozen).lifted(Leaving::Blocked),
    Gate::new(&[Agent], hold::manual).lifted(Leaving::Blocked),
    Gate::new(CHANGES, time::min_age),
    Gate::new(CHANGES, record::missing_or_stale),
    Gate::new(&[Agent, Update], time::wave).tells(&[Explicit]),
    Gate::new(&[Agent, Update], time::halted).tells(&[Explicit]),
    Gate::new(&[Agent], time::windows).lifted(Leaving::Blocked),
    Gate::new(&[Agent], time::policy_stale),
    Gate::new(&[Agent, Update], hold::major).lifted(Leaving::Forbidden),
    Gate::new(CHANGES, hold::unmet),
    // Beside the table: the merge's last column, rules 8, 13 and 16.
    Gate::new(&[Agent, Update], hold::pre_release),
    Gate::new(&[Agent, Update], time::not_observed),
    Gate::new(&[Agent], hold::not_governed),
    Gate::new(CHANGES, hold::policy_unaware),
];

impl<'a> View<'a> {
    pub(super) fn new(case: &'a Candidate<'a>, speeches: &'a [Speech<'a>], policies: &'a HostPolicies<'a>) -> Self {
        Self {
            case,
            speeches,
            policies,
            local_rules: policies.local_rules(),
            governed: policies.is_governed(),
            has_record_name: match case.component {
                Component::D8 => true,
                Component::Plugin(name) => name.is_dns_label(),
            },
            entry: recorded(case),
            installed: false,
        }
    }

    /// Every reason that stands against the case, and what is only told.
    pub(super) fn ask(&self) -> (Vec<Reason>, Vec<Reason>) {
        let (mut reasons, mut notes) = (Vec::new(), Vec::new());
        // Looked at only where a gate that it lifts has something to say.
        let leaving = LazyCell::new(|| self.leaving());
        for gate in FORBID.iter().chain(HOLD) {
            if gate.binds.contains(&self.case.intent) {
                let before = reasons.len();
                (gate.says)(self, &mut reasons);
                if reasons.len() > before && gate.lifted.is_some_and(|from| *leaving >= from) {
                    reasons.truncate(before);
                }
            } else if gate.tells.contains(&self.case.intent) {
                (gate.says)(self, &mut notes);
            }
        }
        (reasons, notes)
    }

    /// Deny and block: what refuses a run.
    pub(super) fn ask_for_run(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        forbid::access(self, &mut reasons);
        forbid::block(self, &mut reasons);
        reasons
    }

    /// Deny alone.
    pub(super) fn ask_for_access(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        forbid::access(self, &mut reasons);
        reasons
    }

    /// Why this version, which is installed, has to be left.
    pub(super) fn ask_to_leave(&self) -> Vec<Reason> {
        let view = View { installed: true, ..*self };
        let mut reasons = Vec::new();
        for gate in FORBID {
            (gate.says)(&view, &mut reasons);
        }
        reasons
    }

    /// Whether this change leads off an installed version that policy forbids.
    fn leaving(&self) -> Leaving {
        let Some(active) = self.case.active.filter(|active| *active != self.case.version) else {
            return Leaving::No;
        };
        let case = Candidate { version: active, stored: None, ..*self.case };
        let reasons = View { case: &case, entry: recorded(&case), ..*self }.ask_to_leave();
        if reasons.iter().any(|reason| reason.code == ReasonCode::Blocked) {
            Leaving::Blocked
        } else if reasons.is_empty() {
            Leaving::No
        } else {
            Leaving::Forbidden
        }
    }

    /// A reason that is nobody's word.
    fn own_reason(code: ReasonCode, message: String) -> Reason {
        Reason { code, policy: None, rule: None, message, until: None }
    }

    /// A reason by the host's local rules.
    fn local_reason(code: ReasonCode, field: &'static str, what: &str) -> Reason {
        Reason {
            code,
            policy: Some("agent.toml".to_owned()),
            rule: Some(Origin::Spec(field)),
            message: format!("this host's own rules, {field} in /etc/d8/agent.toml: {what}"),
            until: None,
        }
    }

    /// The component and the version, as a sentence names them.
    fn subject(&self) -> String {
        format!("{} {}", self.case.component, self.case.version)
    }

    /// The command that shows every version with its verdict.
    fn why(&self) -> String {
        match self.case.component {
            Component::D8 => "d8 cli check".to_owned(),
            Component::Plugin(name) => format!("d8 plugins why {name}"),
        }
    }

    /// The command by which a person gets the newest version there may be.
    fn update(&self) -> String {
        match (self.case.component, self.case.active) {
            (Component::D8, _) => "d8 cli update".to_owned(),
            (Component::Plugin(name), Some(_)) => format!("d8 plugins update {name}"),
            (Component::Plugin(name), None) => format!("d8 plugins install {name}"),
        }
    }

    /// The command by which a person takes this very version.
    fn take(&self) -> String {
        match self.case.component {
            Component::D8 => format!("d8 cli update --version {}", self.case.version),
            Component::Plugin(name) => format!("d8 plugins install {name} --version {}", self.case.version),
        }
    }

    /// Some policy requires the component and none denies it.
    fn is_required(&self) -> bool {
        let said = |access| self.speeches.iter().any(|s| s.access().is_some_and(|said| said.value == access));
        let denied = || {
            said(Access::Deny) || self.local_rules.is_some_and(|local_rules| local_rules.denies(self.case.component))
        };
        said(Access::Require) && !denied()
    }

    /// Whether this version is a pre-release for the component.
    fn is_pre_release(&self) -> bool {
        !is_stable(self.case.component, self.case.version)
    }

    /// This policy lifts its own time gates for the version.
    fn is_expedited(&self, speech: &Speech<'_>) -> bool {
        speech.rule().is_some_and(|(_, rule)| rule.expedite.contains(self.case.version))
    }

    /// How long it is from now to an instant, for a sentence: `2h5m`, `40s`. Rounded up.
    fn left(&self, until: Timestamp) -> duration::FormattedDuration {
        how_long(self.case.now, until)
    }
}

/// What the record has on the version in question.
fn recorded<'a>(case: &Candidate<'a>) -> Option<&'a ReleaseVersion> {
    case.release?.recorded(case.version)
}

/// The time between two instants, for a sentence: whole seconds, from an hour on whole minutes. Rounded
/// up.
fn how_long(from: Timestamp, to: Timestamp) -> duration::FormattedDuration {
    let between = to.duration_since(from).unsigned_abs();
    let seconds = between.as_secs() + u64::from(between.subsec_nanos() > 0);
    let seconds = if seconds < 3600 { seconds } else { seconds.next_multiple_of(60) };
    duration::FormattedDuration(std::time::Duration::from_secs(seconds))
}

/// The first whole second that is not before the instant: what records and people are told.
fn whole(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second();
    let up = if instant.subsec_nanosecond() > 0 { seconds.saturating_add(1) } else { seconds };
    Timestamp::from_second(up).unwrap_or(instant)
}
