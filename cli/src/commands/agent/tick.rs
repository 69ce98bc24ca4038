//! One tick of the agent: reads the policies and the records, plans, makes the changes, and reports.
//!
//! `d8_crds` decides: the plan is the one that a person gets, for the intent of the agent, and the report follows from
//! its outcomes. [`super::changes`] changes plugins, [`super::own_d8`] d8 itself.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use d8_agent::{
    cluster::{self, ClusterView, RecordSelection, ViewOrigin},
    enrolled_host::EnrolledHostState,
    failed_changes::{self, FailedChanges, FailureChanges},
    watched_policies::{Fingerprints, fingerprint, selected_hosts},
};
use d8_crds::{
    decisions::{
        agent_report::{ActiveArtifact, ComponentReport, FailedAttempt},
        person::Person,
        plan::{ChangeReason, Outcome, Plan, PlannedChange, PreviousVersion, Request, Snapshot},
        selection::PublishedVersion,
        verdict::{Class, PolicySet},
    },
    records::host::{CliHostStatus, ComponentState},
    values::{
        digest::Digest,
        name::{Component, PluginName},
        version::Version,
    },
};
use d8_rpp::text::error_chain;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;

use super::{host_record::HostRecord, own_d8::OwnD8};
use crate::{
    commands::plugins::{
        options::ExecuteOptions,
        repair,
        report::ChangeResults,
        request,
        transaction::{self, Operation, OperationKind, Transaction},
    },
    context::Context,
    installed,
    planning::Planning,
    terminal::{failure::Failure, output},
};

/// One tick.
pub(super) struct Tick<'a> {
    pub(super) context: &'a Context,
    pub(super) state: &'a EnrolledHostState,
    pub(super) client: Client,
    pub(super) record: HostRecord<'a>,
    pub(super) failures: FailedChanges,
    /// What this tick adds to them.
    results: FailureChanges,
    /// The changes that are not tried now because they failed before, and until when. An older version may be.
    pub(super) left_out: BTreeMap<Component, (FailedAttempt, Option<Timestamp>)>,
    /// When the policies were read that the plan is made from.
    pub(super) policies_read: Instant,
    /// What the plan depends on in these policies.
    pub(super) fingerprints: Fingerprints,
    peers: u32,
    /// Whether the tick may switch d8 itself.
    switches_d8: bool,
}

/// What a tick did.
pub(super) struct TickDone {
    /// What the host reports.
    pub(super) report: CliHostStatus,
    /// `current` of the store of d8, if the tick switched d8: the agent goes on in the new one.
    pub(super) switched_d8: Option<PathBuf>,
    /// The policies that it read last.
    pub(super) policies: Fingerprints,
    /// How many hosts the policies of this host select.
    pub(super) peers: u32,
}

/// What a tick is going to do.
pub(super) struct TickPlan<'a> {
    pub(super) planning: Planning<'a>,
    pub(super) requests: BTreeMap<Component, Request>,
    /// Changes to make now.
    pub(super) transactions: Vec<Transaction>,
    /// Versions to bring into the store now, for a window that opens soon.
    pub(super) ahead: Vec<Operation>,
    /// The plan for d8 itself, if the agent manages it.
    pub(super) d8: Option<OwnD8<'a>>,
}

impl<'a> Tick<'a> {
    /// Connects as the host: renews its token if that is due, and reads its `CliHost` and its labels.
    ///
    /// # Errors
    /// The machine is not a managed host, or the host was revoked (3); the API server does not answer (5).
    pub(super) async fn begin(context: &'a Context, state: &'a EnrolledHostState) -> Result<Self, Failure> {
        let (client, record) = HostRecord::read(context, state).await?;
        let (failures, left_out) = (state.failures(), BTreeMap::new());
        let policies_read = Instant::now();
        let (fingerprints, peers) = (Fingerprints::new(), 0);
        Ok(Self {
            context,
            state,
            client,
            record,
            failures,
            results: FailureChanges::default(),
            left_out,
            policies_read,
            fingerprints,
            peers,
            switches_d8: false,
        })
    }

    /// Lets the tick switch d8 itself: the caller goes on in the new d8.
    pub(super) fn switching_d8(self) -> Self {
        Self { switches_d8: true, ..self }
    }

    /// Plans, makes the changes and reports.
    ///
    /// # Errors
    /// Policies or records cannot be read, or the report cannot be written. A change that fails is no error: it is in
    /// the report.
    pub(super) async fn run(mut self) -> Result<TickDone, Failure> {
        let plan = match self.plan().await {
            Ok(plan) => plan,
            Err(failure) => {
                self.record.write_unreadable(&failure).await;
                return Err(failure);
            }
        };
        self.change_plugins(plan.planning, &plan.requests, plan.transactions).await?;
        self.stage_ahead(plan.ahead).await;
        let switched_d8 = match plan.d8 {
            Some(d8) if self.switches_d8 => self.change_d8(d8).await?,
            _ => None,
        };
        let report = match self.record.write().await {
            // The new d8 reports it.
            Err(failure) if switched_d8.is_some() => {
                output::warn(failure.summary());
                CliHostStatus::default()
            }
            written => written?,
        };
        Ok(TickDone { report, switched_d8, policies: self.fingerprints, peers: self.peers })
    }

    /// Plans, and reports what the plan leaves as it is.
    ///
    /// # Errors
    /// Policies or records cannot be read.
    pub(super) async fn plan(&mut self) -> Result<TickPlan<'a>, Failure> {
        let context = self.context;
        let (mut view, policies) = self.policies().await?;
        self.record.report.clock_offset = view.server_time.map(|server| context.now.duration_since(server));
        self.record.report.policies = generations(&view.policies, &policies, context);
        let here = |policy: &&Value| {
            let name = policy.pointer("/metadata/name").and_then(Value::as_str);
            self.record.report.policies.iter().any(|(here, _)| name == Some(here))
        };
        self.peers = view.policies.iter().filter(here).map(selected_hosts).max().unwrap_or_default();
        let plugins = self.requests(&policies)?;
        let components: Vec<Component> =
            plugins.keys().cloned().map(Component::Plugin).chain([Component::D8]).collect();
        view.records =
            cluster::named_records(&self.client, &components).await.map_err(|error| context.view_failure(&error))?;
        let d8 = OwnD8::plan(self, &view).await;
        let requests: BTreeMap<Component, Request> =
            plugins.iter().map(|(name, request)| (name.clone().into(), request.clone())).collect();
        let mut planning = Planning::of_plugins(context, view, policies)?.for_agent();
        let (snapshot, plan) = self.plan_untried(&mut planning, &requests).await;
        self.report_outcomes(&planning, &plan);
        let ahead = self.ahead(&mut planning, &plan).await;
        let transactions = self.transactions(&mut planning, (&snapshot, &plan), &plugins).await?;
        Ok(TickPlan { planning, requests, transactions, ahead, d8 })
    }

    /// Reads the policies.
    pub(super) async fn policies(&mut self) -> Result<(ClusterView, Arc<PolicySet>), Failure> {
        self.policies_read = Instant::now();
        let mut view = self.context.view(RecordSelection::None).await?;
        if view.origin == ViewOrigin::Live {
            // A tick may last longer than the time for which a view counts.
            view.confirmed = Timestamp::now();
        }
        self.fingerprints = view.policies.iter().map(fingerprint).collect();
        let policies = Arc::new(view.policy_set());
        Ok((view, policies))
    }

    /// Returns the requests of the agent: the newest version of everything that is installed or required.
    fn requests(&self, policies: &PolicySet) -> Result<BTreeMap<PluginName, Request>, Failure> {
        let here = policies.for_host(self.context.host(Person::Nobody));
        let required = here.required().into_iter().map(|required| required.plugin);
        let names = installed::all(self.context)?.into_keys().chain(required);
        names.map(|name| Ok((name.clone(), request::newest(self.context, &here, &name)?))).collect()
    }

    /// Plans without the changes that failed before with the same bytes, so that an older version may be taken.
    pub(super) async fn plan_untried(
        &mut self,
        planning: &mut Planning<'a>,
        requests: &BTreeMap<Component, Request>,
    ) -> (Snapshot, Plan) {
        loop {
            let (snapshot, plan) = planning.plan(requests.clone(), false).await;
            let failed: Vec<_> = plan.changes.iter().filter(|change| self.failed_change(planning, change)).collect();
            if failed.is_empty() {
                return (snapshot, plan);
            }
            for change in failed {
                planning.leave_out(&change.component, &change.to.version);
            }
        }
    }

    /// Returns whether a change failed before with the same bytes, and keeps the failure of the newest such version for the
    /// report.
    fn failed_change(&mut self, planning: &Planning<'_>, change: &PlannedChange) -> bool {
        let layer = planning.details(&change.component, &change.to.version).and_then(|details| details.layer.as_ref());
        self.skip_failed(&change.component, &change.to.version, layer)
    }

    /// Returns whether a version is not taken now because it failed before, and keeps its failure for the report.
    pub(super) fn skip_failed(&mut self, component: &Component, version: &Version, layer: Option<&Digest>) -> bool {
        let blocking = self.failures.blocking(component, version, layer, self.context.now);
        let Some((failure, until)) = blocking else { return false };
        tracing::info!(%component, %version, reason = failure.reason, "not tried again");
        // The newest one is reported.
        if self.left_out.get(component).is_none_or(|(known, _)| known.version < failure.version) {
            self.left_out.insert(component.clone(), (failure, until));
        }
        true
    }

    /// Reports what the plan leaves as it is, and what is about to change.
    pub(super) fn report_outcomes(&mut self, planning: &Planning<'_>, plan: &Plan) {
        for (component, outcome) in &plan.outcomes {
            self.keep_failure(component, outcome, |held| planning.recorded_layer(component, held));
            let active = ActiveArtifact {
                version: planning.active(component).cloned(),
                digest: planning.active_layer(component),
            };
            let forbidden = planning.forbidden(component);
            self.report(component, ComponentReport::of(active, forbidden.as_ref(), outcome));
        }
    }

    /// Keeps the failure of a version that is held now. If a halt hid what it was made for, nobody would see which hosts
    /// failed, and a resumed wave would count them again.
    pub(super) fn keep_failure(
        &mut self,
        component: &Component,
        outcome: &Outcome,
        layer: impl Fn(&PublishedVersion) -> Option<Digest>,
    ) {
        let held = outcome.passed_over().iter().filter(|(_, verdict)| verdict.class() == Class::Held);
        for (held, _) in held {
            if self.skip_failed(component, &held.version, layer(held).as_ref()) {
                return;
            }
        }
    }

    /// Reports a component. One with a newer version that failed counts as failed, whatever it runs meanwhile.
    pub(super) fn report(&mut self, component: &Component, report: ComponentReport) {
        let is_older = |failure: &FailedAttempt| report.target.as_ref().is_some_and(|target| failure.version < *target);
        let report = match self.left_out.get(component) {
            // What a newer version waits for is more to the point.
            Some((failure, until)) if !is_older(failure) => ComponentReport { until: *until, ..report.failed(failure) },
            _ => report,
        };
        self.record.report.components.insert(component.clone(), report);
    }

    /// Returns the changes to make now.
    async fn transactions(
        &mut self,
        planning: &mut Planning<'_>,
        (snapshot, plan): (&Snapshot, &Plan),
        requests: &BTreeMap<PluginName, Request>,
    ) -> Result<Vec<Transaction>, Failure> {
        let options = ExecuteOptions { is_update: true, is_all: true, ..ExecuteOptions::default() };
        let mut results = ChangeResults::default();
        let repairs = repair::plan(self.context, planning, (snapshot, plan), requests, options, &mut results).await?;
        for (name, result) in results {
            if let Err(failure) = result {
                self.fail(&name.into(), None, &failure);
            }
        }
        let now = self.context.now;
        let is_untried = |transaction: &Transaction| {
            transaction.operations.iter().all(|operation| {
                let (component, version) = (operation.name.clone().into(), &operation.change.to.version);
                self.failures.blocking(&component, version, operation.layer(), now).is_none()
            })
        };
        let mut transactions: Vec<Transaction> = repairs.into_iter().filter(is_untried).collect();
        transactions.extend(transaction::transactions(planning, snapshot, plan)?);
        Ok(transactions)
    }

    /// Returns the versions that only a window or a blackout holds for a while, and that are not in the store.
    async fn ahead(&mut self, planning: &mut Planning<'_>, plan: &Plan) -> Vec<Operation> {
        let mut ahead = Vec::new();
        for (component, outcome) in &plan.outcomes {
            let Component::Plugin(name) = component else { continue };
            let held = outcome.passed_over().iter().find(|(_, verdict)| verdict.is_staged_ahead(self.context.now));
            let Some((published, _)) = held else { continue };
            // The plan did not need the requirements of a version that is held.
            let verdict = planning.verdict(component, published, planning.intent()).await;
            let Some(details) = planning.details(component, &published.version).cloned() else { continue };
            let is_held = verdict.is_ok_and(|verdict| verdict.is_staged_ahead(self.context.now));
            if !is_held || self.skip_failed(component, &published.version, details.layer.as_ref()) {
                continue;
            }
            // Of a plugin that is not installed, the store keeps nothing.
            let Some(active) = planning.active(component) else { continue };
            let from = PreviousVersion::Version(active.clone());
            let (component, to, why) = (component.clone(), published.clone(), ChangeReason::Requested);
            let change = PlannedChange { component, from, to, why, warnings: Vec::new() };
            let (kind, details) = (OperationKind::Switch, Some(details));
            ahead.push(Operation { name: name.clone(), kind, change, details });
        }
        let is_stored = |operation: &Operation| {
            transaction::store_for(self.context, &operation.name).is_ok_and(|store| operation.is_stored(&store))
        };
        ahead.retain(|operation| !is_stored(operation));
        ahead
    }

    /// Reports a change that failed, or a component that cannot be changed, and remembers the change. `change`: its
    /// version and the digest of its layer.
    pub(super) fn fail(
        &mut self,
        component: &Component,
        change: Option<(&Version, Option<&Digest>)>,
        failure: &Failure,
    ) {
        let report = self.record.report.components.remove(component);
        let active = report.as_ref().and_then(|report| report.active.clone());
        let version = change.map(|(version, _)| version.clone()).or(active);
        let failed = failed_attempt(version, failure);
        if let Some((_, digest)) = change {
            self.failures.add(component, &failed, digest, self.context.now);
            self.results.add(component, &failed, digest, self.context.now);
        }
        // A new dependency has no entry of its own.
        let Some(report) = report else { return };
        self.report(component, failed_changes::report(report, &failed));
    }

    /// Reports that changes are in progress.
    pub(super) async fn announce<'v>(
        &mut self,
        changes: impl IntoIterator<Item = (Component, &'v Version)>,
    ) -> Result<(), Failure> {
        for (component, to) in changes {
            if let Some(report) = self.record.report.components.get_mut(&component) {
                report.state = ComponentState::Switching;
                report.target = Some(to.clone());
            }
        }
        self.record.write().await.map(drop)
    }

    /// Reports that a component waits for the next tick, which plans again: another process changed it first.
    pub(super) fn postpone(&mut self, component: &Component) {
        if let Some(report) = self.record.report.components.get_mut(component) {
            report.state = ComponentState::Pending;
        }
    }

    /// Forgets the failures of a component: the newest permitted version of it is active.
    pub(super) fn forget_failures(&mut self, component: &Component) {
        self.failures.forget(component);
        self.results.forget(component);
    }

    /// Remembers the changes that failed. Those that `d8 agent retry` forgot meanwhile stay forgotten.
    pub(super) fn save_failures(&self) {
        if let Err(error) = self.state.save_failures(&self.results.applied_to(self.state.failures())) {
            output::warn(format!("changes that failed are not remembered: {}", error_chain(&error)));
        }
    }
}

/// Returns the change to a version that failed; `None`: the version is not known.
pub(super) fn failed_attempt(version: Option<Version>, failure: &Failure) -> FailedAttempt {
    FailedAttempt {
        version: version.unwrap_or_default(),
        reason: failure.kind().to_owned(),
        message: failure.summary(),
    }
}

/// Returns the policies that apply to this machine, with their generations.
fn generations(policies: &[Value], set: &PolicySet, context: &Context) -> Vec<(String, i64)> {
    let here = set.for_host(context.host(Person::Nobody));
    let names = here.policy_names();
    let generation = |name: &str| {
        let is_it = |policy: &&Value| policy.pointer("/metadata/name").and_then(|n| n.as_str()) == Some(name);
        policies.iter().find(is_it)?.pointer("/metadata/generation")?.as_i64()
    };
    names.into_iter().map(|name| (name.to_owned(), generation(name).unwrap_or_default())).collect()
}
