//! Reading tags as versions.

use std::collections::BTreeMap;

use super::is_stable;
use crate::{
    records::release::{CliRelease, LeftOutTags, ReleaseVersion},
    values::{
        digest::Digest,
        name::{Component, NameError, Tag},
        platform::Platform,
        text::printable_to,
        version::{Version, VersionError},
    },
};

/// A version and the tag that publishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedVersion {
    /// The tag without its platform, as people and the store know it.
    pub tag: Tag,
    /// The tag in the registry. It differs from `tag` only where versions are published per platform
    /// (generation 1): `v1.2.3-linux-amd64`.
    pub registry_tag: Tag,
    /// The version that the tag is read as.
    pub version: Version,
}

/// Tags that are read as the same version: `v1.2.3` beside `1.2.3`. The version counts as published only if
/// they all have the same digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmbiguousTags {
    /// Two or more tags, the preferred one first: the canonical one, then those with `v`, then by text.
    pub tags: Vec<PublishedVersion>,
}

impl AmbiguousTags {
    /// Returns the preferred tag, if all tags are known to have the same digest.
    fn resolve(&self, digest_of: impl Fn(&Tag) -> Option<Digest>) -> Option<PublishedVersion> {
        let (first, rest) = self.tags.split_first()?;
        let digest = digest_of(&first.registry_tag)?;
        let same = rest.iter().all(|other| digest_of(&other.registry_tag).as_ref() == Some(&digest));
        same.then(|| first.clone())
    }
}

/// The versions that a component has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// The component whose tags were read.
    pub component: Component,
    /// The versions, newest first, each once.
    pub published: Vec<PublishedVersion>,
    /// The versions that have more than one tag, newest first. [`TagList::resolve_ambiguous`] moves them to
    /// `published`.
    pub ambiguous: Vec<AmbiguousTags>,
    /// The tags that are not versions.
    pub left_out: LeftOutTags,
    /// The number of tags for other platforms.
    pub foreign: usize,
}

/// Why a requested version was not found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The text is not a version.
    #[error(transparent)]
    NotAVersion(#[from] VersionError),
    /// No tag is read as the version.
    #[error("version {0} is not published")]
    NotPublished(Version),
    /// Several tags are read as the version and are not known to have the same digest.
    #[error("version {version} is ambiguous: {tags} are published with different content")]
    Ambiguous {
        /// The requested version, without build metadata.
        version: Version,
        /// Its tags: `v1.2.3 and 1.2.3`.
        tags: String,
    },
}

/// Reads a list of tags in any order. Of the tags for one platform only those for `platform` count.
pub fn read_tags<T: AsRef<str>>(
    component: &Component,
    tags: impl IntoIterator<Item = T>,
    platform: Option<&Platform>,
) -> TagList {
    let component = component.clone();
    let (published, ambiguous) = (Vec::new(), Vec::new());
    let mut list = TagList { component, published, ambiguous, left_out: LeftOutTags::default(), foreign: 0 };
    let mut versions: BTreeMap<Version, Vec<PublishedVersion>> = BTreeMap::new();
    for tag in tags {
        let (published, of) = match read_tag(tag.as_ref()) {
            Ok(read) => read,
            Err(why) => {
                list.left_out.add(tag.as_ref(), &why);
                continue;
            }
        };
        if of.is_some() && of.as_ref() != platform {
            list.foreign += 1;
            continue;
        }
        let same_version = versions.entry(published.version.clone()).or_default();
        match same_version.iter_mut().find(|other| other.tag == published.tag) {
            // Published for all platforms and per platform: the tag for all platforms is used.
            Some(other) if of.is_none() => *other = published,
            Some(_) => {}
            None => same_version.push(published),
        }
    }
    for (_, mut tags) in versions.into_iter().rev() {
        if tags.len() > 1 {
            tags.sort_by_cached_key(|published| {
                let tag = published.tag.as_str();
                (tag != published.version.to_string(), !tag.starts_with('v'), tag.to_owned())
            });
            list.ambiguous.push(AmbiguousTags { tags });
        } else {
            list.published.append(&mut tags);
        }
    }
    list
}

/// Reads a tag as a version, and the platform that the tag ends in, if it does. Returns why it is no version otherwise.
fn read_tag(text: &str) -> Result<(PublishedVersion, Option<Platform>), String> {
    let registry_tag: Tag = text.parse().map_err(|error: NameError| error.to_string())?;
    let (bare, platform) = match Platform::split_suffix(text) {
        Some((bare, platform)) => (bare, Some(platform)),
        None => (text, None),
    };
    let version = Version::parse_full(bare).map_err(|error| error.to_string())?;
    let tag = bare.parse().map_err(|error: NameError| error.to_string())?;
    Ok((PublishedVersion { tag, registry_tag, version }, platform))
}

impl TagList {
    /// Reads the versions that a record publishes for a platform. Withdrawn versions are not among them.
    pub fn of_record(component: &Component, record: &CliRelease, platform: Option<&Platform>) -> Self {
        let versions = record.status.iter().flat_map(|status| &status.versions);
        let published: BTreeMap<&str, &ReleaseVersion> = versions
            .filter(|recorded| recorded.withdrawn.is_none())
            .map(|recorded| (recorded.version.as_str(), recorded))
            .collect();
        let mut list = read_tags(component, published.keys().copied(), platform);
        list.resolve_ambiguous(|tag| published.get(tag.as_str())?.digest.parse().ok());
        list.left_out.extend(&record.status.as_ref().map(|status| status.left_out_tags.clone()).unwrap_or_default());
        list
    }

    /// Returns whether no version is published.
    pub fn is_empty(&self) -> bool {
        self.published.is_empty() && self.ambiguous.is_empty()
    }

    /// Returns the newest version if versions are published and all of them are pre-releases.
    pub fn newest_prerelease(&self) -> Option<&PublishedVersion> {
        let stable = self.published.iter().any(|published| is_stable(&self.component, &published.version));
        self.published.first().filter(|_| !stable)
    }

    /// Adds the ambiguous versions whose tags all have the same digest to the published ones.
    pub fn resolve_ambiguous(&mut self, digest_of: impl Fn(&Tag) -> Option<Digest>) {
        let published = &mut self.published;
        self.ambiguous.retain(|ambiguous| {
            let resolved = ambiguous.resolve(&digest_of);
            if let Some(version) = &resolved {
                let index = published.partition_point(|other| other.version > version.version);
                published.insert(index, version.clone());
            }
            resolved.is_none()
        });
    }

    /// Finds the version that a person typed, with or without `v`.
    ///
    /// # Errors
    /// The text is not a version, or the version is not published.
    pub fn find(&self, typed: &str) -> Result<&PublishedVersion, LookupError> {
        self.find_version(&Version::parse(typed)?)
    }

    /// Finds a version by its value.
    ///
    /// # Errors
    /// The version is not published, or its tags have different digests.
    pub fn find_version(&self, version: &Version) -> Result<&PublishedVersion, LookupError> {
        if let Some(published) = self.get(version) {
            return Ok(published);
        }
        let has_version = |ambiguous: &&AmbiguousTags| ambiguous.tags.iter().any(|tag| tag.version == *version);
        let version = version.without_build();
        Err(match self.ambiguous.iter().find(has_version) {
            Some(ambiguous) => {
                let tags: Vec<_> = ambiguous.tags.iter().map(|published| published.tag.as_str()).collect();
                LookupError::Ambiguous { version, tags: printable_to(&tags.join(" and "), 128).into_owned() }
            }
            None => LookupError::NotPublished(version),
        })
    }

    /// Returns a published version by its value.
    pub fn get(&self, version: &Version) -> Option<&PublishedVersion> {
        let index = self.published.partition_point(|other| other.version > *version);
        self.published.get(index).filter(|published| published.version == *version)
    }
}
