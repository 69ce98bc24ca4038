//! The evaluation of one policy: makes its new status from its spec, the records, its hosts and the wave ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        validation::{CheckedPolicy, InvalidPolicy},
        verdict::PolicySet,
        wave::CanaryCounter,
    },
    records::{
        policy::{ComponentProgress, PluginPolicy, PluginPolicyStatus, WaveState},
        release::CliRelease,
    },
    values::name::Component,
};
use jiff::Timestamp;

use super::{
    conflicts::{ConflictOnHosts, PolicyConflicts},
    evidence::{CanaryCounts, Evidence},
    ledger::WaveLedger,
    progress::{PolicyEvaluator, ProgressInputs, Record, progress, with_waves},
    status::{StatusInputs, status, window_changes},
    wave_limit::limit_components,
    waves::{FailureCounts, WaveCandidate, WaveEvent, WaveInputs, WaveUpdate, update},
};
use crate::decisions::hosts::MatchedHosts;

/// Everything a policy's status is made from, besides the ledger.
pub(crate) struct PolicyInputs<'a> {
    policy: &'a PluginPolicy,
    checked: &'a Result<CheckedPolicy, InvalidPolicy>,
    records: Vec<Record<'a>>,
    matched: &'a MatchedHosts,
    failures: FailureCounts,
    evidence: Option<Evidence<'a>>,
    previous: &'a PluginPolicyStatus,
    cluster_uid: Option<&'a str>,
    people_unknown: bool,
    conflicts: Vec<ConflictOnHosts>,
    last_seen: Option<Timestamp>,
    now: Timestamp,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PolicyEvaluation {
    /// The policy's new status.
    pub(crate) status: PluginPolicyStatus,
    /// When the status changes without an event.
    pub(crate) next: Option<Timestamp>,
}

/// The versions to which a policy leads.
#[derive(Default)]
struct Rollouts {
    components: Vec<ComponentProgress>,
    rolling: Vec<(String, Timestamp)>,
    /// Waves of targets that wait for evidence, each with what it has so far.
    awaiting: Vec<String>,
    trimmed: bool,
    next: Option<Timestamp>,
}

impl<'a> PolicyInputs<'a> {
    /// Collects the inputs. `checked`: the policy's spec, or what is wrong with it. `previous`: the previous status.
    /// `now`: in whole seconds, because the API has no fractions of a second.
    pub(crate) fn new(
        policy: &'a PluginPolicy,
        checked: &'a Result<CheckedPolicy, InvalidPolicy>,
        releases: &'a [Arc<CliRelease>],
        matched: &'a MatchedHosts,
        previous: &'a PluginPolicyStatus,
        cluster_uid: Option<&'a str>,
        now: Timestamp,
    ) -> Self {
        let records = releases.iter().filter_map(|release| Record::read(release)).collect();
        let failures = FailureCounts::new(&matched.failures, now);
        let evidence = checked.as_ref().ok().and_then(|checked| Evidence::of(checked, &matched.reports, now));
        Self {
            policy,
            checked,
            records,
            matched,
            failures,
            evidence,
            previous,
            cluster_uid,
            people_unknown: false,
            conflicts: Vec::new(),
            last_seen: None,
            now,
        }
    }

    /// Uses numbers of canaries that were counted before for the same hosts and the same generation of the policy.
    #[must_use]
    pub(crate) fn canary_counts(self, counts: Arc<CanaryCounts>) -> Self {
        let evidence = self.evidence.map(|evidence| evidence.with_canary_counts(counts));
        Self { evidence, ..self }
    }

    /// Says when an operator last saw the former policy of this name.
    #[must_use]
    pub(crate) fn last_seen(self, last_seen: Option<Timestamp>) -> Self {
        Self { last_seen, ..self }
    }

    /// Adds the conflicts between all policies.
    #[must_use]
    pub(crate) fn conflicts(self, all: &PolicyConflicts) -> Self {
        let conflicts = self.checked.as_ref().map(|checked| all.of(&checked.name)).unwrap_or_default();
        Self { conflicts, ..self }
    }

    /// Says whether the API server lacks `SelfSubjectReview`.
    #[must_use]
    pub(crate) fn people_unknown(self, people_unknown: bool) -> Self {
        Self { people_unknown, ..self }
    }

    /// Decides about waves and status. Returns the new ledger if it changes, the events of its waves, and the status.
    pub(crate) fn decide(&self, ledger: &WaveLedger) -> (Option<WaveLedger>, Vec<WaveEvent>, PolicyEvaluation) {
        let update = self.update_waves(ledger);
        let new_ledger = (!update.changes.is_empty()).then(|| {
            let mut ledger = ledger.clone();
            ledger.apply(update.changes);
            ledger
        });
        let evaluation = self.evaluate(new_ledger.as_ref().unwrap_or(ledger), update.trimmed);
        (new_ledger, update.events, evaluation)
    }

    /// Decides what happens to the policy's waves. Without a valid policy, nothing happens; without a rollout, its halts
    /// stay until they are resumed.
    pub(crate) fn update_waves(&self, ledger: &WaveLedger) -> WaveUpdate {
        let Ok(checked) = self.checked else { return WaveUpdate::default() };
        if checked.rollout.is_none() && !self.has_halts(ledger) {
            return WaveUpdate::default();
        }
        let policies = PolicySet::to_the_last_host(checked.clone());
        let evaluator = PolicyEvaluator::new(checked, &policies, self.now);
        let governed = self.governed(&evaluator);
        let candidates: BTreeMap<Component, Vec<WaveCandidate>> = self
            .records
            .iter()
            .map(|record| {
                let is_governed = governed.contains(&record.component);
                let candidates = if is_governed { evaluator.candidates(record) } else { record.denied_candidates() };
                (record.component.clone(), candidates)
            })
            .collect();
        let inputs = WaveInputs {
            uid: self.policy.metadata.uid.as_deref(),
            created: self.policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
            last_seen: self.last_seen,
            generation: self.policy.metadata.generation.unwrap_or_default(),
            previous: self.previous,
            has_rollout: checked.rollout.is_some(),
            max_failed: checked.rollout.as_ref().and_then(|rollout| rollout.max_failed),
            evidence: self.evidence.as_ref(),
            resumed: &checked.resumed,
            candidates: &candidates,
            failures: &self.failures,
            now: self.now,
        };
        update(&inputs, ledger)
    }

    /// Returns whether the ledger or the status has a halted wave.
    fn has_halts(&self, ledger: &WaveLedger) -> bool {
        let shown = self.previous.components.iter().flat_map(|component| &component.waves);
        ledger.has_halts() || shown.into_iter().any(|wave| wave.state == Some(WaveState::Halted))
    }

    /// Makes the status. `ledger` holds the changes of [`Self::update_waves`]; `trimmed`: it dropped waves.
    pub(crate) fn evaluate(&self, ledger: &WaveLedger, trimmed: bool) -> PolicyEvaluation {
        let rollouts = match self.checked {
            Ok(checked) => self.rollouts(checked, ledger, trimmed),
            // The policy acts as paused. Its waves stay: an invalid edit must not restart them.
            Err(_) => Rollouts { components: self.previous.components.clone(), ..Rollouts::default() },
        };
        let records = self.records.iter().map(|record| (record.component.clone(), record.release())).collect();
        let inputs = StatusInputs {
            cluster_uid: self.cluster_uid,
            matched: self.matched,
            canary_counter: self.evidence.as_ref().map(|evidence| evidence as &dyn CanaryCounter),
            people_unknown: self.people_unknown,
            records: &records,
            components: rollouts.components,
            rolling: &rollouts.rolling,
            awaiting: &rollouts.awaiting,
            trimmed: rollouts.trimmed,
            conflicts: &self.conflicts,
            previous: self.previous,
            now: self.now,
        };
        let (status, warnings_change) = status(self.policy, self.checked, inputs);
        PolicyEvaluation { status, next: earlier(rollouts.next, warnings_change) }
    }

    fn rollouts(&self, checked: &CheckedPolicy, ledger: &WaveLedger, trimmed: bool) -> Rollouts {
        let mut rollouts = Rollouts { trimmed, ..Rollouts::default() };
        if checked.rollout.is_some() {
            rollouts.next = self.failures.next;
        }
        let policies = with_waves(checked, ledger);
        let evaluator = PolicyEvaluator::new(checked, &policies, self.now);
        let governed = self.governed(&evaluator);
        let (failures, matched) = (&self.failures, self.matched);
        let inputs =
            ProgressInputs { evaluator: &evaluator, ledger, failures, matched, evidence: self.evidence.as_ref() };
        let mut records: Vec<_> = self.records.iter().filter(|record| governed.contains(&record.component)).collect();
        // The message of `Ready` has room for a few waves: those that hosts wait for come first.
        records.sort_by_key(|record| !matched.active.contains_key(record.component.name()));
        for record in records {
            let progress = progress(inputs, record);
            let shown = progress.shown;
            let wave = || format!("{} {}", shown.name, shown.target.as_deref().unwrap_or_default());
            rollouts.rolling.extend(progress.rolling.map(|end| (wave(), end)));
            rollouts.awaiting.extend(progress.awaiting.map(|so_far| format!("{}: {so_far}", wave())));
            rollouts.trimmed |= progress.trimmed;
            rollouts.next = earlier(rollouts.next, progress.next);
            rollouts.components.push(shown);
        }
        rollouts.components.sort_by(|a, b| a.name.cmp(&b.name));
        rollouts.trimmed |= limit_components(&mut rollouts.components);
        rollouts.next = earlier(rollouts.next, window_changes(checked, self.now));
        rollouts
    }

    /// Returns the components that the policy does not deny.
    fn governed(&self, evaluator: &PolicyEvaluator<'_>) -> BTreeSet<&Component> {
        self.records.iter().map(|record| &record.component).filter(|c| evaluator.governs(c)).collect()
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests;
