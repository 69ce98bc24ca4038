//! Reads the status of records and policies in tests.

use d8_crds::records::policy::{ComponentProgress, PluginPolicy, PluginPolicyStatus, WaveStatus};
use d8_crds::records::release::{CliRelease, CliReleaseStatus, ReleaseVersion};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Returns the status of a record; the default if it has none.
pub fn of_release(release: &CliRelease) -> CliReleaseStatus {
    release.status.clone().unwrap_or_default()
}

/// Returns the status of a policy; the default if it has none.
pub fn of_policy(policy: &PluginPolicy) -> PluginPolicyStatus {
    policy.status.clone().unwrap_or_default()
}

/// Returns a version of a record, if the record has it.
pub fn find_version(release: &CliRelease, version: &str) -> Option<ReleaseVersion> {
    of_release(release).versions.into_iter().find(|found| found.version == version)
}

/// Returns a version of a record.
///
/// # Panics
/// If the record does not have it.
pub fn version(release: &CliRelease, version: &str) -> ReleaseVersion {
    find_version(release, version).unwrap_or_else(|| panic!("{version} is not in {:?}", release.status))
}

/// Returns the wave of a version under a policy, if the status has it.
pub fn wave(policy: &PluginPolicy, component: &str, version: &str) -> Option<WaveStatus> {
    progress(policy, component).waves.into_iter().find(|wave| wave.version == version)
}

/// Returns the progress of a component under a policy; the default if the status does not have it.
pub fn progress(policy: &PluginPolicy, component: &str) -> ComponentProgress {
    let components = of_policy(policy).components;
    components.into_iter().find(|progress| progress.name == component).unwrap_or_default()
}

/// Returns a condition as `True/Synced`: status and reason. Empty if there is no such condition.
pub fn condition(conditions: &[Condition], kind: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| format!("{}/{}", condition.status, condition.reason)).unwrap_or_default()
}

/// Returns the message of a condition. Empty if there is no such condition.
pub fn condition_message(conditions: &[Condition], kind: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == kind);
    found.map(|condition| condition.message.clone()).unwrap_or_default()
}
