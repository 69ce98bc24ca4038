//! Which versions a list of tags offers, and which of them to take.
//!
//! Owns the reading of tags as versions, the order in which versions are tried, and what a search that finds
//! none comes to. The caller evaluates each version.

mod choose;
mod tags;

pub use self::{
    choose::{ActiveVersion, NoCandidate, Rejected, SearchScope, Selection, choose},
    tags::{AmbiguousTags, LookupError, PublishedVersion, TagList, read_tags},
};
use crate::values::{channel::Channel, name::Component, version::Version};

/// Whether a version is stable for its component: d8 has no pre-release at all; a plugin none on the
/// way to a release ([`Version::is_candidate`]), so that `v1.0.1-main` is stable.
pub fn is_stable(component: &Component, version: &Version) -> bool {
    match component {
        Component::D8 => !version.is_prerelease(),
        Component::Plugin(_) => !version.is_candidate(),
    }
}

/// Whether a channel has this version.
pub fn in_channel(channel: Channel, component: &Component, version: &Version) -> bool {
    channel == Channel::Prerelease || is_stable(component, version)
}

#[cfg(test)]
mod tests;
