//! The walk from the newest version down to the one to take.
//!
//! A walk hands out one version at a time, so that a caller who must fetch a contract to judge it
//! fetches no more than it needs; [`choose`] is for callers who have everything at hand.

use std::collections::VecDeque;

use super::{
    in_channel,
    tags::{PublishedVersion, TagList},
};
use crate::values::{channel::Channel, version::Version};

/// What is on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed<'a> {
    /// Nothing.
    No,
    /// A version.
    Version(&'a Version),
    /// Something that has no version, such as a development build: older than any release.
    Unversioned,
}

/// What a choice is limited to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Only this major version: the installed one, or the one asked for.
    pub major: Option<u64>,
    /// Stable versions, or pre-releases too.
    pub channel: Channel,
    /// May end below what is installed: a major was asked for, or policy forbids what is installed.
    pub may_go_down: bool,
}

/// What a walk comes to. The versions passed over are those newer than the one it ended at, newest
/// first, each with the caller's reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<R> {
    /// This one is to be installed.
    Install {
        /// It.
        version: PublishedVersion,
        /// Newer ones.
        passed_over: Vec<(PublishedVersion, R)>,
    },
    /// The newest that remains is active already.
    AlreadyActive {
        /// It.
        version: PublishedVersion,
        /// Newer ones.
        passed_over: Vec<(PublishedVersion, R)>,
    },
    /// What is installed stays: nothing newer remains, and it is not among what is published.
    Keep {
        /// Newer ones, or all where it has no version.
        passed_over: Vec<(PublishedVersion, R)>,
    },
    /// Nothing is installed and nothing can be.
    Nothing {
        /// Why.
        why: NoCandidate,
        /// All that were tried.
        passed_over: Vec<(PublishedVersion, R)>,
    },
}

impl<R> Selection<R> {
    /// The versions passed over, newest first.
    pub fn passed_over(&self) -> &[(PublishedVersion, R)] {
        let (Self::Install { passed_over, .. }
        | Self::AlreadyActive { passed_over, .. }
        | Self::Keep { passed_over }
        | Self::Nothing { passed_over, .. }) = self;
        passed_over
    }
}

/// Why nothing can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCandidate {
    /// No version is published, or only ambiguous ones ([`TagList::ambiguous`]).
    NotPublished,
    /// Only pre-releases are published, and the channel has none.
    OnlyPrereleases,
    /// Other majors are published, this one is not.
    NotInMajor(u64),
    /// Each version was passed over.
    AllPassedOver,
}

/// A walk under way.
#[derive(Debug)]
pub struct VersionWalk<'a, R> {
    listing: &'a TagList,
    installed: Installed<'a>,
    limits: Limits,
    /// What is left to try.
    rest: VecDeque<&'a PublishedVersion>,
    passed_over: Vec<(PublishedVersion, R)>,
}

impl<'a, R> VersionWalk<'a, R> {
    /// Starts at the newest version within the limits.
    pub fn new(listing: &'a TagList, installed: Installed<'a>, limits: Limits) -> Self {
        let rest = listing
            .published
            .iter()
            .filter(|p| limits.major.is_none_or(|major| p.version.major() == major))
            // What is active is met on the way down whatever the channel.
            .filter(|p| in_channel(limits.channel, &listing.component, &p.version) || installed.is(&p.version))
            .collect();
        Self { listing, installed, limits, rest, passed_over: Vec::new() }
    }

    /// The version to judge next. None: the walk is over, [`VersionWalk::finish`] says how; what is active is
    /// not judged, unless the walk may go on below it.
    pub fn current(&self) -> Option<&'a PublishedVersion> {
        let next = *self.rest.front()?;
        (self.limits.may_go_down || self.installed.is_older_than(&next.version)).then_some(next)
    }

    /// Passes the version over and goes on to the next older one.
    pub fn pass_over(&mut self, why: R) {
        if self.current().is_some()
            && let Some(published) = self.rest.pop_front()
        {
            self.passed_over.push((published.clone(), why));
        }
    }

    /// Ends the walk at the version that is to be judged next, or where nothing is.
    pub fn finish(self) -> Selection<R> {
        let here = self.rest.front().copied();
        let accepted = self.current().is_some();
        let passed_over = self.passed_over;
        match here {
            Some(here) if self.installed.is(&here.version) => {
                Selection::AlreadyActive { version: here.clone(), passed_over }
            }
            Some(here) if accepted => Selection::Install { version: here.clone(), passed_over },
            _ if self.installed != Installed::No => Selection::Keep { passed_over },
            _ => {
                let published = &self.listing.published;
                let why = match self.limits.major {
                    _ if !passed_over.is_empty() => NoCandidate::AllPassedOver,
                    _ if published.is_empty() => NoCandidate::NotPublished,
                    Some(major) if !published.iter().any(|p| p.version.major() == major) => {
                        NoCandidate::NotInMajor(major)
                    }
                    _ => NoCandidate::OnlyPrereleases,
                };
                Selection::Nothing { why, passed_over }
            }
        }
    }
}

impl Installed<'_> {
    fn is(self, version: &Version) -> bool {
        matches!(self, Self::Version(active) if active == version)
    }

    fn is_older_than(self, version: &Version) -> bool {
        match self {
            Self::Version(active) => active < version,
            Self::No | Self::Unversioned => true,
        }
    }
}

/// Chooses the newest version against which nothing stands. `judge` gives the reason to pass one over.
pub fn choose<R>(
    listing: &TagList,
    installed: Installed<'_>,
    limits: Limits,
    mut judge: impl FnMut(&PublishedVersion) -> Result<(), R>,
) -> Selection<R> {
    let mut walk = VersionWalk::new(listing, installed, limits);
    while let Some(published) = walk.current() {
        match judge(published) {
            Ok(()) => break,
            Err(why) => walk.pass_over(why),
        }
    }
    walk.finish()
}
