//! The one verdict that operator, agent and command line share: may this host have this version now.
//!
//! Owns how policies merge and what binds whom (`docs/policies.md`). Pure: host, records, policies and
//! `now` are arguments. It neither chooses a version nor reads a cluster.

mod gates;
mod reason;
mod set;
mod speech;

use std::collections::BTreeMap;

use jiff::Timestamp;

pub use self::{
    reason::{Class, Origin, Reason, ReasonCode},
    set::{Guidance, PolicySet, Required},
};
use crate::{name::Component, platform::Platform, release::CliRelease, version::Version};

/// Who wants a version, and how outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// The agent by itself.
    Agent,
    /// A person who names no version: `install x`, `update x`, `update all`.
    Update,
    /// A person who names one: `--version`, `--use-major`, `use`, `rollback`.
    Explicit,
    /// The same version and digest again: repair, relink, `--force`.
    Repair,
}

/// The host a verdict is for.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its `CliHost`'s name, else the random id kept in the store's root.
    pub id: &'a str,
    /// The labels that policies select by; for a machine without a `CliHost` those of
    /// [`workstation_labels`].
    pub labels: &'a BTreeMap<String, String>,
    /// The store's root did not exist before this run: such a host comes last in every wave.
    pub new_root: bool,
}

/// The labels of a machine that no admin enrolled. Nothing a user sets counts.
pub fn workstation_labels(platform: &Platform) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("cli.deckhouse.io/managed".to_owned(), "false".to_owned()),
        ("kubernetes.io/os".to_owned(), platform.os().to_owned()),
        ("kubernetes.io/arch".to_owned(), platform.arch().to_owned()),
    ])
}

/// One question: may this host have this version of this component. Made by [`Case::new`]; what it
/// leaves out is set by name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Case<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The component.
    pub component: &'a Component,
    /// The version in question.
    pub version: &'a Version,
    /// Who wants it.
    pub intent: Intent,
    /// The time to judge by.
    pub now: Timestamp,
    /// The version that is active on the host.
    pub active: Option<&'a Version>,
    /// The component's record.
    pub release: Option<&'a CliRelease>,
    /// The requirements of the version that are not met, a sentence each.
    pub unmet: &'a [String],
}

impl<'a> Case<'a> {
    /// A version of a component that is not installed, without a record, whose requirements are met.
    pub fn new(host: Host<'a>, component: &'a Component, version: &'a Version, intent: Intent, now: Timestamp) -> Self {
        Self { host, component, version, intent, now, active: None, release: None, unmet: &[] }
    }

    /// The version that is active on the host.
    #[must_use]
    pub fn active(mut self, active: Option<&'a Version>) -> Self {
        self.active = active;
        self
    }

    /// The component's record.
    #[must_use]
    pub fn release(mut self, release: Option<&'a CliRelease>) -> Self {
        self.release = release;
        self
    }

    /// The requirements of the version that are not met, a sentence each.
    #[must_use]
    pub fn unmet(mut self, unmet: &'a [String]) -> Self {
        self.unmet = unmet;
        self
    }
}

/// The answer: every reason that applies. Without any the version is eligible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    reasons: Vec<Reason>,
}

impl Judgement {
    pub(crate) fn new(mut reasons: Vec<Reason>) -> Self {
        reasons.sort_by(|a, b| b.class().cmp(&a.class()).then_with(|| a.key().cmp(&b.key())));
        reasons.dedup();
        Self { reasons }
    }

    /// The verdict: the strongest class of its reasons.
    pub fn class(&self) -> Class {
        self.reasons.first().map_or(Class::Eligible, Reason::class)
    }

    /// Nothing stands against it.
    pub fn is_eligible(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Every reason, the strongest first; within a class by name, policy and rule.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }

    /// When a hold ends: the latest of the holds' ends, absent if one of them has none or if the
    /// verdict is no hold.
    pub fn until(&self) -> Option<Timestamp> {
        if self.class() != Class::Held {
            return None;
        }
        // `None` sorts before every instant, hence the two steps.
        let ends: Option<Vec<_>> = self.reasons.iter().map(|reason| reason.until).collect();
        ends?.into_iter().max()
    }

    /// The reason to show where there is room for one: of the strongest class the one that ends last,
    /// one without an end before any other.
    pub fn leading(&self) -> Option<&Reason> {
        let class = self.class();
        let of_class = self.reasons.iter().filter(|reason| reason.class() == class);
        // `max_by_key` keeps the last of equals; reversing keeps the first.
        of_class.rev().max_by_key(|reason| (reason.until.is_none(), reason.until))
    }
}

#[cfg(test)]
mod tests;
