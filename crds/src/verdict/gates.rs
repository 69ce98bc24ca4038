//! What binds whom: one row a gate, and what each gate says.
//!
//! A gate looks at what all matching policies say about one version and names every policy that stands
//! against it. Whether it is asked at all is decided by its row alone.

mod forbid;
mod hold;

use crate::{
    name::{Component, PluginName},
    policy::Access,
    select::is_stable,
    verdict::{
        Case, Intent,
        reason::{Reason, ReasonCode},
        speech::Speech,
    },
};

use Intent::{Agent, Explicit, Repair, Update};

/// What a gate is asked about.
pub(super) struct View<'a> {
    pub(super) case: &'a Case<'a>,
    /// The word of each matching policy that is valid.
    pub(super) speeches: &'a [Speech<'a>],
    /// At least one policy matches, valid or not.
    pub(super) governed: bool,
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
    /// Lifted from this kind of leaving on; `None`: never.
    lifted: Option<Leaving>,
    says: fn(&View<'_>, &mut Vec<Reason>),
}

impl Gate {
    const fn new(binds: &'static [Intent], says: fn(&View<'_>, &mut Vec<Reason>)) -> Self {
        Self { binds, lifted: None, says }
    }

    const fn lifted(mut self, from: Leaving) -> Self {
        self.lifted = Some(from);
        self
    }
}

const ALL: &[Intent] = &[Agent, Update, Explicit, Repair];
const CHANGES: &[Intent] = &[Agent, Update, Explicit];

/// Gates that make a version Forbidden: an installed one under them leaves.
const FORBID: &[Gate] = &[
    Gate::new(ALL, forbid::access),
    Gate::new(ALL, forbid::block),
    Gate::new(CHANGES, forbid::versions),
    Gate::new(CHANGES, forbid::channel),
];

/// Gates that hold, and the requirements.
const HOLD: &[Gate] = &[
    Gate::new(CHANGES, hold::unmet),
    Gate::new(CHANGES, hold::pins),
    Gate::new(CHANGES, hold::moved),
    Gate::new(CHANGES, hold::paused),
    Gate::new(CHANGES, hold::frozen).lifted(Leaving::Blocked),
    Gate::new(&[Agent], hold::manual).lifted(Leaving::Blocked),
    Gate::new(CHANGES, hold::min_age),
    Gate::new(CHANGES, hold::ranges_of_pre_releases),
    Gate::new(&[Agent, Update], hold::rollout),
    Gate::new(&[Agent], hold::windows).lifted(Leaving::Blocked),
    Gate::new(&[Agent, Update], hold::major).lifted(Leaving::Forbidden),
    Gate::new(&[Agent, Update], hold::pre_release),
    Gate::new(&[Agent], hold::not_governed),
];

/// Every reason that stands against the case.
pub(super) fn ask(view: &View<'_>) -> Vec<Reason> {
    let leaving = leaving(view);
    let mut reasons = Vec::new();
    for gate in FORBID.iter().chain(HOLD) {
        let lifted = gate.lifted.is_some_and(|from| leaving >= from);
        if gate.binds.contains(&view.case.intent) && !lifted {
            (gate.says)(view, &mut reasons);
        }
    }
    reasons
}

/// Deny and block: what refuses a run.
pub(super) fn ask_for_run(view: &View<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    forbid::access(view, &mut reasons);
    forbid::block(view, &mut reasons);
    reasons
}

/// Why this version, were it installed, would have to be left.
pub(super) fn ask_to_leave(view: &View<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for gate in FORBID {
        (gate.says)(view, &mut reasons);
    }
    reasons
}

/// Whether this change leads off an installed version that policy forbids.
fn leaving(view: &View<'_>) -> Leaving {
    let Some(active) = view.case.active.filter(|active| *active != view.case.version) else {
        return Leaving::No;
    };
    let case = Case { version: active, ..*view.case };
    let reasons = ask_to_leave(&View { case: &case, ..*view });
    if reasons.iter().any(|reason| reason.code == ReasonCode::Blocked) {
        Leaving::Blocked
    } else if reasons.is_empty() {
        Leaving::No
    } else {
        Leaving::Forbidden
    }
}

impl View<'_> {
    /// A reason that is nobody's word.
    fn own_reason(code: ReasonCode, message: String) -> Reason {
        Reason { code, policy: None, rule: None, message, until: None }
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

    /// The component as a plugin whose name can carry a record. Of a plugin that cannot (`my_plugin`)
    /// nothing is recorded, so only access, versions, block and channel of its rule bind it.
    fn has_record_name(&self) -> bool {
        match self.case.component {
            Component::D8 => true,
            Component::Plugin(name) => PluginName::is_dns_label(name),
        }
    }

    /// Some policy requires the component and none denies it.
    fn is_required(&self) -> bool {
        let said = |access| self.speeches.iter().any(|s| s.access().is_some_and(|said| said.value == access));
        said(Access::Require) && !said(Access::Deny)
    }

    /// Whether this version is a pre-release for the component.
    fn is_pre_release(&self) -> bool {
        !is_stable(self.case.component, self.case.version)
    }
}
