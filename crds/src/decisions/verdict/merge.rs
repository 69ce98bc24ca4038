//! The merge of a field over all policies of a host: the strictest value wins (`docs/policies.md`, "Which
//! policies apply"). Gates, guidance and the effective policy all merge here.

use std::time::Duration;

use super::applicable::{ApplicableRule, Setting};
use crate::{
    decisions::reason::{Field, Origin, Source},
    records::policy::{Access, MajorUpdates, MissingDependencies, MovedTags, Updates},
    values::{channel::Channel, constraint::Constraint},
};

/// A field that several policies may set. The greatest value is the strictest.
pub(super) struct PolicyField<T> {
    /// Field below the part of the policy that sets it; `None`: that part is the field.
    pub(super) field: Option<Field>,
    /// Value where no policy sets it.
    unset: T,
    get: fn(&ApplicableRule<'_>) -> Option<Setting<T>>,
}

pub(super) const ACCESS: PolicyField<Access> =
    PolicyField { field: Some(Field::Access), unset: Access::Allow, get: |rule| rule.access() };
pub(super) const CHANNEL: PolicyField<Channel> = PolicyField {
    field: Some(Field::Channel),
    unset: Channel::Stable,
    get: |rule| rule.setting(|settings| settings.channel),
};
pub(super) const UPDATES: PolicyField<Updates> = PolicyField {
    field: Some(Field::Updates),
    unset: Updates::Manual,
    get: |rule| rule.setting(|settings| settings.updates),
};
pub(super) const MAJOR_UPDATES: PolicyField<MajorUpdates> = PolicyField {
    field: Some(Field::MajorUpdates),
    unset: MajorUpdates::Stay,
    get: |rule| rule.setting(|settings| settings.major_updates),
};
/// `minAge`, which does not bind the canaries of its policy.
pub(super) const MIN_AGE: PolicyField<Duration> = PolicyField {
    field: Some(Field::MinAge),
    unset: Duration::ZERO,
    get: |rule| rule.setting(|settings| settings.min_age).filter(|_| !rule.canary),
};
pub(super) const MOVED_TAGS: PolicyField<MovedTags> = PolicyField {
    field: Some(Field::MovedTags),
    unset: MovedTags::Refuse,
    get: |rule| rule.policy.moved_tags.map(|value| Setting { value, origin: Origin::Spec(Field::Integrity) }),
};
pub(super) const MISSING_DEPENDENCIES: PolicyField<MissingDependencies> = PolicyField {
    field: None,
    unset: MissingDependencies::Install,
    get: |rule| {
        let value = rule.policy.missing_dependencies?;
        Some(Setting { value, origin: Origin::Spec(Field::MissingDependencies) })
    },
};

pub(super) const PAUSED: PolicyField<bool> = PolicyField {
    field: None,
    unset: false,
    get: |rule| rule.policy.paused.then_some(Setting { value: true, origin: Origin::Spec(Field::Paused) }),
};

impl<T: Ord + Copy> PolicyField<T> {
    /// Returns what one policy sets.
    pub(super) fn of(&self, rule: &ApplicableRule<'_>) -> Option<Setting<T>> {
        (self.get)(rule)
    }

    /// Merges what the policies set.
    pub(super) fn merge<'r, 'a>(&self, rules: &'r [ApplicableRule<'a>]) -> Merge<'r, 'a, T> {
        let strictest = rules.iter().filter_map(|rule| self.of(rule)).map(|setting| setting.value).max();
        let Self { field, get, .. } = *self;
        Merge { value: strictest.unwrap_or(self.unset), is_set: strictest.is_some(), field, get, rules }
    }
}

/// The `versions` of one policy for a component.
pub(super) struct PermittedVersions<'a> {
    pub(super) constraint: &'a Constraint,
    /// Place of the rule that sets them.
    pub(super) origin: Origin,
    /// The channel under which they are read: that of their own policy, or the channel of one policy would widen the range
    /// of another.
    pub(super) channel: Channel,
}

/// Returns the `versions` of one policy.
pub(super) fn permitted_versions<'a>(rule: &ApplicableRule<'a>) -> Option<PermittedVersions<'a>> {
    let (origin, of_policy) = rule.rule()?;
    let constraint = of_policy.versions.as_ref()?;
    let channel = CHANNEL.of(rule).map_or(CHANNEL.unset, |setting| setting.value);
    Some(PermittedVersions { constraint, origin, channel })
}

/// What the policies set for one field.
pub(super) struct Merge<'r, 'a, T> {
    /// The strictest value; if no policy sets the field, its default.
    pub(super) value: T,
    /// At least one policy sets the field.
    pub(super) is_set: bool,
    field: Option<Field>,
    get: fn(&ApplicableRule<'_>) -> Option<Setting<T>>,
    rules: &'r [ApplicableRule<'a>],
}

impl<'r, 'a, T: Ord + Copy + 'r> Merge<'r, 'a, T> {
    /// Returns the policies that set the strictest value, each with the field; none where the field is unset.
    pub(super) fn setters(self) -> impl Iterator<Item = (&'r ApplicableRule<'a>, Source)> {
        self.rules.iter().filter_map(move |rule| {
            let setting = (self.get)(rule).filter(|setting| setting.value == self.value)?;
            Some((rule, rule.source(setting.origin, self.field)))
        })
    }

    /// Returns the fields that set the strictest value.
    pub(super) fn sources(self) -> impl Iterator<Item = Source> {
        self.setters().map(|(_, source)| source)
    }

    /// Returns the fields that set the strictest value, or one `None` where the field is unset.
    pub(super) fn sources_or_unset(self) -> impl Iterator<Item = Option<Source>> {
        let unset = (!self.is_set).then_some(None);
        self.sources().map(Some).chain(unset)
    }
}
