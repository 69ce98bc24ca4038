//! The question: who wants which version of what, on which host, and what is known of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decisions::intent::Intent,
    records::release::CliRelease,
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};

/// The host a verdict is for.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Its `CliHost`'s name, else the random id kept in the store's root.
    pub id: &'a str,
    /// The labels that policies select by; for a machine without a `CliHost` those of
    /// [`workstation_labels`].
    pub labels: &'a BTreeMap<String, String>,
    /// The store's root did not exist before this run: such a host comes last in every wave.
    pub new_root: bool,
}

/// The labels of a machine that no admin enrolled. Nothing a user sets counts.
pub fn workstation_labels(platform: &Platform) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("cli.deckhouse.io/managed".to_owned(), "false".to_owned()),
        ("kubernetes.io/os".to_owned(), platform.os().to_owned()),
        ("kubernetes.io/arch".to_owned(), platform.arch().to_owned()),
    ])
}

/// One question: may this host have this version of this component. Made by [`Candidate::new`]; what it
/// leaves out is set by name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The component.
    pub component: &'a Component,
    /// The version in question.
    pub version: &'a Version,
    /// Who wants it.
    pub intent: Intent,
    /// The local clock's time.
    pub now: Timestamp,
    /// The time of the API server, where it answered.
    pub server_time: Option<Timestamp>,
    /// When the policies were last confirmed by the API server; absent: never, which stops the agent.
    pub confirmed: Option<Timestamp>,
    /// The version that is active on the host.
    pub active: Option<&'a Version>,
    /// The digests of what is active, as its receipt has them; empty: not known.
    pub active_digests: &'a [Digest],
    /// The digests of the version in question, if it was active here once and is on disk with a good
    /// receipt.
    pub stored: Option<&'a [Digest]>,
    /// The component's record.
    pub release: Option<&'a CliRelease>,
    /// The requirements of the version that are not met, a sentence each.
    pub unmet: &'a [String],
    /// Another change brings it in as a dependency.
    pub brought_in: bool,
    /// It was run and does not know policies: asked of versions of d8 only.
    pub unaware: bool,
    /// The person accepts a d8 that does not know policies.
    pub allow_ungoverned: bool,
}

impl<'a> Candidate<'a> {
    /// A version of a component that is not installed, without a record, whose requirements are met, by
    /// policies that were never confirmed.
    pub fn new(host: Host<'a>, component: &'a Component, version: &'a Version, intent: Intent, now: Timestamp) -> Self {
        Self {
            host,
            component,
            version,
            intent,
            now,
            server_time: None,
            confirmed: None,
            active: None,
            active_digests: &[],
            stored: None,
            release: None,
            unmet: &[],
            brought_in: false,
            unaware: false,
            allow_ungoverned: false,
        }
    }

    /// The time of the API server, by which the local clock is checked.
    #[must_use]
    pub fn server_time(mut self, time: Option<Timestamp>) -> Self {
        self.server_time = time;
        self
    }

    /// When the policies were last confirmed.
    #[must_use]
    pub fn confirmed(mut self, confirmed: Option<Timestamp>) -> Self {
        self.confirmed = confirmed;
        self
    }

    /// The version that is active on the host.
    #[must_use]
    pub fn active(mut self, active: Option<&'a Version>) -> Self {
        self.active = active;
        self
    }

    /// The digests of what is active, as its receipt has them: of its layer, its manifest.
    #[must_use]
    pub fn active_digests(mut self, digests: &'a [Digest]) -> Self {
        self.active_digests = digests;
        self
    }

    /// The version was active here once and is on disk with a good receipt, which has these digests.
    #[must_use]
    pub fn stored(mut self, digests: &'a [Digest]) -> Self {
        self.stored = Some(digests);
        self
    }

    /// The component's record.
    #[must_use]
    pub fn release(mut self, release: Option<&'a CliRelease>) -> Self {
        self.release = release;
        self
    }

    /// The requirements of the version that are not met, a sentence each.
    #[must_use]
    pub fn unmet(mut self, unmet: &'a [String]) -> Self {
        self.unmet = unmet;
        self
    }

    /// Another change brings it in as a dependency, and it rides on that one's wave.
    #[must_use]
    pub fn brought_in(mut self, brought_in: bool) -> Self {
        self.brought_in = brought_in;
        self
    }

    /// A d8 that was run and does not know policies; `allowed`: the person accepts that.
    #[must_use]
    pub fn unaware(mut self, unaware: bool, allowed: bool) -> Self {
        self.unaware = unaware;
        self.allow_ungoverned = allowed;
        self
    }

    /// Whether the version was active here once.
    pub(super) fn was_active(&self) -> bool {
        self.stored.is_some() || self.active == Some(self.version)
    }

    /// Whether it is older than what is active.
    pub(super) fn goes_down(&self) -> bool {
        self.active.is_some_and(|active| self.version < active)
    }
}
