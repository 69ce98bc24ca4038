//! Sentences about rules that forbid a version.

use super::super::{commands, explainer::Explainer, requirements::releases_only};
use crate::{
    decisions::reason::Source,
    values::{digest::Digest, version::Version},
};

impl Explainer<'_> {
    pub(super) fn denied(&self, by: &Source) -> String {
        let name = &self.subject.component;
        match (by, &self.subject.active) {
            (Source::LocalRules { .. }, _) => {
                format!("{name} is refused on this host; ask the owner of this host to allow it")
            }
            (Source::Policy { .. }, Some(_)) => format!(
                "{name} is denied on this host; remove it with `{}`, or ask an admin to allow it",
                commands::remove(name)
            ),
            (Source::Policy { .. }, None) => format!(
                "{name} is denied on this host; ask an admin to allow it, or to exclude this host from the policy"
            ),
        }
    }

    pub(super) fn blocked(&self, range: Option<&str>, same_layer_as: Option<&Version>) -> String {
        let (version, other_version) = (self.version(), self.other_version());
        let by_range = range.map(|range| format!(" by `{range}`")).unwrap_or_default();
        match same_layer_as {
            None => format!("{version} is blocked{by_range}{other_version}"),
            Some(blocked) => {
                format!("{version} has the same layer as {blocked}, which is blocked{by_range}{other_version}")
            }
        }
    }

    pub(super) fn version_not_permitted(&self, constraint: &str) -> String {
        let permitted = self.run_why("", "see the permitted versions, or ");
        let only = self.subject.version.as_ref().and_then(|version| releases_only(constraint, version));
        let only = only.unwrap_or_default();
        format!("{} is outside `{constraint}`{only}; {permitted}ask an admin for a wider range", self.version())
    }

    pub(super) fn below_minimum(&self, minimum: &Version) -> String {
        format!("{} is below the minimum {minimum}{}", self.version(), self.other_version())
    }

    pub(super) fn not_pinned(&self, digest: &Digest) -> String {
        let other = self.run_why(", or ", "find another version");
        format!(
            "{} is pinned to {} but published with another digest; ask its publisher about the change, then ask an \
             admin to pin the new digest{other}",
            self.version(),
            digest.short()
        )
    }

    pub(super) fn channel_not_permitted(&self) -> String {
        let other = self.run_why("; ", "find a release");
        format!("{} is a pre-release and the channel is Stable{other}", self.version())
    }

    /// Returns how to get another version than the one in question.
    fn other_version(&self) -> String {
        if self.subject.version.is_some() && self.subject.version == self.subject.active {
            format!("; replace it with {}", self.there(&commands::update(self.subject)))
        } else {
            self.run_why("; ", "find another version")
        }
    }
}
