//! The choice of the newest version that nothing stands against.
//!
//! [`choose`] is the only implementation: the planner uses it for what is requested, for plugins and for
//! d8, and the operator for the target that a policy leads to. A search for a dependency tries the versions
//! of [`SearchScope::candidates`] in the same order, and checks more about each than its own verdict.

use super::{
    in_channel,
    tags::{PublishedVersion, TagList},
};
use crate::values::{channel::Channel, name::Component, version::Version};

/// The version of a component that is active on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ActiveVersion<'a> {
    /// The component is not installed.
    #[default]
    Absent,
    /// The component is installed in a version that is not known, such as a development build. It counts
    /// as older than every release.
    Unknown,
    /// The component is installed in this version.
    Known(&'a Version),
}

impl<'a> ActiveVersion<'a> {
    /// Returns the version, if it is known.
    pub fn version(self) -> Option<&'a Version> {
        match self {
            Self::Known(version) => Some(version),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// Which versions a search tries, and in which order. The active version is never tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchScope<'a> {
    /// The active version of the component.
    pub active: ActiveVersion<'a>,
    /// Stable versions only, or pre-releases too.
    pub channel: Channel,
    /// Restricts the search to one major version.
    pub major: Option<u64>,
    /// Tries versions older than the active one too: a lower major was requested, or a policy forbids the
    /// active version. The search then never ends at the active version.
    pub allow_downgrade: bool,
    /// Tries the versions of the active major before all others.
    pub active_major_first: bool,
}

impl SearchScope<'_> {
    /// Returns the versions to try, the preferred one first: newest first, within each major group where
    /// the active major comes first.
    pub fn candidates<'l>(&self, list: &'l TagList) -> Vec<&'l PublishedVersion> {
        let mut candidates: Vec<_> =
            list.published.iter().filter(|published| self.contains(&list.component, &published.version)).collect();
        if let Some(active) = self.active.version().filter(|_| self.active_major_first) {
            // The sort is stable.
            candidates.sort_by_key(|published| published.version.major() != active.major());
        }
        candidates
    }

    fn contains(&self, component: &Component, version: &Version) -> bool {
        let in_direction = |active: &Version| version > active || (self.allow_downgrade && version != active);
        self.contains_major(version)
            && in_channel(self.channel, component, version)
            && self.active.version().is_none_or(in_direction)
    }

    fn contains_major(&self, version: &Version) -> bool {
        self.major.is_none_or(|major| version.major() == major)
    }

    /// Returns why the search found nothing although no candidate was passed over.
    fn why_empty(&self, list: &TagList) -> NoCandidate {
        match self.major {
            _ if list.published.is_empty() => NoCandidate::NotPublished,
            Some(major) if !list.published.iter().any(|p| self.contains_major(&p.version)) => {
                NoCandidate::NotInMajor(major)
            }
            _ => NoCandidate::OnlyPrereleases,
        }
    }
}

/// A version that was passed over, and why.
pub type Rejected<R> = (PublishedVersion, R);

/// The result of a search. `passed_over` has the versions that were tried and rejected, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection<'l, T, R> {
    /// A version was accepted.
    Found {
        /// The first candidate that was accepted. It is not the active version.
        version: &'l PublishedVersion,
        /// What the evaluation returned for it.
        accepted: T,
        /// Versions rejected before it.
        passed_over: Vec<Rejected<R>>,
    },
    /// Nothing newer was accepted; the active version is published and stays.
    AlreadyActive {
        /// The active version, with the tag that publishes it.
        version: &'l PublishedVersion,
        /// The newer versions, all rejected.
        passed_over: Vec<Rejected<R>>,
    },
    /// Nothing was accepted; the component stays as it is installed. Its version is unknown or not
    /// published, or the scope allowed a downgrade.
    Keep {
        /// All candidates, which were rejected.
        passed_over: Vec<Rejected<R>>,
    },
    /// Nothing was accepted, and the component is not installed.
    Nothing {
        /// Why there is no version to install.
        why: NoCandidate,
        /// All candidates, which were rejected. Empty unless `why` is `AllPassedOver`.
        passed_over: Vec<Rejected<R>>,
    },
}

impl<T, R> Selection<'_, T, R> {
    /// Returns the versions that were rejected, newest first.
    pub fn passed_over(&self) -> &[Rejected<R>] {
        match self {
            Self::Found { passed_over, .. }
            | Self::AlreadyActive { passed_over, .. }
            | Self::Keep { passed_over }
            | Self::Nothing { passed_over, .. } => passed_over,
        }
    }
}

/// Why there is no version to install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCandidate {
    /// No version is published.
    NotPublished,
    /// Only pre-releases are published, and the search was for stable versions.
    OnlyPrereleases,
    /// No version of the requested major is published.
    NotInMajor(u64),
    /// Every candidate was rejected.
    AllPassedOver,
}

/// Chooses the first candidate of `scope` that `evaluate` accepts. `evaluate` returns `Ok(Ok(_))` to accept
/// a version and `Ok(Err(_))` with the reason to reject it.
///
/// # Errors
/// The error of `evaluate`, which ends the search.
pub fn choose<'l, T, R, E>(
    list: &'l TagList,
    scope: &SearchScope<'_>,
    mut evaluate: impl FnMut(&'l PublishedVersion) -> Result<Result<T, R>, E>,
) -> Result<Selection<'l, T, R>, E> {
    let mut passed_over = Vec::new();
    let mut found = None;
    for version in scope.candidates(list) {
        match evaluate(version)? {
            Ok(accepted) => {
                found = Some((version, accepted));
                break;
            }
            Err(why) => passed_over.push((version.clone(), why)),
        }
    }
    passed_over.sort_by(|(a, _), (b, _)| b.version.cmp(&a.version));
    if let Some((version, accepted)) = found {
        return Ok(Selection::Found { version, accepted, passed_over });
    }
    let stays = scope.active.version().filter(|active| !scope.allow_downgrade && scope.contains_major(active));
    Ok(match (scope.active, stays.and_then(|active| list.get(active))) {
        (_, Some(version)) => Selection::AlreadyActive { version, passed_over },
        (ActiveVersion::Absent, None) if passed_over.is_empty() => {
            Selection::Nothing { why: scope.why_empty(list), passed_over }
        }
        (ActiveVersion::Absent, None) => Selection::Nothing { why: NoCandidate::AllPassedOver, passed_over },
        (ActiveVersion::Unknown | ActiveVersion::Known(_), None) => Selection::Keep { passed_over },
    })
}
