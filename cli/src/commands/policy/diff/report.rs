//! The JSON document of `d8 policy diff` (`docs/policy-commands.md`).

use std::collections::BTreeSet;

use d8_crds::{
    decisions::{
        impact::{ComponentDiff, HostFacts, PauseChange, PolicyDiff, WaveChange, WaveChangeKind},
        verdict::NextVersion,
    },
    values::{duration, name::Component, version::Version},
};
use serde::Serialize;

/// What policies in files would change. A host that is absent in an entry is this machine.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiffReport {
    /// Number of managed hosts that were compared; absent if the user may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) managed_hosts: Option<usize>,
    /// Policies that `--prune` would delete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deleted: Vec<String>,
    /// Waves that would go on, begin or wait, if they concern a host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) waves: Vec<EditedWave>,
    pub(super) changes: Vec<HostChange>,
    /// Hosts where a pause begins or ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pauses: Vec<HostPause>,
    /// Plugins that could neither run nor be replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) locked_out: Vec<HostLockout>,
    /// Plugins that would be required although no published version is permitted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_permitted: Vec<HostComponent>,
    /// Components without a record: only their active version was compared.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) without_record: BTreeSet<Component>,
}

#[derive(Debug, Serialize)]
pub(super) struct HostChange {
    /// Name of the `CliHost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    #[serde(flatten)]
    pub(super) change: ComponentDiff,
}

#[derive(Debug, Serialize)]
pub(super) struct HostPause {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    /// Whether the host would be paused.
    pub(super) paused: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct HostLockout {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    pub(super) component: String,
    #[serde(serialize_with = "serialize_version")]
    pub(super) active: Option<Version>,
    /// What the agent will install, and when; absent: time alone does not end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<NextVersion>,
}

#[derive(Debug, Serialize)]
pub(super) struct HostComponent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    pub(super) component: String,
}

/// What would happen to the wave of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditedWave {
    pub(super) policy: String,
    pub(super) component: String,
    pub(super) version: String,
    /// `Resumes`, `Begins` or `Awaits`.
    pub(super) change: &'static str,
    /// Of a wave that begins: the time in which the version reaches every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) over: Option<String>,
    /// Of a wave that waits: what for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) require_succeeded: Option<RequiredEvidence>,
    /// Managed hosts that the policy selects and that may come to this version.
    pub(super) hosts: Vec<String>,
    /// Whether this machine is such a host.
    pub(super) this_machine: bool,
    #[serde(skip)]
    pub(super) kind: WaveChangeKind,
}

#[derive(Debug, Serialize)]
pub(super) struct RequiredEvidence {
    hosts: u32,
    #[serde(rename = "for")]
    stable_for: String,
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn serialize_version<S: serde::Serializer>(version: &Option<Version>, serializer: S) -> Result<S::Ok, S::Error> {
    version.as_ref().map(ToString::to_string).serialize(serializer)
}

impl EditedWave {
    pub(super) fn new(wave: &WaveChange, hosts: Vec<String>, this_machine: bool) -> Self {
        let (change, over, require_succeeded) = match wave.kind {
            WaveChangeKind::Resumes => ("Resumes", None, None),
            WaveChangeKind::Begins { over } => ("Begins", Some(duration::format(over)), None),
            WaveChangeKind::Awaits { hosts, stable_for } => {
                ("Awaits", None, Some(RequiredEvidence { hosts, stable_for: duration::format(stable_for) }))
            }
        };
        Self {
            policy: wave.policy.clone(),
            component: wave.component.to_string(),
            version: wave.version.to_string(),
            change,
            over,
            require_succeeded,
            hosts,
            this_machine,
            kind: wave.kind,
        }
    }

    /// Returns the hosts that the wave concerns, this machine last.
    pub(super) fn display_hosts(&self) -> Vec<&str> {
        let hosts = self.hosts.iter().map(String::as_str);
        hosts.chain(self.this_machine.then_some(THIS_MACHINE)).collect()
    }
}

const THIS_MACHINE: &str = "this machine";

pub(super) fn display_host(host: Option<&str>) -> &str {
    host.unwrap_or(THIS_MACHINE)
}

impl DiffReport {
    /// Adds what would change on a host; `None`: this machine.
    pub(super) fn add(&mut self, host: Option<&String>, facts: &HostFacts, diff: &mut PolicyDiff<'_>) {
        let found = diff.of(facts);
        let named = || host.cloned();
        self.changes.extend(found.changes.into_iter().map(|change| HostChange { host: named(), change }));
        let paused = found.pause.map(|change| change == PauseChange::Begins);
        self.pauses.extend(paused.map(|paused| HostPause { host: named(), paused }));
        self.locked_out.extend(found.lockouts.into_iter().map(|lockout| HostLockout {
            host: named(),
            component: lockout.component.to_string(),
            active: lockout.active,
            next: lockout.next,
        }));
        let not_permitted = found.not_permitted.into_iter();
        let component = |component: Component| HostComponent { host: named(), component: component.to_string() };
        self.not_permitted.extend(not_permitted.map(component));
        self.without_record.extend(diff.unrecorded().cloned());
    }

    /// Returns the hosts that would change, each once.
    pub(super) fn hosts(&self) -> Vec<&str> {
        let hosts = self.changes.iter().map(|change| change.host.as_deref());
        let mut hosts: Vec<_> = hosts.chain(self.pauses.iter().map(|pause| pause.host.as_deref())).collect();
        let mut seen = BTreeSet::new();
        hosts.retain(|host| seen.insert(*host));
        hosts.into_iter().map(display_host).collect()
    }

    /// Returns whether a pause, a verdict, a version, or whether a plugin may run would change.
    pub(super) fn moves(&self) -> bool {
        !self.pauses.is_empty() || self.changes.iter().any(|change| change.change.moves)
    }
}
