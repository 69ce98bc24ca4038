//! Changes of plugins in a tick: staged in parallel, switched one after the other.
//!
//! A download may take long, and an admin may pause the host meanwhile. So the policies are read again before each
//! switch, and a change that the plan no longer has is dropped.

use std::{
    collections::BTreeMap,
    pin::pin,
    time::{Duration, Instant},
};

use d8_agent::{Activation, watched_policies::Fingerprints};
use d8_crds::{
    decisions::{
        agent_report::{ActiveArtifact, ComponentReport},
        plan::{Plan, Request},
    },
    values::name::Component,
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::tick::{Tick, failed_attempt};
use crate::{
    commands::plugins::{
        report,
        transaction::{Applied, Operation, OperationKind, StagedTransaction, Transaction},
    },
    planning::Planning,
    terminal::{failure::Failure, output, progress::Progress},
};

/// A switch begins at most so long after the policies were read. With the time that a switch takes, a pause holds a host
/// within 2 seconds.
const POLICIES_COUNT_FOR: Duration = Duration::from_secs(1);

/// A plan counts for so long: windows close meanwhile.
const PLAN_COUNTS_FOR: Duration = Duration::from_secs(10);
/// How often the policies are read again for one switch, if they keep changing or the machine is slow.
const MAX_READS: usize = 8;

/// The plan that the changes of a tick must be in.
struct LatestPlan<'t> {
    requests: &'t BTreeMap<Component, Request>,
    /// `None`: the one that the changes are from.
    plan: Option<Plan>,
    /// What it depends on in the policies that it was made by.
    by: Fingerprints,
    made: Instant,
}

/// How a transaction of the agent ended.
enum Ended {
    Applied(Applied),
    /// The policies changed while it was staged, and no longer permit it. Nothing was changed.
    Withdrawn,
}

impl<'a> Tick<'a> {
    /// Makes changes. Those of one transaction are made together, the transactions one after the other.
    ///
    /// # Errors
    /// The report cannot be written. What is staged is dropped.
    pub(super) async fn change_plugins(
        &mut self,
        mut planning: Planning<'a>,
        requests: &BTreeMap<Component, Request>,
        transactions: Vec<Transaction>,
    ) -> Result<(), Failure> {
        if transactions.is_empty() {
            return Ok(());
        }
        let (planned_by, planned_at) = (self.fingerprints.clone(), self.policies_read);
        let operations = transactions.iter().flat_map(|transaction| &transaction.operations);
        self.announce(operations.map(|operation| (operation.name.clone().into(), &operation.change.to.version)))
            .await?;
        let (context, progress) = (self.context, &Progress::new(self.context.printer));
        let staged = stream::iter(transactions).map(async |transaction| {
            let staged = transaction.stage(context, progress).await;
            (transaction, staged)
        });
        let mut staged = pin!(staged.buffer_unordered(self.context.config()?.parallel_downloads));
        // A transaction that was planned by older policies than another one is compared with the newest plan, too.
        let mut latest = LatestPlan { requests, plan: None, by: planned_by, made: planned_at };
        while let Some((transaction, staged)) = staged.next().await {
            let ended = match staged {
                Ok(Some(staged)) => self.switch(&mut planning, &mut latest, &transaction, staged, progress).await,
                Ok(None) => Ok(Ended::Applied(Applied::Conflict)),
                Err(failure) => Err(failure),
            };
            self.record_result(&transaction, ended);
            self.save_failures();
        }
        Ok(())
    }

    /// Switches to what is staged, if the policies still permit it: those that were read a moment ago.
    async fn switch(
        &mut self,
        planning: &mut Planning<'a>,
        latest: &mut LatestPlan<'_>,
        transaction: &Transaction,
        staged: StagedTransaction,
        progress: &Progress,
    ) -> Result<Ended, Failure> {
        for _ in 0..MAX_READS {
            if self.policies_read.elapsed() > POLICIES_COUNT_FOR {
                let (view, policies) = self.policies().await?;
                planning.renew(view, policies, Timestamp::now());
            }
            if latest.by != self.fingerprints || latest.made.elapsed() > PLAN_COUNTS_FOR {
                let made = Instant::now();
                let (_, plan) = self.plan_untried(planning, latest.requests).await;
                (latest.plan, latest.by, latest.made) = (Some(plan), self.fingerprints.clone(), made);
            }
            if let Some(plan) = &latest.plan
                && !transaction.operations.iter().all(|operation| is_planned(planning, plan, operation))
            {
                self.withdraw(planning, plan, transaction);
                return Ok(Ended::Withdrawn);
            }
            // On a slow machine a plan takes long: then the policies are read again, and the plan counts if they are its.
            if self.policies_read.elapsed() <= POLICIES_COUNT_FOR {
                return staged.commit(self.context, progress).await.map(Applied::Committed).map(Ended::Applied);
            }
        }
        // The policies keep changing; the next tick plans again.
        Ok(Ended::Applied(Applied::Conflict))
    }

    /// Reports what the new plan says of the components of a transaction that it does not have any more.
    fn withdraw(&mut self, planning: &Planning<'_>, plan: &Plan, transaction: &Transaction) {
        for operation in &transaction.operations {
            let component = Component::Plugin(operation.name.clone());
            output::print(format!(
                "{component}: {} is not taken: the new plan does not have it",
                operation.change.to.tag
            ));
            let outcomes = plan.outcomes.iter().filter(|(of, _)| **of == component);
            let outcomes = outcomes.map(|(component, outcome)| (component.clone(), outcome.clone())).collect();
            self.report_outcomes(planning, &Plan { outcomes, changes: Vec::new() });
        }
    }

    fn record_result(&mut self, transaction: &Transaction, ended: Result<Ended, Failure>) {
        match ended {
            Ok(Ended::Applied(Applied::Committed(activations))) => self.succeed(transaction, &activations),
            Ok(Ended::Applied(Applied::Conflict)) => {
                for operation in &transaction.operations {
                    self.postpone(&operation.name.clone().into());
                }
            }
            Ok(Ended::Withdrawn) => {}
            Err(failure) => {
                output::warn(failure.summary());
                self.record_failure(transaction, &failure);
            }
        }
    }

    /// Reports a transaction that failed. Only the version that failed is at fault; the others wait for another one of it.
    fn record_failure(&mut self, transaction: &Transaction, failure: &Failure) {
        let at_fault = transaction.operations.iter().find(|operation| failure.is_about(&operation.name));
        for operation in &transaction.operations {
            let component = Component::Plugin(operation.name.clone());
            let change = (&operation.change.to.version, operation.layer());
            if at_fault.is_none_or(|at_fault| at_fault.name == operation.name) {
                self.fail(&component, Some(change), failure);
            } else if let Some(report) = self.record.report.components.remove(&component) {
                self.report(&component, report.interrupted(&failed_attempt(Some(change.0.clone()), failure)));
            }
        }
    }

    fn succeed(&mut self, transaction: &Transaction, activations: &[Activation]) {
        for operation in &transaction.operations {
            let component = Component::Plugin(operation.name.clone());
            // A newer version that failed is still not tried again.
            if !self.left_out.contains_key(&component) {
                self.forget_failures(&component);
            }
            let to = operation.change.to.version.clone();
            if let Some(activation) = activations.iter().find(|activation| activation.name == operation.name) {
                output::print(report::changed(activation, operation.kind, &operation.change.why));
            }
            let active = ActiveArtifact { version: Some(to), digest: operation.layer().cloned() };
            self.report(&component, ComponentReport::changed(active));
        }
    }

    /// Brings versions into the store before the window in which the switch may begin. One that fails its test is
    /// reported before the window, and the others try again with the next tick.
    pub(super) async fn stage_ahead(&mut self, operations: Vec<Operation>) {
        let Ok(config) = self.context.config() else { return };
        let (context, progress) = (self.context, &Progress::new(self.context.printer));
        let kept = stream::iter(operations).map(async |operation| {
            let transaction = Transaction { operations: vec![operation] };
            let kept = match transaction.stage(context, progress).await {
                Ok(Some(staged)) => staged.keep(),
                Ok(None) => Ok(()),
                Err(failure) => Err(failure),
            };
            (transaction, kept)
        });
        let kept: Vec<_> = kept.buffer_unordered(config.parallel_downloads).collect().await;
        for (transaction, kept) in kept {
            let Err(failure) = kept else { continue };
            output::warn(failure.summary());
            for operation in &transaction.operations {
                let (component, version) = (operation.name.clone().into(), &operation.change.to.version);
                let held = self.record.report.components.get(&component).cloned();
                self.fail(&component, Some((version, operation.layer())), &failure);
                // What may succeed with the next tick is still only held.
                if !self.skip_failed(&component, version, operation.layer())
                    && let Some(held) = held
                {
                    self.report(&component, held);
                }
            }
        }
        self.save_failures();
    }
}

/// Returns whether a plan still has a change, or still permits a repair.
fn is_planned(planning: &Planning<'_>, plan: &Plan, operation: &Operation) -> bool {
    let (component, version) = (Component::Plugin(operation.name.clone()), &operation.change.to.version);
    match operation.kind {
        OperationKind::Switch => {
            plan.changes.iter().any(|change| change.component == component && change.to.version == *version)
        }
        OperationKind::Repair | OperationKind::Reinstall => planning.repair_verdict(&component, version).is_eligible(),
    }
}
