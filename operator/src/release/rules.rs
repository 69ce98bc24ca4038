//! A `CliRelease.spec` in checked form. No IO.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::{
    decisions::selection::in_channel,
    records::release::CliReleaseSpec,
    values::{
        channel::Channel, constraint::Constraint, duration::Bounds, name::Component, platform::Platform,
        version::Version,
    },
};

/// How often the proxy is asked where the record does not say.
pub(crate) const INTERVAL: Duration = Duration::from_mins(10);
/// How many versions are kept where the record does not say.
const HISTORY: u8 = 20;

/// What to publish of one component.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) channel: Channel,
    pub(crate) versions: Constraint,
    pub(crate) interval: Duration,
    pub(crate) history: usize,
    /// None: all.
    pub(crate) platforms: Option<BTreeSet<Platform>>,
    pub(crate) suspend: bool,
}

/// What is wrong with a spec, beyond what the API server itself refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub(crate) struct RuleError {
    /// The field's path.
    pub(crate) field: &'static str,
    /// What is wrong with it.
    pub(crate) why: String,
}

impl Rules {
    /// Reads a spec.
    pub(crate) fn read(spec: &CliReleaseSpec) -> Result<Self, RuleError> {
        let bad = |field, why: &dyn ToString| RuleError { field, why: why.to_string() };
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

    /// Whether the record publishes this version. Its range is read as an admin's: under channel
    /// Prerelease a pre-release counts as the release it leads to (`docs/policies.md`, rule 11).
    pub(crate) fn publishes(&self, component: &Component, version: &Version) -> bool {
        in_channel(self.channel, component, version) && self.versions.permits(version, self.channel)
    }
}
