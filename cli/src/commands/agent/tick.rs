//! One tick of the agent: reads the policies and the records, plans, makes the changes, and reports.
//!
//! `d8_crds` decides: the plan is the one that a person gets, for the intent of the agent, and the report follows from
//! its outcomes. A change is made only if every gate is open now.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use d8_agent::{
    Activation,
    cluster::{self, HostIdentity, MAX_TOKEN_LIFE},
    enrolled_host::{EnrolledHost, EnrolledHostState},
    failed_changes::FailedChanges,
};
use d8_crds::{
    decisions::{
        agent_report::{ActiveArtifact, ComponentReport, FailedAttempt, HostReport},
        person::Person,
        plan::{Plan, Request, Snapshot},
        verdict::PolicySet,
    },
    records::host::{CliHost, CliHostStatus, ComponentState},
    values::{
        digest::Digest,
        name::{Component, PluginName},
        version::Version,
    },
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use super::{
    not_enrolled,
    policy_watch::{Fingerprints, fingerprint},
};
use crate::{
    commands::plugins::{
        options::ExecuteOptions,
        repair,
        report::{self, ChangeResults},
        request,
        transaction::{self, Applied, Transaction},
    },
    context::Context,
    installed,
    planning::Planning,
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
    version,
};

/// One tick.
pub(super) struct Tick<'a> {
    context: &'a Context,
    state: &'a EnrolledHostState,
    host: EnrolledHost,
    client: Client,
    record: CliHost,
    failures: FailedChanges,
    report: HostReport,
    begun: Instant,
}

impl<'a> Tick<'a> {
    /// Connects as the host: renews its token if that is due, and reads its `CliHost` and its labels.
    ///
    /// # Errors
    /// The machine is not a managed host, or the host was revoked (3); the API server does not answer (5).
    pub(super) async fn begin(context: &'a Context, state: &'a EnrolledHostState) -> Result<Self, Failure> {
        let host = state.read().map_err(|error| super::state_failure(state.directory(), &error))?;
        let Some(mut host) = host else { return Err(super::not_managed()) };
        refuse_unverified(context).await?;
        let client = context.cluster().await?.client.clone();
        renew_token(context, state, &client, &host).await;
        let found = cluster::host(&client, host.name.as_str()).await;
        let found = found.map_err(|error| super::host_failure(context, &host.name, &error))?;
        let Some(record) = found else { return Err(not_enrolled(&host.name)) };
        let labels = record.metadata.labels.clone().unwrap_or_default();
        if labels != host.labels {
            host.labels = labels;
            state.save_host(&host).map_err(|error| super::state_failure(state.directory(), &error))?;
        }
        let report = HostReport {
            platform: context.platform.to_string(),
            agent_version: version::display(),
            ..HostReport::default()
        };
        Ok(Self { context, state, host, client, record, failures: state.failures(), report, begun: Instant::now() })
    }

    /// Plans, and unless `dry_run` makes the changes and reports. Returns the report.
    ///
    /// # Errors
    /// Policies or records cannot be read. A change that fails is no error: it is in the report.
    pub(super) async fn run(mut self, dry_run: bool) -> Result<HostReport, Failure> {
        let context = self.context;
        let mut view = context.view(cluster::RecordSelection::None).await?;
        let policies = Arc::new(view.policy_set());
        let now = view.server_time.unwrap_or(context.now);
        self.report.clock_offset = view.server_time.map(|server| context.now.duration_since(server));
        let requests = self.requests(&policies)?;
        let components: Vec<Component> = requests.keys().cloned().map(Component::Plugin).collect();
        view.records =
            cluster::named_records(&self.client, &components).await.map_err(|error| context.view_failure(&error))?;
        self.report.policies = generations(&view.policies, &policies, context);
        let planned_by = view.policies.iter().map(fingerprint).collect();
        let mut planning = Planning::of_plugins(context, view, policies)?.for_agent();
        let by_component = requests.iter().map(|(name, request)| (name.clone().into(), request.clone())).collect();
        let (snapshot, plan) = planning.plan(by_component, false).await;
        self.report_outcomes(&planning, &plan);
        let transactions = self.transactions(&mut planning, (&snapshot, &plan), &requests).await?;
        if dry_run {
            return Ok(self.report);
        }
        for (index, transaction) in transactions.iter().enumerate() {
            if index > 0 && self.policies_changed(&planned_by).await? {
                break;
            }
            self.apply(transaction).await?;
        }
        // A change took time: what is up to date now was not when the tick began.
        self.write_status(later(now, self.begun.elapsed())).await?;
        Ok(self.report)
    }

    /// Returns the requests of the agent: the newest version of everything that is installed or required.
    fn requests(&self, policies: &PolicySet) -> Result<BTreeMap<PluginName, Request>, Failure> {
        let here = policies.for_host(self.context.host(Person::Nobody));
        let required = here.required().into_iter().map(|required| required.plugin);
        let names = installed::all(self.context)?.into_keys().chain(required);
        names.map(|name| Ok((name.clone(), request::newest(self.context, &here, &name)?))).collect()
    }

    /// Reports what the plan leaves as it is, and what is about to change.
    fn report_outcomes(&mut self, planning: &Planning<'_>, plan: &Plan) {
        for (component, outcome) in &plan.outcomes {
            let active = ActiveArtifact {
                version: planning.active(component).cloned(),
                digest: planning.active_layer(component),
            };
            let forbidden = planning.forbidden(component);
            let report = ComponentReport::of(active, forbidden.as_ref(), outcome);
            self.report.components.insert(component.clone(), report);
        }
    }

    /// Returns the changes to make now. One that failed before with the same bytes is reported as failed instead.
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
        let mut transactions = repairs;
        transactions.extend(transaction::transactions(planning, snapshot, plan)?);
        transactions.retain(|transaction| !self.failed_before(transaction));
        Ok(transactions)
    }

    /// Returns whether a change of the transaction failed before, with the same bytes, and reports that.
    fn failed_before(&mut self, transaction: &Transaction) -> bool {
        let now = self.context.now;
        let blocking = transaction.operations.iter().find_map(|operation| {
            let component = Component::Plugin(operation.name.clone());
            let version = &operation.change.to.version;
            let (failure, until) = self.failures.blocking(&component, version, operation.layer(), now)?;
            Some((component, failure, until))
        });
        let Some((component, failure, until)) = blocking else { return false };
        tracing::info!(%component, version = %failure.version, reason = failure.reason, "not tried again");
        for operation in &transaction.operations {
            let report = self.report.components.remove(&Component::Plugin(operation.name.clone()));
            if let Some(report) = report {
                let report = ComponentReport { until, ..report.failed(&failure) };
                self.report.components.insert(Component::Plugin(operation.name.clone()), report);
            }
        }
        true
    }

    /// Returns whether policies are not those of the plan any more: a change takes time, and an edit or a halt may stop the
    /// next one. The watch then begins another tick at once.
    async fn policies_changed(&self, planned_by: &Fingerprints) -> Result<bool, Failure> {
        let view = self.context.view(cluster::RecordSelection::None).await?;
        let now: Fingerprints = view.policies.iter().map(fingerprint).collect();
        Ok(now != *planned_by)
    }

    /// Makes the changes of a transaction. While it does, the status says so.
    async fn apply(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        for operation in &transaction.operations {
            if let Some(report) = self.report.components.get_mut(&Component::Plugin(operation.name.clone())) {
                report.state = ComponentState::Switching;
                report.target = Some(operation.change.to.version.clone());
            }
        }
        self.write_status(later(self.context.now, self.begun.elapsed())).await?;
        let progress = Progress::new(self.context.printer);
        match transaction.apply(self.context, &progress).await {
            Ok(Applied::Committed(activations)) => self.succeed(transaction, &activations),
            // Another process changed it first; the next tick plans again.
            Ok(Applied::Conflict) => {
                for operation in &transaction.operations {
                    self.set_state(&operation.name, ComponentState::Pending);
                }
            }
            Err(failure) => {
                output::warn(failure.summary());
                for operation in &transaction.operations {
                    let change = (&operation.change.to.version, operation.layer());
                    self.fail(&operation.name.clone().into(), Some(change), &failure);
                }
            }
        }
        self.save_failures();
        Ok(())
    }

    fn succeed(&mut self, transaction: &Transaction, activations: &[Activation]) {
        for operation in &transaction.operations {
            let component = Component::Plugin(operation.name.clone());
            self.failures.forget(&component);
            let to = operation.change.to.version.clone();
            if let Some(activation) = activations.iter().find(|activation| activation.name == operation.name) {
                output::print(report::changed(activation, operation.kind, &operation.change.why));
            }
            let active = ActiveArtifact { version: Some(to), digest: operation.layer().cloned() };
            self.report.components.insert(component, ComponentReport::changed(active));
        }
    }

    /// Reports a change that failed, or a component that cannot be changed, and remembers the change. `change`: its
    /// version and the digest of its layer.
    fn fail(&mut self, component: &Component, change: Option<(&Version, Option<&Digest>)>, failure: &Failure) {
        let Some(report) = self.report.components.remove(component) else { return };
        let version = change.map(|(version, _)| version).or(report.active.as_ref()).cloned();
        let failed = FailedAttempt {
            version: version.unwrap_or_default(),
            reason: failure.kind().to_owned(),
            message: failure.summary(),
        };
        if let Some((_, digest)) = change {
            self.failures.add(component, &failed, digest, self.context.now);
        }
        self.report.components.insert(component.clone(), report.failed(&failed));
    }

    fn set_state(&mut self, name: &PluginName, state: ComponentState) {
        if let Some(report) = self.report.components.get_mut(&Component::Plugin(name.clone())) {
            report.state = state;
        }
    }

    fn save_failures(&self) {
        if let Err(error) = self.state.save_failures(&self.failures) {
            output::warn(format!("changes that failed are not remembered: {error}"));
        }
    }

    /// Writes the status of the `CliHost`, if it changes.
    async fn write_status(&mut self, now: jiff::Timestamp) -> Result<(), Failure> {
        let present = self.record.status.clone().unwrap_or_default();
        let generation = self.record.metadata.generation.unwrap_or_default();
        let Some(status) = self.report.status(&present, generation, now) else { return Ok(()) };
        let api: Api<CliHost> = Api::all(self.client.clone());
        let patch = json!({"status": replacing(&status)});
        let written = api.patch_status(self.host.name.as_str(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        written.map_err(|error| {
            Failure::new(Code::Unreachable, format!("failed to write the status of CliHost {}", self.host.name))
                .caused_by(&error)
                .advise("the API server refused it, or did not answer", "the next run of the agent tries again")
        })?;
        self.record.status = Some(status);
        Ok(())
    }
}

/// Returns a time that is later by this much.
fn later(time: jiff::Timestamp, by: Duration) -> jiff::Timestamp {
    time.checked_add(by).unwrap_or(time)
}

/// Returns the status as a merge patch that also removes the fields that it does not set.
fn replacing(status: &CliHostStatus) -> serde_json::Value {
    let mut patch = json!({"platform": null, "agentVersion": null, "policies": [], "components": [], "conditions": []});
    if let (Some(patch), Ok(serde_json::Value::Object(fields))) = (patch.as_object_mut(), serde_json::to_value(status))
    {
        patch.extend(fields);
    }
    patch
}

/// Renews the token if half of its life is over. A failure is no error while the token is valid.
async fn renew_token(context: &Context, state: &EnrolledHostState, client: &Client, host: &EnrolledHost) {
    if state.token_times().is_some_and(|times| !times.is_due(context.now)) {
        return;
    }
    let renewed = match HostIdentity::new(client, &host.name).issue(MAX_TOKEN_LIFE).await {
        Ok(token) => state.save_token(&token, context.now).map_err(|error| error.to_string()),
        Err(error) => Err(d8_rpp::text::error_chain(&error)),
    };
    if let Err(error) = renewed {
        output::warn(format!("the token of {} is not renewed: {error}", host.name));
    }
}

/// The agent uses no connection that is not verified, whatever its kubeconfig says.
async fn refuse_unverified(context: &Context) -> Result<(), Failure> {
    context.cluster().await?;
    match context.unverified_connection() {
        None => Ok(()),
        Some(unverified) => Err(Failure::new(Code::Usage, "the agent uses no connection that is not verified")
            .because(unverified.to_string())
            .advise(
                "anyone on the network may answer",
                "omit the flags, and join with a file that has the CA of the cluster",
            )),
    }
}

/// Returns the policies that apply to this machine, with their generations.
fn generations(policies: &[serde_json::Value], set: &PolicySet, context: &Context) -> Vec<(String, i64)> {
    let here = set.for_host(context.host(Person::Nobody));
    let names = here.policy_names();
    let generation = |name: &str| {
        let is_it =
            |policy: &&serde_json::Value| policy.pointer("/metadata/name").and_then(|n| n.as_str()) == Some(name);
        policies.iter().find(is_it)?.pointer("/metadata/generation")?.as_i64()
    };
    names.into_iter().map(|name| (name.to_owned(), generation(name).unwrap_or_default())).collect()
}
