//! What is known of the versions of one component: the digest of each tag, and the facts of each digest.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use d8_crds::{
    records::release::{CliReleaseStatus, LeftOutTags},
    values::{
        digest::Digest,
        name::{Component, Tag},
    },
};
use jiff::Timestamp;

use super::{
    facts::VersionFacts,
    platform_tags::PlatformTags,
    selection::{SelectedVersion, SelectedVersions, select_versions},
    spec::CheckedSpec,
};
use crate::decisions::retention::RetainedVersions;

/// Reason of a poll that failed because the proxy is not the pinned one. Nothing was sent to it.
pub(crate) const ENDPOINT_CHANGED: &str = "EndpointChanged";

/// Why one version could not be read. The rest of the poll went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionError {
    /// Reason of a condition.
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Reason of a poll whose answer was that nothing is published.
pub(crate) const NOT_PUBLISHED: &str = "NotPublished";

/// Why a poll failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PollError {
    /// Reason of a condition.
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl From<VersionError> for PollError {
    fn from(VersionError { reason, message }: VersionError) -> Self {
        Self { reason, message }
    }
}

/// The images that the tags of a version point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagResolution<'a> {
    /// All tags point at one digest; this is the preferred tag.
    Unique(&'a Tag),
    /// The tags point at different digests, so none of them names the version.
    Ambiguous,
    /// At least one manifest is not known yet.
    Unread,
}

/// What is known of the versions of one component.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// The tags of the last accepted list; absent: no poll since the start.
    tags: Option<BTreeSet<Tag>>,
    /// Versions that are listed by one tag for each platform, with the platforms.
    pub(crate) platform_tags: PlatformTags,
    /// Entries of the last list that are not valid tags.
    pub(crate) malformed_tags: LeftOutTags,
    /// The tags of the first answer since the start, none if it was that nothing is published. Only their
    /// image dates are trusted; tags that appear later may claim any date.
    pub(crate) first_list: Option<BTreeSet<Tag>>,
    /// The digest that each tag points at.
    pub(crate) digests: BTreeMap<Tag, Digest>,
    /// What each digest holds.
    pub(crate) facts: HashMap<Digest, VersionFacts>,
    /// Tags that could not be read.
    pub(crate) unreadable: BTreeMap<Tag, VersionError>,
    /// Time of the last successful poll.
    pub(crate) last_sync: Option<Timestamp>,
    /// Why the last poll failed; absent: it succeeded, or there was none.
    pub(crate) poll_error: Option<PollError>,
    /// A poll is reading versions now.
    pub(crate) reading: bool,
    /// The last selection; absent after the tags changed.
    selection: Option<CachedSelection>,
}

/// A selection, and the inputs it was made from besides the tags.
#[derive(Debug, Clone, PartialEq)]
struct CachedSelection {
    generation: i64,
    retained: RetainedVersions,
    selected: Arc<SelectedVersions>,
}

impl Observed {
    /// Takes over what the record's status holds, after a restart. `current`: the status was made from the current
    /// spec.
    pub(crate) fn from_status(status: &CliReleaseStatus, current: bool) -> Self {
        let mut observed = Self { last_sync: status.last_sync_time.as_ref().map(|t| t.0), ..Self::default() };
        for version in &status.versions {
            let (Ok(tag), Ok(digest)) = (version.version.parse::<Tag>(), version.digest.parse::<Digest>()) else {
                continue;
            };
            observed.facts.insert(digest.clone(), VersionFacts::recorded(version, !current));
            if version.withdrawn.is_none() {
                observed.digests.insert(tag, digest);
            }
        }
        observed
    }

    /// Marks facts as incomplete that may lack a platform of a new spec.
    pub(crate) fn spec_changed(&mut self) {
        self.facts.values_mut().for_each(|facts| facts.incomplete |= facts.platforms_limited);
    }

    /// Replaces the list of tags.
    pub(crate) fn set_tags(&mut self, tags: BTreeSet<Tag>) {
        self.first_list.get_or_insert_with(|| tags.clone());
        self.tags = Some(tags);
        self.selection = None;
    }

    /// Notes why a poll failed. `NOT_PUBLISHED` counts as an answer: versions found later were published after it.
    pub(crate) fn set_poll_error(&mut self, error: PollError) {
        if error.reason == NOT_PUBLISHED {
            self.first_list.get_or_insert_default();
        }
        self.poll_error = Some(error);
    }

    /// Returns whether a poll delivered a list of tags since the start.
    pub(crate) fn is_listed(&self) -> bool {
        self.tags.is_some()
    }

    /// Returns the published tags: those of the last list, or before the first poll those of the record.
    pub(crate) fn published(&self) -> BTreeSet<Tag> {
        self.tags.clone().unwrap_or_else(|| self.digests.keys().cloned().collect())
    }

    /// Returns whether the registry still has the tag. Before the first poll, that is assumed.
    pub(super) fn may_be_published(&self, tag: &Tag) -> bool {
        self.tags.as_ref().is_none_or(|tags| tags.contains(tag))
    }

    /// Selects the versions of the record. The tags are read again only if the list, the spec (by its generation) or
    /// the retained versions changed.
    pub(crate) fn selected(
        &mut self,
        component: &Component,
        generation: i64,
        spec: &CheckedSpec,
        retained: &RetainedVersions,
    ) -> Arc<SelectedVersions> {
        if let Some(cached) = &self.selection
            && cached.generation == generation
            && cached.retained == *retained
        {
            return cached.selected.clone();
        }
        let selected = Arc::new(select_versions(component, &self.published(), spec, retained));
        let cached = CachedSelection { generation, retained: retained.clone(), selected: selected.clone() };
        self.selection = Some(cached);
        selected
    }

    /// Returns digest and facts of a tag.
    pub(crate) fn of_tag(&self, tag: &Tag) -> Option<(&Digest, &VersionFacts)> {
        let digest = self.digests.get(tag)?;
        Some((digest, self.facts.get(digest)?))
    }

    /// Returns whether the manifest of the tag must still be read.
    pub(crate) fn needs_reading(&self, tag: &Tag) -> bool {
        self.of_tag(tag).is_none_or(|(_, facts)| facts.incomplete)
    }

    /// Returns whether the layers of the tag were left out when it was read.
    pub(crate) fn lacks_layers(&self, tag: &Tag) -> bool {
        self.of_tag(tag).is_some_and(|(_, facts)| facts.is_digest_only())
    }

    /// Resolves the tags of a version.
    pub(crate) fn resolve<'a>(&self, version: &'a SelectedVersion) -> TagResolution<'a> {
        let digest = |tag| self.digests.get(tag).filter(|digest| self.facts.contains_key(digest));
        let digests: Option<BTreeSet<_>> = version.tags.iter().map(digest).collect();
        match (digests, version.tags.first()) {
            (Some(digests), Some(first)) if digests.len() == 1 => TagResolution::Unique(first),
            (Some(digests), _) if digests.len() > 1 => TagResolution::Ambiguous,
            _ => TagResolution::Unread,
        }
    }

    /// Drops what neither a published tag nor a recorded version refers to.
    pub(crate) fn prune(&mut self, status: &CliReleaseStatus) {
        if let Some(tags) = &self.tags {
            self.digests.retain(|tag, _| tags.contains(tag));
            self.unreadable.retain(|tag, _| tags.contains(tag));
        }
        let digests = &self.digests;
        self.facts.retain(|digest, _| {
            digests.values().any(|known| known == digest)
                || status.versions.iter().any(|version| version.digest == digest.as_str())
        });
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::{
        records::release::{CliReleaseSpec, Fit},
        values::version::Version,
    };

    use super::{super::fixtures::recorded, *};

    fn tags(texts: &[&str]) -> BTreeSet<Tag> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn select(observed: &mut Observed, retained: &RetainedVersions) -> Arc<SelectedVersions> {
        let spec = CheckedSpec::read(&CliReleaseSpec::default()).unwrap();
        observed.selected(&"p".parse().unwrap(), 1, &spec, retained)
    }

    #[test]
    fn the_tags_of_one_version_resolve_to_one_digest_or_are_ambiguous() {
        let mut observed = Observed::default();
        observed.set_tags(tags(&["1.0.0", "v1.0.0"]));
        let selected = select(&mut observed, &RetainedVersions::default());
        let version = &selected.versions[0];
        assert_eq!(version.tags[0].as_str(), "v1.0.0");
        assert_eq!(observed.resolve(version), TagResolution::Unread);
        for (v, bare, expected) in
            [(b"a", b"a", TagResolution::Unique(&version.tags[0])), (b"a", b"b", TagResolution::Ambiguous)]
        {
            let (v, bare) = (Digest::of(v), Digest::of(bare));
            observed.facts = [(v.clone(), VersionFacts::default()), (bare.clone(), VersionFacts::default())].into();
            observed.digests = [("v1.0.0".parse().unwrap(), v), ("1.0.0".parse().unwrap(), bare)].into();
            assert_eq!(observed.resolve(version), expected);
        }
    }

    #[test]
    fn versions_are_selected_again_only_after_a_change() {
        let mut observed = Observed::default();
        observed.set_tags(tags(&["v1.0.0"]));
        let retained = RetainedVersions::default();
        let first = select(&mut observed, &retained);
        assert!(Arc::ptr_eq(&first, &select(&mut observed, &retained)));
        let pinned = RetainedVersions { pinned: [Version::parse("v1.0.0").unwrap()].into(), ..retained.clone() };
        assert!(!Arc::ptr_eq(&first, &select(&mut observed, &pinned)), "other retained versions");
        observed.set_tags(tags(&["v1.0.0"]));
        assert!(!Arc::ptr_eq(&first, &select(&mut observed, &retained)), "another list");
    }

    #[test]
    fn pruning_keeps_what_a_tag_or_the_record_refers_to() {
        let status = CliReleaseStatus { versions: vec![recorded("v1.0.0", Fit::Fits)], ..CliReleaseStatus::default() };
        let mut observed = Observed::from_status(&status, true);
        let tag: Tag = "v1.1.0".parse().unwrap();
        observed.digests.insert(tag.clone(), Digest::of(b"2"));
        observed.facts.insert(Digest::of(b"2"), VersionFacts::default());
        observed.facts.insert(Digest::of(b"3"), VersionFacts::default());
        observed.set_tags([tag].into());
        observed.prune(&status);
        assert_eq!(observed.digests.len(), 1);
        assert_eq!(observed.facts.len(), 2);
    }
}
