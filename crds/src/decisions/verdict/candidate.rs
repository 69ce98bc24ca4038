//! What is evaluated: a version of a component on a host, and what is known of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::local_rules::LocalRules;
use crate::{
    decisions::{
        intent::Intent,
        person::Person,
        reason::Subject,
        requirements::{Unchecked, Unmet},
        wave::Bucket,
    },
    records::release::CliRelease,
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};

/// The host that a verdict is for.
#[derive(Debug, Clone, Copy)]
pub struct Host<'a> {
    /// Name of its `CliHost`, else the random id kept in the store's root.
    pub id: &'a str,
    /// Labels that policies select by; for a machine without a `CliHost` those of [`workstation_labels`].
    pub labels: &'a BTreeMap<String, String>,
    /// Platform that the host installs versions for; `None`: unknown, so that a block holds for another version only
    /// if they have the same layers on all platforms.
    pub platform: Option<&'a Platform>,
    /// The store's root did not exist before this run: such a host comes last in every wave.
    pub new_root: bool,
    /// Who acts on the host. Policies with `subjects` depend on it.
    pub person: Person<'a>,
    /// What the owner of the machine forbids, which acts as one more policy of this host. `None`: nothing, or it is not
    /// known here.
    pub local_rules: Option<&'a LocalRules>,
}

impl<'a> Host<'a> {
    /// Returns a host where no person acts, and whose owner forbids nothing.
    pub fn unattended(id: &'a str, labels: &'a BTreeMap<String, String>, platform: Option<&'a Platform>) -> Self {
        Self { id, labels, platform, new_root: false, person: Person::Nobody, local_rules: None }
    }
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Host<'static> {
    /// The host that is last in every wave, where nobody acts, for [`PolicySet::to_the_last_host`](super::PolicySet): its
    /// labels do not matter.
    pub const LAST: Self =
        Self { id: "", labels: &NO_LABELS, platform: None, new_root: true, person: Person::Nobody, local_rules: None };
}

const OS_LABEL: &str = "kubernetes.io/os";
const ARCH_LABEL: &str = "kubernetes.io/arch";

/// Platforms of workstations, to find out whether a selector matches one.
pub const WORKSTATION_PLATFORMS: [&str; 5] =
    ["linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64"];

/// Returns the labels of a machine that no admin enrolled. No label that a user sets counts.
pub fn workstation_labels(platform: &Platform) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("cli.deckhouse.io/managed".to_owned(), "false".to_owned()),
        (OS_LABEL.to_owned(), platform.os().to_owned()),
        (ARCH_LABEL.to_owned(), platform.arch().to_owned()),
    ])
}

/// Returns the platform that the labels of a host name.
pub fn labelled_platform(labels: &BTreeMap<String, String>) -> Option<Platform> {
    format!("{}-{}", labels.get(OS_LABEL)?, labels.get(ARCH_LABEL)?).parse().ok()
}

/// A version of a component that a host may get. Made by [`Candidate::new`]; everything else is set by name.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// The host that the version is for.
    pub host: Host<'a>,
    /// Plugin, or d8 itself.
    pub component: &'a Component,
    /// The version to evaluate.
    pub version: &'a Version,
    /// Who wants the version.
    pub intent: Intent,
    /// Time of the local clock.
    pub now: Timestamp,
    /// When record, policies and clocks were read, by the local clock: their age counts then; `None`: now.
    pub read_at: Option<Timestamp>,
    /// Time of the API server, if it answered.
    pub server_time: Option<Timestamp>,
    /// When the API server last confirmed the policies; `None`: never, which stops the agent.
    pub confirmed: Option<Timestamp>,
    /// Version that is active on the host.
    pub active: Option<&'a Version>,
    /// Digests of the active version, from its receipt; empty: unknown.
    pub active_digests: &'a [Digest],
    /// Digests of the version to evaluate, if it was active here once and is on disk with a good receipt.
    pub stored: Option<&'a [Digest]>,
    /// Record of the component.
    pub release: Option<&'a CliRelease>,
    /// Requirements of the version that are not met.
    pub unmet: &'a [Unmet],
    /// Requirements of the version that could not be checked.
    pub unchecked: &'a [Unchecked],
    /// Another change brings it in as a dependency.
    pub brought_in: bool,
    /// It is a d8 that was run and does not support policies.
    pub unaware: bool,
    /// The person accepts a d8 that does not support policies.
    pub allow_ungoverned: bool,
}

impl<'a> Candidate<'a> {
    /// Makes a candidate of a component that is not installed, without a record, whose requirements are met,
    /// under policies that were never confirmed.
    pub fn new(host: Host<'a>, component: &'a Component, version: &'a Version, intent: Intent, now: Timestamp) -> Self {
        Self {
            host,
            component,
            version,
            intent,
            now,
            read_at: None,
            server_time: None,
            confirmed: None,
            active: None,
            active_digests: &[],
            stored: None,
            release: None,
            unmet: &[],
            unchecked: &[],
            brought_in: false,
            unaware: false,
            allow_ungoverned: false,
        }
    }

    /// Sets the time of the API server, which the local clock is checked against.
    #[must_use]
    pub fn server_time(mut self, time: Option<Timestamp>) -> Self {
        self.server_time = time;
        self
    }

    /// Sets when the policies were last confirmed.
    #[must_use]
    pub fn confirmed(mut self, confirmed: Option<Timestamp>) -> Self {
        self.confirmed = confirmed;
        self
    }

    /// Sets the version that is active on the host.
    #[must_use]
    pub fn active(mut self, active: Option<&'a Version>) -> Self {
        self.active = active;
        self
    }

    /// Sets the digests of the active version from its receipt: of its layer, its manifest.
    #[must_use]
    pub fn active_digests(mut self, digests: &'a [Digest]) -> Self {
        self.active_digests = digests;
        self
    }

    /// Says that the version was active here once and is on disk with a good receipt, which has these digests.
    #[must_use]
    pub fn stored(mut self, digests: &'a [Digest]) -> Self {
        self.stored = Some(digests);
        self
    }

    /// Sets the component's record.
    #[must_use]
    pub fn release(mut self, release: Option<&'a CliRelease>) -> Self {
        self.release = release;
        self
    }

    /// Sets the requirements of the version that are not met.
    #[must_use]
    pub fn unmet(mut self, unmet: &'a [Unmet]) -> Self {
        self.unmet = unmet;
        self
    }

    /// Sets the requirements of the version that could not be checked.
    #[must_use]
    pub fn unchecked(mut self, unchecked: &'a [Unchecked]) -> Self {
        self.unchecked = unchecked;
        self
    }

    /// Says whether another change brings it in as a dependency: it then takes part in that change's wave.
    #[must_use]
    pub fn brought_in(mut self, brought_in: bool) -> Self {
        self.brought_in = brought_in;
        self
    }

    /// Says whether it is a d8 that was run and does not support policies; `allowed`: the person accepts that.
    #[must_use]
    pub fn unaware(mut self, unaware: bool, allowed: bool) -> Self {
        self.unaware = unaware;
        self.allow_ungoverned = allowed;
        self
    }

    /// Says that record, policies and clocks were read now, so that they do not age if `now` is set to a later time.
    #[must_use]
    pub(super) fn read_now(self) -> Self {
        Self { read_at: Some(self.now), ..self }
    }

    /// Returns the time at which the age of record and policies counts.
    pub(super) fn read_time(&self) -> Timestamp {
        self.read_at.unwrap_or(self.now)
    }

    /// Returns what reasons against the version are about.
    pub(super) fn subject(&self) -> Subject {
        Subject {
            component: self.component.clone(),
            version: Some(self.version.clone()),
            active: self.active.cloned(),
            evaluated_at: Some(self.now),
        }
    }

    /// Returns the bucket of the host for the version.
    pub(super) fn bucket(&self) -> Bucket {
        if self.host.new_root { Bucket::LAST } else { Bucket::of(self.host.id, self.component, self.version) }
    }

    /// Returns whether the version was active here once.
    pub(super) fn was_active(&self) -> bool {
        self.stored.is_some() || self.active == Some(self.version)
    }

    /// Returns whether the version is older than the active one.
    pub(super) fn goes_down(&self) -> bool {
        self.active.is_some_and(|active| self.version < active)
    }
}
