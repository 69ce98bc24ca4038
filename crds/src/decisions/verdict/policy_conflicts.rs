//! Policies that contradict each other on a host (`docs/policies.md`, rule 22): together they permit no version of a
//! component, although one of them requires it, or names it and limits its versions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::{
    applicable::ApplicableRule,
    candidate::Candidate,
    effective::{Attributed, FieldSource},
    gates::{Causes, GateInput},
    host_policies::HostPolicies,
    merge::{ACCESS, permitted_versions},
};
use crate::{
    decisions::{
        intent::Intent,
        reason::{Cause, Field, Source},
    },
    records::{policy::Access, release::CliRelease},
    values::{
        channel::Channel,
        constraint::{Constraint, representatives, satisfiable},
        name::Component,
        text::printable,
        version::Version,
    },
};

/// A component of which the policies of a host together permit no version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyConflict {
    /// The plugin, or d8 itself.
    pub component: Component,
    /// Fields that require the plugin; none: no version at all could meet the `versions` of all policies.
    pub required_by: Vec<Attributed<String>>,
    /// Fields that together refuse every version: every published one if the plugin is required. A field is left out if
    /// it refuses no version but those that fewer fields refuse without it.
    pub refused_by: Vec<Attributed<String>>,
}

impl PolicyConflict {
    /// Returns the policies that take part, each once and in order.
    pub fn policies(&self) -> BTreeSet<&str> {
        self.required_by.iter().chain(&self.refused_by).map(|field| field.from.policy.as_str()).collect()
    }
}

impl HostPolicies<'_> {
    /// Returns the conflicts between the policies for everyone, d8 first and then plugins by name. Policies with
    /// `subjects`, emergency policies and invalid ones take no part. `record` returns the record of a component, if it is
    /// known.
    pub fn conflicts<'r>(&self, record: impl Fn(&Component) -> Option<&'r CliRelease>) -> Vec<PolicyConflict> {
        let conflict = |component: Component| {
            let record = record(&component);
            self.conflict(component, record)
        };
        self.contested().into_iter().filter_map(conflict).collect()
    }

    /// Returns the components about which policies can contradict each other: d8 first, and then plugins by name.
    pub fn contested(&self) -> Vec<Component> {
        let policies = self.for_intent(Intent::Agent);
        let d8 = policies.valid().any(|policy| policy.cli.is_some()).then_some(Component::D8);
        let plugins = policies.named_plugins().into_iter().cloned().map(Component::Plugin);
        d8.into_iter().chain(plugins).collect()
    }

    /// Returns the conflict about one component. `release`: its record, if it is known.
    pub fn conflict(&self, component: Component, release: Option<&CliRelease>) -> Option<PolicyConflict> {
        self.for_intent(Intent::Agent).conflict_here(component, release)
    }

    /// Returns the plugins that a policy for everyone requires, also those that another one denies: published versions of
    /// others are no part of a conflict.
    pub fn required_by_some(&self) -> Vec<Component> {
        let policies = self.for_intent(Intent::Agent);
        let plugins = policies.named_plugins().into_iter().cloned().map(Component::Plugin);
        plugins.filter(|component| !requirements(&policies.rules(component)).is_empty()).collect()
    }

    fn conflict_here(&self, component: Component, release: Option<&CliRelease>) -> Option<PolicyConflict> {
        let rules = self.rules(&component);
        let mut refused_by = contradicting_versions(&rules);
        let required_by = requirements(&rules);
        if !required_by.is_empty() {
            refused_by.extend(self.refusing_all_published(&rules, &component, release));
        }
        let mut refused_by: Vec<_> = refused_by.into_iter().collect();
        refused_by.sort_by(|a, b| (&a.from, &a.value).cmp(&(&b.from, &b.value)));
        (!refused_by.is_empty()).then_some(PolicyConflict { component, required_by, refused_by })
    }

    /// Returns the fields that together refuse every published version; none if one is left, or if nothing is known to
    /// be published and nothing denies the component.
    fn refusing_all_published(
        &self,
        rules: &[ApplicableRule<'_>],
        component: &Component,
        release: Option<&CliRelease>,
    ) -> BTreeSet<Attributed<String>> {
        let recorded = release.and_then(|release| release.status.as_ref()).into_iter().flat_map(|s| &s.versions);
        let published = recorded.filter(|version| version.withdrawn.is_none());
        let mut refusals = BTreeSet::new();
        for version in published.filter_map(|published| Version::parse_full(&published.version).ok()) {
            let refused_by = self.refusals(rules, component, &version, release);
            if refused_by.is_empty() {
                return refused_by;
            }
            refusals.insert(refused_by);
        }
        if refusals.is_empty() {
            return self.denials(rules, component);
        }
        taking_part(&refusals)
    }

    /// Returns the fields that forbid a version for every intent.
    fn refusals(
        &self,
        rules: &[ApplicableRule<'_>],
        component: &Component,
        version: &Version,
        release: Option<&CliRelease>,
    ) -> BTreeSet<Attributed<String>> {
        let candidate =
            Candidate::new(self.host, component, version, Intent::Explicit, Timestamp::UNIX_EPOCH).release(release);
        let subject = || candidate.subject();
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, rules, self).against_version(&mut causes);
        causes.reasons().iter().filter_map(|reason| refusing_field(&reason.cause, version)).collect()
    }

    fn denials(&self, rules: &[ApplicableRule<'_>], component: &Component) -> BTreeSet<Attributed<String>> {
        let any = Version::default();
        let candidate = Candidate::new(self.host, component, &any, Intent::Explicit, Timestamp::UNIX_EPOCH);
        let subject = || candidate.subject();
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, rules, self).against_access(&mut causes);
        causes.reasons().iter().filter_map(|reason| refusing_field(&reason.cause, &any)).collect()
    }
}

/// Returns the fields that require the component.
fn requirements(rules: &[ApplicableRule<'_>]) -> Vec<Attributed<String>> {
    let require = rules.iter().filter_map(|rule| {
        let setting = ACCESS.of(rule).filter(|setting| setting.value == Access::Require)?;
        Some(attributed("Require".to_owned(), &rule.source(setting.origin, ACCESS.field)))
    });
    require.collect()
}

/// Returns the constraints that no version can meet together, without those that do not matter.
fn contradicting_versions(rules: &[ApplicableRule<'_>]) -> BTreeSet<Attributed<String>> {
    let permitted = rules.iter().filter_map(|rule| Some((rule, permitted_versions(rule)?)));
    let permitted: Vec<_> = permitted.collect();
    let constraints: Vec<(&Constraint, Channel)> = permitted.iter().map(|(_, p)| (p.constraint, p.channel)).collect();
    // Policies often repeat a constraint.
    let key = |(constraint, channel): &(&Constraint, Channel)| (constraint.as_str().to_owned(), *channel);
    let distinct: BTreeMap<_, _> = constraints.iter().map(|entry| (key(entry), *entry)).collect();
    if satisfiable(&distinct.into_values().collect::<Vec<_>>()) {
        return BTreeSet::new();
    }
    let refusing = |version: Version| -> BTreeSet<usize> {
        let refuse = constraints.iter().map(|(constraint, channel)| !constraint.permits(&version, *channel));
        refuse.enumerate().filter_map(|(index, refuses)| refuses.then_some(index)).collect()
    };
    let versions = representatives(constraints.iter().map(|(constraint, _)| *constraint));
    let indexes = taking_part(&versions.into_iter().map(refusing).collect());
    let fields = indexes.into_iter().filter_map(|index| permitted.get(index));
    fields
        .map(|(rule, p)| {
            attributed(printable(p.constraint.as_str()).into_owned(), &rule.source(p.origin, Some(Field::Versions)))
        })
        .collect()
}

/// Returns the members of the minimal groups that together refuse every version. `refusals` has for each version all who
/// refuse it, at least one.
///
/// A group refuses every version if it has a member of each set, so the minimal groups are the minimal hitting sets.
/// Together they have the members of the sets that contain no other set.
fn taking_part<T: Ord + Clone>(refusals: &BTreeSet<BTreeSet<T>>) -> BTreeSet<T> {
    let contains_another = |set: &BTreeSet<T>| refusals.iter().any(|other| other != set && other.is_subset(set));
    refusals.iter().filter(|set| !contains_another(set)).flatten().cloned().collect()
}

/// Returns the field behind a cause that forbids a version, with its value.
fn refusing_field(cause: &Cause, version: &Version) -> Option<Attributed<String>> {
    let (by, value) = match cause {
        Cause::Denied { by, .. } => (by, "Deny".to_owned()),
        Cause::Blocked { by, range: Some(range), .. } => (by, range.to_string()),
        Cause::Blocked { by, same_layer_as, .. } => (by, same_layer_as.as_deref().unwrap_or(version).to_string()),
        Cause::VersionNotPermitted { by, constraint, .. } => (by, constraint.to_string()),
        Cause::BelowMinimum { by, minimum } => (by, format!(">={minimum}")),
        Cause::NotPinned { by, digest, .. } => (by, format!("{version} {}", digest.short())),
        Cause::ChannelNotPermitted { by, .. } => (by, "Stable".to_owned()),
        _ => return None,
    };
    Some(attributed(value, by))
}

fn attributed(value: String, by: &Source) -> Attributed<String> {
    Attributed { value, from: FieldSource::from(by) }
}
