//! The controller of policies without an API server, and with a clock that is an argument: for simulations. It decides
//! with the code of the controller, and keeps in memory what that one writes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use d8_crds::{
    decisions::validation::CheckedPolicy,
    records::{
        host::CliHost,
        policy::{PluginPolicy, PluginPolicyStatus},
        release::CliRelease,
    },
};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::watcher::Event};

use crate::decisions::{
    hosts::HostIndex,
    policy::{
        evaluation::PolicyInputs,
        evidence::KeptCanaryCounts,
        ledger::WaveLedger,
        matched::matched_hosts,
        status::{WriteTime, write_time},
    },
};

/// The controller of policies.
#[derive(Debug, Default)]
pub struct PolicyController {
    hosts: HostIndex,
    policies: HashMap<String, KnownPolicy>,
}

/// What the controller keeps of one policy.
#[derive(Debug, Default)]
struct KnownPolicy {
    ledger: WaveLedger,
    /// The last status that was written, and when.
    written: Option<(PluginPolicyStatus, Timestamp)>,
    canaries: KeptCanaryCounts,
}

/// What one reconciliation of a policy decides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reconciliation {
    /// The status to write; `None`: none now.
    pub status: Option<PluginPolicyStatus>,
    /// Whether the ledger of waves is written.
    pub writes_ledger: bool,
    /// When the policy is reconciled again, unless something changes before.
    pub next: Option<Timestamp>,
}

impl PolicyController {
    /// Takes a host as the watch delivers it. Returns whether policies must be reconciled.
    pub fn observe(&mut self, host: CliHost) -> bool {
        self.hosts.apply(Event::Apply(host))
    }

    /// Reconciles a policy, whose status is the one that was written last. `now`: in whole seconds.
    pub fn reconcile(&mut self, policy: &PluginPolicy, releases: &[Arc<CliRelease>], now: Timestamp) -> Reconciliation {
        let known = self.policies.entry(policy.name_any()).or_default();
        let labels_revision = self.hosts.labels_revision();
        let counts = known.canaries.of(labels_revision, policy);
        let checked = CheckedPolicy::new(policy);
        let matched = matched_hosts(&checked, &self.hosts);
        let before = known.written.as_ref().map(|(status, _)| status.clone());
        let previous = before.clone().unwrap_or_default();
        let inputs = PolicyInputs::new(policy, &checked, releases, &matched, &previous, None, now);
        let (ledger, _, evaluation) = inputs.canary_counts(counts).decide(&known.ledger);
        let writes_ledger = ledger.is_some();
        known.ledger = ledger.unwrap_or_else(|| std::mem::take(&mut known.ledger));
        let age = known.written.as_ref().map(|(_, at)| elapsed(*at, now));
        let (status, retry) = match write_time(before.as_ref(), &evaluation.status, age) {
            WriteTime::Now => (Some(evaluation.status), None),
            WriteTime::After(wait) => (None, now.checked_add(wait).ok()),
            WriteTime::Never => (None, None),
        };
        known.written = status.clone().map(|status| (status, now)).or(known.written.take());
        let next = [evaluation.next, retry].into_iter().flatten().min();
        Reconciliation { status, writes_ledger, next }
    }
}

fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
