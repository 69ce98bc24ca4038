//! Tags read as versions.

use std::collections::BTreeMap;

use super::is_stable;
use crate::{
    records::release::{CliRelease, ReleaseVersion},
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
        text::printable_to,
        version::{Version, VersionError},
    },
};

/// A published version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedVersion {
    /// What people see and the store is named by: the tag without its platform.
    pub tag: Tag,
    /// What the registry has: another than `tag` only where versions are published per platform
    /// (generation 1), as `v1.2.3-linux-amd64`.
    pub registry_tag: Tag,
    /// The tag's value.
    pub version: Version,
}

/// Tags of one value: `v1.2.3` beside `1.2.3`. With the same digest they are one version, else none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmbiguousTags {
    /// Two or more, the preferred one first: canonical, then with `v`, then by text.
    pub tags: Vec<PublishedVersion>,
}

impl AmbiguousTags {
    /// The version, if all its tags are known to have the same digest.
    pub fn settle(&self, digest_of: impl Fn(&Tag) -> Option<Digest>) -> Option<PublishedVersion> {
        let (first, rest) = self.tags.split_first()?;
        let digest = digest_of(&first.registry_tag)?;
        let same = rest.iter().all(|twin| digest_of(&twin.registry_tag).as_ref() == Some(&digest));
        same.then(|| first.clone())
    }
}

/// What a list of tags offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagList {
    /// Whose tags they are.
    pub component: Component,
    /// Newest first; each value once.
    pub published: Vec<PublishedVersion>,
    /// Values that more than one tag has, newest first: in `published` only after [`TagList::settle`].
    pub ambiguous: Vec<AmbiguousTags>,
    /// How many tags are no versions.
    pub ignored: usize,
    /// How many tags are another platform's.
    pub foreign: usize,
}

/// Why the version a person typed can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// It is no version: wrong usage.
    #[error(transparent)]
    NotAVersion(#[from] VersionError),
    /// No tag has its value.
    #[error("version {0} is not published")]
    NotPublished(Version),
    /// Several tags have its value and are not known to be the same.
    #[error("version {version} is ambiguous: {tags} are published with different content")]
    Ambiguous {
        /// Its value.
        version: Version,
        /// The tags that have it, `v1.2.3 and 1.2.3`.
        tags: String,
    },
}

impl LookupError {
    /// Stable word for the kind of error.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotAVersion(_) => "not-a-version",
            Self::NotPublished(_) => "not-published",
            Self::Ambiguous { .. } => "ambiguous",
        }
    }
}

/// Reads a list of tags, whatever its order. `platform` is the one to choose for; without it only
/// tags that are for every platform count.
pub fn read_tags<T: AsRef<str>>(
    component: &Component,
    tags: impl IntoIterator<Item = T>,
    platform: Option<&Platform>,
) -> TagList {
    let component = component.clone();
    let mut listing = TagList { component, published: Vec::new(), ambiguous: Vec::new(), ignored: 0, foreign: 0 };
    let mut values: BTreeMap<Version, Vec<PublishedVersion>> = BTreeMap::new();
    for tag in tags {
        let Some((published, of)) = read_tag(tag.as_ref()) else {
            listing.ignored += 1;
            continue;
        };
        if of.is_some() && of.as_ref() != platform {
            listing.foreign += 1;
            continue;
        }
        let twins = values.entry(published.version.clone()).or_default();
        match twins.iter_mut().find(|twin| twin.tag == published.tag) {
            // Published whole and per platform: the whole one is asked for.
            Some(twin) if of.is_none() => *twin = published,
            Some(_) => {}
            None => twins.push(published),
        }
    }
    for (_, mut tags) in values.into_iter().rev() {
        if tags.len() > 1 {
            tags.sort_by_cached_key(|twin| {
                let tag = twin.tag.as_str();
                (tag != twin.version.to_string(), !tag.starts_with('v'), tag.to_owned())
            });
            listing.ambiguous.push(AmbiguousTags { tags });
        } else {
            listing.published.append(&mut tags);
        }
    }
    listing
}

/// A tag as a version, and the platform it is for, if it names one.
fn read_tag(text: &str) -> Option<(PublishedVersion, Option<Platform>)> {
    let registry_tag: Tag = text.parse().ok()?;
    let (bare, platform) = match Platform::split_suffix(text) {
        Some((bare, platform)) => (bare, Some(platform)),
        None => (text, None),
    };
    let version = Version::parse(bare).ok()?;
    Some((PublishedVersion { tag: bare.parse().ok()?, registry_tag, version }, platform))
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
        list.settle(|tag| published.get(tag.as_str())?.digest.parse().ok());
        list
    }

    /// Takes in the ambiguous values whose tags all have the same digest; the others stay out.
    pub fn settle(&mut self, digest_of: impl Fn(&Tag) -> Option<Digest>) {
        let published = &mut self.published;
        self.ambiguous.retain(|twins| {
            let settled = twins.settle(&digest_of);
            if let Some(one) = &settled {
                let place = published.partition_point(|other| other.version > one.version);
                published.insert(place, one.clone());
            }
            settled.is_none()
        });
    }

    /// The tag with the value of what a person typed, with or without `v`.
    pub fn find(&self, typed: &str) -> Result<&PublishedVersion, LookupError> {
        let version = Version::parse(typed)?;
        if let Some(published) = self.of_version(&version) {
            return Ok(published);
        }
        let twins = self.ambiguous.iter().find(|twins| twins.tags.iter().any(|twin| twin.version == version));
        Err(match twins {
            Some(twins) => {
                let tags: Vec<_> = twins.tags.iter().map(|twin| twin.tag.as_str()).collect();
                LookupError::Ambiguous { version, tags: printable_to(&tags.join(" and "), 128).into_owned() }
            }
            None => LookupError::NotPublished(version),
        })
    }

    /// The tag with this value.
    pub fn of_version(&self, version: &Version) -> Option<&PublishedVersion> {
        let place = self.published.partition_point(|other| other.version > *version);
        self.published.get(place).filter(|published| published.version == *version)
    }

    /// The newest stable version.
    pub fn newest_stable(&self) -> Option<&PublishedVersion> {
        self.published.iter().find(|published| is_stable(&self.component, &published.version))
    }
}
