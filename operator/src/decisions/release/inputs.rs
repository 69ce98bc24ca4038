//! The inputs of a record's status.

use d8_crds::{
    records::{
        release::{CliReleaseStatus, Fit, ObservedCluster},
        requirements::Requirements,
    },
    values::name::Component,
};
use jiff::Timestamp;

use super::{
    observed::Observed,
    selection::SelectedVersions,
    spec::{CheckedSpec, SpecError},
};
use crate::decisions::retention::RetainedVersions;

/// Checks requirements against the cluster; returns the fit, and the reasons if the version does not fit.
pub(crate) type Check<'a> = &'a dyn Fn(&Requirements) -> (Fit, Vec<String>);

/// Everything a record's status is made from, besides the ledger.
pub(crate) struct ReleaseInputs<'a> {
    /// The component of the record.
    pub(crate) component: &'a Component,
    /// Generation of the record's spec.
    pub(crate) generation: i64,
    /// The spec and the versions it selects, or what is wrong with the spec.
    pub(crate) spec: Result<(&'a CheckedSpec, &'a SelectedVersions), &'a SpecError>,
    pub(crate) previous: &'a CliReleaseStatus,
    /// What is known of the component's versions.
    pub(crate) observed: &'a Observed,
    /// Versions that the record keeps whatever its spec says.
    pub(crate) retained: &'a RetainedVersions,
    /// The cluster, as the record shows it.
    pub(crate) cluster: &'a ObservedCluster,
    /// Checks requirements against the cluster.
    pub(crate) check: Check<'a>,
    /// The current time in whole seconds: the API has no fractions of a second.
    pub(crate) now: Timestamp,
}
