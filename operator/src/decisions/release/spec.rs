//! A `CliRelease.spec` in checked form.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::{
    decisions::selection::in_channel,
    records::release::CliReleaseSpec,
    values::{
        channel::Channel, constraint::Constraint, duration::Bounds, name::Component, platform::Platform,
        version::Version,
    },
};

/// Time between two polls if `spec.interval` is not set.
pub(crate) const INTERVAL: Duration = Duration::from_mins(10);
/// Number of versions to keep if `spec.history` is not set.
const HISTORY: u8 = 20;

/// What to publish of one component.
#[derive(Debug, Clone)]
pub(crate) struct CheckedSpec {
    /// Whether pre-releases are published.
    pub(crate) channel: Channel,
    /// The versions that are published.
    pub(crate) versions: Constraint,
    /// Time between two polls.
    pub(crate) interval: Duration,
    /// Number of versions to keep, 1 to 50.
    pub(crate) history: usize,
    /// Platforms of the record; absent: all.
    pub(crate) platforms: Option<BTreeSet<Platform>>,
    /// Whether polling is stopped.
    pub(crate) suspend: bool,
}

/// What is wrong with a spec that the API server accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub(crate) struct SpecError {
    /// Path of the field.
    pub(crate) field: &'static str,
    /// What is wrong with its value.
    pub(crate) why: String,
}

impl CheckedSpec {
    /// Parses the fields and fills in defaults. The error names the first field that is wrong.
    pub(crate) fn read(spec: &CliReleaseSpec) -> Result<Self, SpecError> {
        let bad = |field, why: &dyn ToString| SpecError { field, why: why.to_string() };
        let versions = Constraint::parse(spec.versions.as_deref().unwrap_or_default());
        let interval = spec.interval.as_deref().map_or(Ok(INTERVAL), |text| Bounds::INTERVAL.parse(text));
        let platforms = spec.platforms.as_ref().map(|list| list.iter().map(|p| p.parse()).collect()).transpose();
        Ok(Self {
            channel: spec.channel,
            versions: versions.map_err(|e| bad("spec.versions", &e))?,
            interval: interval.map_err(|e| bad("spec.interval", &e))?,
            history: usize::from(spec.history.unwrap_or(HISTORY).clamp(1, 50)),
            platforms: platforms.map_err(|e: d8_crds::values::name::NameError| bad("spec.platforms", &e))?,
            suspend: spec.suspend,
        })
    }

    /// Returns whether the record publishes this version. Under channel `Prerelease`, the constraint reads a
    /// pre-release as the release it precedes (`docs/policies.md`, rule 11).
    pub(crate) fn publishes(&self, component: &Component, version: &Version) -> bool {
        in_channel(self.channel, component, version) && self.versions.permits(version, self.channel)
    }
}
