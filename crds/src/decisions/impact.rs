//! What becomes of the components of a host under a set of policies, and what another set would change:
//! for people who are about to edit one. Pure: hosts, records, policies and `now` are arguments.
//!
//! It chooses by [`crate::decisions::plan`] and [`crate::decisions::selection`] and judges by [`crate::decisions::verdict`]; it owns only how
//! that is summed up. It knows of records alone: what has none is judged as far as that goes, by what is
//! active.

mod edit;
mod preview;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

pub use self::edit::edited;
use self::preview::{HostPreview, RecordedVersions};
use crate::{
    decisions::verdict::{Class, PolicySet, Reason, ReasonCode},
    records::release::CliRelease,
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};

/// One host and what is active on it.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// Its id: the `CliHost`'s name, or what a workstation drew.
    pub id: String,
    /// What policies select it by.
    pub labels: BTreeMap<String, String>,
    /// An admin enrolled it, so that an agent acts there; else a person does.
    pub managed: bool,
    /// It has no id yet, and comes last in every wave.
    pub new_root: bool,
    /// What it downloads for; absent: not known.
    pub platform: Option<Platform>,
    /// What is active.
    pub active: BTreeMap<Component, Active>,
}

/// What is active of one component.
#[derive(Debug, Clone, Default)]
pub struct Active {
    /// Its version; absent: not known.
    pub version: Option<Version>,
    /// The digests of its bytes, as far as they are known.
    pub digests: Vec<Digest>,
}

/// Where policies lead one component of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostImpact {
    /// Forbidden: what is active must be left. Else the verdict on `target`.
    pub verdict: Class,
    /// The version that would be taken now (Eligible, Forbidden) or once what holds it is over (Held); what
    /// is active, where nothing newer may be had. None: there is none to take.
    #[serde(serialize_with = "shown")]
    pub target: Option<Version>,
    /// What is active may run.
    pub runs: bool,
    /// What forbids what is active, holds the target, or stands against the newest version there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// What another set of policies would change for one component of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Plugin, or `d8`.
    pub component: String,
    /// The version that is active.
    #[serde(serialize_with = "shown")]
    pub active: Option<Version>,
    /// As it is; absent: nothing is to be there.
    pub old: Option<HostImpact>,
    /// As it would be.
    pub new: Option<HostImpact>,
    /// Verdict, target or the right to run would differ, not the reason alone.
    pub moves: bool,
}

#[expect(clippy::ref_option, reason = "as serde calls it")]
fn shown<S: serde::Serializer>(version: &Option<Version>, serializer: S) -> Result<S::Ok, S::Error> {
    match version {
        Some(version) => serializer.collect_str(version),
        None => serializer.serialize_none(),
    }
}

/// Compares two sets of policies over many hosts of one cluster, at one time.
#[derive(Debug)]
pub struct PolicyDiff<'a> {
    old: &'a PolicySet,
    new: &'a PolicySet,
    records: &'a BTreeMap<String, CliRelease>,
    now: Timestamp,
    /// What records offer, by what is downloaded for.
    published: BTreeMap<Option<Platform>, RecordedVersions>,
}

impl<'a> PolicyDiff<'a> {
    /// `records` by the component's name.
    pub fn new(
        old: &'a PolicySet,
        new: &'a PolicySet,
        records: &'a BTreeMap<String, CliRelease>,
        now: Timestamp,
    ) -> Self {
        Self { old, new, records, now, published: BTreeMap::new() }
    }

    /// What would change on one host, by component. What stays as it is, is left out.
    pub fn of(&mut self, machine: &HostFacts) -> Vec<Change> {
        let (records, now) = (self.records, self.now);
        let published = self
            .published
            .entry(machine.platform.clone())
            .or_insert_with(|| RecordedVersions::read(records, machine.platform.as_ref()));
        let mut host_preview = HostPreview { machine, records, published, now };
        let (old, new) = (host_preview.evaluate(self.old), host_preview.evaluate(self.new));
        let components: BTreeSet<&Component> = old.keys().chain(new.keys()).collect();
        let change = |component: &Component| {
            let (old, new) = (old.get(component), new.get(component));
            let moves = old.map(HostImpact::place) != new.map(HostImpact::place);
            (moves || old.map(HostImpact::word) != new.map(HostImpact::word)).then(|| Change {
                component: component.to_string(),
                active: machine.active.get(component).and_then(|active| active.version.clone()),
                moves,
                old: old.cloned(),
                new: new.cloned(),
            })
        };
        components.into_iter().filter_map(change).collect()
    }
}

impl HostImpact {
    /// What differs where a host would move, or could no longer run what it has.
    fn place(&self) -> (Class, Option<&Version>, bool) {
        (self.verdict, self.target.as_ref(), self.runs)
    }

    /// Whose word it is. Sentences count time down; this doesn't.
    fn word(&self) -> Option<(ReasonCode, Option<&str>)> {
        self.reason.as_ref().map(|reason| (reason.code, reason.policy.as_deref()))
    }
}

#[cfg(test)]
mod tests;
