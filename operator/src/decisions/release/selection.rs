//! Selects the published versions of a record.

use d8_crds::{
    decisions::selection::{PublishedVersion, is_stable, read_tags},
    records::release::LeftOutTags,
    values::{
        name::{Component, Tag},
        version::Version,
    },
};

use super::spec::CheckedSpec;
use crate::decisions::retention::RetainedVersions;

/// How many versions are recorded only because a policy blocks a range with them. The record must stay small, and a
/// republished layer is usually one of the newest.
const BLOCKED_BY_RANGE: usize = 20;

/// How many of the newest versions have their layers read where only a layer holds the contract.
const READ_LAYERS: usize = 3;

/// One version and the tags that name it. Usually that is one tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectedVersion {
    pub(crate) version: Version,
    /// The tags; the preferred one, written with `v`, comes first.
    pub(crate) tags: Vec<Tag>,
    /// Whether to download layers if only a layer holds the contract.
    pub(crate) read_layers: bool,
}

impl SelectedVersion {
    /// Makes a version from its tags, the preferred one first.
    fn of(tags: Vec<PublishedVersion>) -> Option<Self> {
        let version = tags.first()?.version.clone();
        let tags = tags.into_iter().map(|published| published.registry_tag).collect();
        Some(Self { version, tags, read_layers: false })
    }
}

/// The versions of a record, selected from a list of tags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SelectedVersions {
    /// The versions to record, newest first.
    pub(crate) versions: Vec<SelectedVersion>,
    /// The newest stable version that the spec publishes.
    pub(crate) latest: Option<SelectedVersion>,
    /// Tags that are not versions.
    pub(crate) left_out: LeftOutTags,
}

/// Selects the versions of a record: the newest ones that the spec publishes, as many as its history, and the retained
/// ones.
pub(crate) fn select_versions<'a>(
    component: &Component,
    tags: impl IntoIterator<Item = &'a Tag>,
    spec: &CheckedSpec,
    retained: &RetainedVersions,
) -> SelectedVersions {
    let mut selected = SelectedVersions::default();
    let list = read_tags(component, tags.into_iter().map(Tag::as_str), None);
    selected.left_out = list.left_out;
    let one = list.published.into_iter().map(|one| vec![one]);
    let several = list.ambiguous.into_iter().map(|ambiguous| ambiguous.tags);
    let mut versions: Vec<SelectedVersion> = one.chain(several).filter_map(SelectedVersion::of).collect();
    versions.sort_by(|a, b| b.version.cmp(&a.version));
    let (mut recent_count, mut blocked_count) = (0, 0);
    for mut version in versions {
        let publishes = spec.publishes(component, &version.version);
        if publishes && selected.latest.is_none() && is_stable(component, &version.version) {
            selected.latest = Some(version.clone());
        }
        let is_recent = publishes && recent_count < spec.history;
        recent_count += usize::from(is_recent);
        let is_retained = is_recent || retained.contains(&version.version);
        let is_blocked =
            !is_retained && blocked_count < BLOCKED_BY_RANGE && retained.is_in_blocked_range(&version.version);
        blocked_count += usize::from(is_blocked);
        if is_retained || is_blocked {
            version.read_layers = selected.versions.len() < READ_LAYERS || retained.pinned.contains(&version.version);
            selected.versions.push(version);
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use d8_crds::records::release::CliReleaseSpec;

    use super::*;

    #[test]
    fn the_spec_and_the_retained_versions_select() {
        use d8_crds::values::channel::Channel::{Prerelease, Stable};
        let all = ["v1.2.0", "v1.10.0", "v1.9.0-rc.1", "v2.0.0-main", "latest", "v0.9.0", "v3"];
        let all: BTreeSet<Tag> = all.iter().map(|tag| tag.parse().unwrap()).collect();
        let spec = CliReleaseSpec::default;
        for (what, component, spec, pinned, selected, latest) in [
            ("stable by default", "p", spec(), vec![], "v2.0.0-main v1.10.0 v1.2.0 v0.9.0", Some("v2.0.0-main")),
            ("d8 has no stable pre-release", "d8", spec(), vec![], "v1.10.0 v1.2.0 v0.9.0", Some("v1.10.0")),
            (
                "both channels, and latest is stable",
                "d8",
                CliReleaseSpec { channel: Prerelease, ..spec() },
                vec![],
                "v2.0.0-main v1.10.0 v1.9.0-rc.1 v1.2.0 v0.9.0",
                Some("v1.10.0"),
            ),
            (
                "a constraint",
                "p",
                CliReleaseSpec { versions: Some("<1.5".into()), channel: Stable, ..spec() },
                vec![],
                "v1.2.0 v0.9.0",
                Some("v1.2.0"),
            ),
            (
                "under channel Prerelease a pre-release counts as its release",
                "p",
                CliReleaseSpec { versions: Some(">=1.9 <1.10".into()), channel: Prerelease, ..spec() },
                vec![],
                "v1.9.0-rc.1",
                None,
            ),
            (
                "and is excluded with its release",
                "d8",
                CliReleaseSpec { versions: Some("<2".into()), channel: Prerelease, ..spec() },
                vec![],
                "v1.10.0 v1.9.0-rc.1 v1.2.0 v0.9.0",
                Some("v1.10.0"),
            ),
            (
                "a short history, and pinned versions besides",
                "p",
                CliReleaseSpec { history: Some(1), ..spec() },
                vec!["1.9.0-rc.1", "v0.9.0", "v7.7.7"],
                "v2.0.0-main v1.9.0-rc.1 v0.9.0",
                Some("v2.0.0-main"),
            ),
        ] {
            let component: Component = component.parse().unwrap();
            let pinned = pinned.iter().map(|version| Version::parse(version).unwrap()).collect();
            let retained = RetainedVersions { pinned, ..RetainedVersions::default() };
            let found = select_versions(&component, &all, &CheckedSpec::read(&spec).unwrap(), &retained);
            let names: Vec<&str> = found.versions.iter().flat_map(|v| &v.tags).map(Tag::as_str).collect();
            assert_eq!(names.join(" "), selected, "{what}");
            assert_eq!(found.latest.as_ref().map(|v| v.tags[0].as_str()), latest, "{what}");
            let left_out: Vec<&str> = found.left_out.tags.iter().map(|tag| tag.tag.as_str()).collect();
            assert_eq!(left_out, ["latest", "v3"], "{what}");
        }
    }
}
