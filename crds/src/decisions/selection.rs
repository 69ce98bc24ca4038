//! Which versions a list of tags offers, and which of them to take.
//!
//! Owns tags as versions and the order in which they are tried. It does not judge: whoever walks
//! brings the reason why a version is passed over.

mod tags;
mod walk;

pub use self::{
    tags::{AmbiguousTags, LookupError, PublishedVersion, TagList, read_tags},
    walk::{Installed, Limits, NoCandidate, Selection, VersionWalk, choose},
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
