//! The JSON document of `d8 policy diff` (`docs/policy-commands.md`).

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        explain,
        impact::{ComponentDiff, HostFacts, KeptHalt, PauseChange, PolicyDiff, WaveChange, WaveChangeKind},
        verdict::{NextVersion, PolicyConflict},
    },
    values::{duration, name::Component, version::Version},
};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::subjects::PolicyForPeople;

/// What policies in files would change. A host that is absent in an entry is this machine.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DiffReport {
    /// Number of managed hosts that were compared; absent if the user may not read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) managed_hosts: Option<usize>,
    /// Managed hosts that have not reported yet. They are not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_reported: Vec<String>,
    /// Managed hosts that are not compared, because they report as active what is no version.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left_out: Vec<LeftOutHost>,
    /// Edited policies with `subjects`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) for_people: Vec<PolicyForPeople>,
    /// Policies that would be new.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) created: Vec<String>,
    /// Policies that `--prune` would delete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deleted: Vec<String>,
    /// Halted waves of deleted policies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) kept_halts: Vec<HaltOfDeleted>,
    /// Waves that would go on, begin, wait or be halted, if they concern a host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) waves: Vec<EditedWave>,
    pub(super) changes: Vec<HostChange>,
    /// Hosts where a pause begins or ends.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) pauses: Vec<HostPause>,
    /// Plugins that could neither run nor be replaced.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) locked_out: Vec<HostLockout>,
    /// Components that policies require or name, and whose versions they would all forbid together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_permitted: Vec<NotPermitted>,
    /// Components without a record: only their active version was compared.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) without_record: BTreeSet<Component>,
}

/// The name of a `CliHost`, shared by all entries about it. `None`: this machine.
pub(super) type HostName = Option<Arc<str>>;

#[derive(Debug, Serialize)]
pub(super) struct HostChange {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_host")]
    pub(super) host: HostName,
    /// Hosts on which the same changes share it.
    #[serde(flatten, serialize_with = "serialize_shared")]
    pub(super) change: Arc<ComponentDiff>,
}

/// A managed host whose report is not valid.
#[derive(Debug, Serialize)]
pub(super) struct LeftOutHost {
    pub(super) host: String,
    pub(super) component: Component,
    /// What it reports.
    pub(super) active: String,
}

/// A halted wave of a policy that would be deleted.
#[derive(Debug, Serialize)]
pub(super) struct HaltOfDeleted {
    pub(super) policy: String,
    pub(super) component: Component,
    pub(super) version: String,
}

impl From<KeptHalt> for HaltOfDeleted {
    fn from(KeptHalt { policy, component, version }: KeptHalt) -> Self {
        Self { policy, component, version: version.to_string() }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct HostPause {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_host")]
    pub(super) host: HostName,
    /// Whether the host would be paused.
    pub(super) paused: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct HostLockout {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_host")]
    pub(super) host: HostName,
    pub(super) component: String,
    #[serde(serialize_with = "serialize_version")]
    pub(super) active: Option<Version>,
    /// What the agent will install, and when; absent: time alone does not end it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<NextVersion>,
}

#[derive(Debug, Serialize)]
pub(super) struct NotPermitted {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_host")]
    pub(super) host: HostName,
    pub(super) component: String,
    /// Whether a policy requires it. Otherwise no version at all could meet the `versions` of all policies.
    pub(super) required: bool,
    /// The fields that take part, in a sentence.
    pub(super) message: String,
}

/// What would happen to the wave of one version.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EditedWave {
    pub(super) policy: String,
    pub(super) component: String,
    pub(super) version: String,
    /// `Resumes`, `Begins`, `Awaits` or `Halts`.
    pub(super) change: &'static str,
    /// Of a wave that begins: when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<Timestamp>,
    /// Of a wave that begins: the time in which the version reaches every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) over: Option<String>,
    /// Of a wave that waits: what for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) require_succeeded: Option<RequiredEvidence>,
    /// Of a wave that is halted: the number of hosts that failed, and the number that halts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failed: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_failed: Option<u32>,
    /// Managed hosts that the policy selects and that may come to this version.
    #[serde(serialize_with = "serialize_hosts")]
    pub(super) hosts: Vec<Arc<str>>,
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

fn serialize_host<S: Serializer>(host: &HostName, serializer: S) -> Result<S::Ok, S::Error> {
    host.as_deref().serialize(serializer)
}

fn serialize_hosts<S: Serializer>(hosts: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(hosts.iter().map(|host| &**host))
}

fn serialize_shared<S: Serializer>(change: &Arc<ComponentDiff>, serializer: S) -> Result<S::Ok, S::Error> {
    (**change).serialize(serializer)
}

impl EditedWave {
    /// Makes the entry of a wave that concerns no host yet.
    pub(super) fn new(wave: &WaveChange) -> Self {
        let mut edited = Self {
            policy: wave.policy.clone(),
            component: wave.component.to_string(),
            version: wave.version.to_string(),
            change: "Resumes",
            at: None,
            over: None,
            require_succeeded: None,
            failed: None,
            max_failed: None,
            hosts: Vec::new(),
            this_machine: false,
            kind: wave.kind,
        };
        match wave.kind {
            WaveChangeKind::Resumes => {}
            WaveChangeKind::Begins { at, over } => {
                (edited.change, edited.at, edited.over) = ("Begins", Some(at), Some(duration::format(over)));
            }
            WaveChangeKind::Awaits { hosts, stable_for } => {
                let required = RequiredEvidence { hosts, stable_for: duration::format(stable_for) };
                (edited.change, edited.require_succeeded) = ("Awaits", Some(required));
            }
            WaveChangeKind::Halts { failed, max_failed } => {
                (edited.change, edited.failed, edited.max_failed) = ("Halts", Some(failed), Some(max_failed));
            }
        }
        edited
    }

    /// Returns the hosts that the wave concerns, this machine last.
    pub(super) fn display_hosts(&self) -> Vec<&str> {
        let hosts = self.hosts.iter().map(|host| &**host);
        hosts.chain(self.this_machine.then_some(THIS_MACHINE)).collect()
    }
}

const THIS_MACHINE: &str = "this machine";

pub(super) fn display_host(host: Option<&str>) -> &str {
    host.unwrap_or(THIS_MACHINE)
}

impl DiffReport {
    /// Adds what would change on a host, and the waves that concern it.
    pub(super) fn add<'a>(&mut self, host: &HostName, facts: &'a HostFacts, diff: &mut PolicyDiff<'a>) {
        let found = diff.of(facts);
        self.changes.extend(found.changes.into_iter().map(|change| HostChange { host: host.clone(), change }));
        let paused = found.pause.map(|change| change == PauseChange::Begins);
        self.pauses.extend(paused.map(|paused| HostPause { host: host.clone(), paused }));
        self.locked_out.extend(found.lockouts.into_iter().map(|lockout| HostLockout {
            host: host.clone(),
            component: lockout.component.to_string(),
            active: lockout.active,
            next: lockout.next,
        }));
        let not_permitted = |conflict: &PolicyConflict| NotPermitted {
            host: host.clone(),
            component: conflict.component.to_string(),
            required: !conflict.required_by.is_empty(),
            message: explain::policy_conflict(conflict),
        };
        self.not_permitted.extend(found.not_permitted.iter().map(not_permitted));
        for index in found.waves {
            let Some(wave) = self.waves.get_mut(index) else { continue };
            match host {
                Some(host) => wave.hosts.push(host.clone()),
                None => wave.this_machine = true,
            }
        }
    }

    /// Drops the waves that concern no host.
    pub(super) fn drop_idle_waves(&mut self) {
        self.waves.retain(|wave| !wave.hosts.is_empty() || wave.this_machine);
    }

    /// Returns the hosts that would change, each once.
    pub(super) fn hosts(&self) -> Vec<&str> {
        let hosts = self.changes.iter().map(|change| change.host.as_deref());
        let mut hosts: Vec<_> = hosts.chain(self.pauses.iter().map(|pause| pause.host.as_deref())).collect();
        let mut seen = HashSet::new();
        hosts.retain(|host| seen.insert(*host));
        hosts.into_iter().map(display_host).collect()
    }

    /// Returns whether a pause, a verdict, a version, or whether a plugin may run would change.
    pub(super) fn moves(&self) -> bool {
        !self.pauses.is_empty() || self.changes.iter().any(|change| change.change.moves)
    }
}
