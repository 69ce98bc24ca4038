//! The `CliHost` of this machine: reads it, and writes its status.

use std::path::Path;

use d8_agent::{
    cluster::{self, HostIdentity, MAX_TOKEN_LIFE, ViewError},
    enrolled_host::{EnrolledHost, EnrolledHostError, EnrolledHostState},
};
use d8_crds::{
    decisions::agent_report::HostReport,
    records::host::{CliHost, CliHostStatus},
    values::host_name::HostName,
};
use d8_rpp::endpoint_pin::{AcceptedIdentity, TRUST_CA};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
    version,
};

/// A difference of clocks that the time of the API server's answer does not show for sure.
const DATE_RESOLUTION: SignedDuration = SignedDuration::from_secs(2);

/// The `CliHost` of this machine, and what its status is going to say.
pub(super) struct HostRecord<'a> {
    context: &'a Context,
    client: Client,
    name: HostName,
    record: CliHost,
    pub(super) report: HostReport,
}

impl<'a> HostRecord<'a> {
    /// Renews the token of the host if that is due, and reads its `CliHost` and its labels.
    ///
    /// # Errors
    /// The machine is not a managed host, or the host was revoked (3); the API server does not answer (5).
    pub(super) async fn read(context: &'a Context, state: &EnrolledHostState) -> Result<(Client, Self), Failure> {
        let host = state.read().map_err(|error| state_failure(state.directory(), &error))?;
        let Some(mut host) = host else { return Err(not_managed()) };
        state.check_access().map_err(|error| state_failure(state.directory(), &error))?;
        refuse_unverified(context).await?;
        let client = context.cluster().await?.client.clone();
        renew_token(context, state, &client, &host).await;
        let found = cluster::host(&client, host.name.as_str()).await;
        let found = found.map_err(|error| host_failure(context, &host.name, &error))?;
        let Some(record) = found else { return Err(not_enrolled(&host.name)) };
        let labels = record.metadata.labels.clone().unwrap_or_default();
        if labels != host.labels {
            host.labels = labels;
            state.save_host(&host).map_err(|error| state_failure(state.directory(), &error))?;
        }
        // Only admins set annotations.
        let (accepted, malformed) =
            AcceptedIdentity::from_annotations(&record.metadata.annotations.clone().unwrap_or_default());
        if !malformed.is_empty() {
            output::warn(format!(
                "annotation {TRUST_CA} of CliHost {} has words that are no SHA-256 digests: {}",
                host.name,
                malformed.join(" ")
            ));
        }
        context.accept_proxy(accepted);
        let report = HostReport {
            platform: context.platform.to_string(),
            agent_version: version::display(),
            ..HostReport::default()
        };
        let mut own = Self { context, client: client.clone(), name: host.name, record, report };
        own.compare_machine(state)?;
        Ok((client, own))
    }

    /// Notices whether another machine reports as this host.
    fn compare_machine(&mut self, state: &EnrolledHostState) -> Result<(), Failure> {
        let mut machine = state.machine();
        let (before, own) = (machine.clone(), machine.hash());
        let found = self.record.status.as_ref().and_then(|status| status.machine.as_deref());
        machine.observe(found, &own, self.context.now);
        // Stored before it is reported: what is not remembered would look like another machine.
        if machine != before {
            state.save_machine(&machine).map_err(|error| state_failure(state.directory(), &error))?;
        }
        self.report.duplicate = machine.is_duplicate(self.context.now);
        if self.report.duplicate {
            output::warn(format!("another machine reports as {0} too; see: `kubectl describe clihost {0}`", self.name));
        }
        self.report.machine = Some(own);
        Ok(())
    }

    /// Writes the status, if it changes. Returns it.
    ///
    /// # Errors
    /// The API server refuses it, or does not answer: exit 5.
    pub(super) async fn write(&mut self) -> Result<CliHostStatus, Failure> {
        let present = self.record.status.clone().unwrap_or_default();
        let generation = self.record.metadata.generation.unwrap_or_default();
        // By the clock of the API server, which people compare it with.
        let now = Timestamp::now();
        // A smaller difference is that of its header, which has whole seconds, and of the way of the answer.
        let offset = self.report.clock_offset.filter(|offset| offset.abs() > DATE_RESOLUTION);
        let now = offset.and_then(|offset| now.checked_sub(offset).ok()).unwrap_or(now);
        let Some(status) = self.report.status(&present, generation, now) else { return Ok(present) };
        let api: Api<CliHost> = Api::all(self.client.clone());
        let patch = json!({"status": replacing(&status)});
        let written = api.patch_status(self.name.as_str(), &PatchParams::default(), &Patch::Merge(&patch)).await;
        written.map_err(|error| {
            Failure::new(Code::Unreachable, format!("failed to write the status of CliHost {}", self.name))
                .caused_by(&error)
                .advise("the API server refused it, or did not answer", "the next run of the agent tries again")
        })?;
        self.record.status = Some(status.clone());
        Ok(status)
    }

    /// Reports that the policies or the records cannot be read, if the API server takes the report.
    pub(super) async fn write_unreadable(&mut self, failure: &Failure) {
        self.report.unreadable = Some(failure.summary());
        if let Err(failure) = self.write().await {
            tracing::info!(failure = failure.summary(), "not reported");
        }
    }
}

/// Returns the status as a merge patch that also removes the fields that it does not set.
fn replacing(status: &CliHostStatus) -> serde_json::Value {
    let mut patch = json!({
        "platform": null, "agentVersion": null, "machine": null, "policies": [], "components": [], "conditions": [],
    });
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
        Ok(token) => state.save_token(&token, context.now).map_err(|error| d8_rpp::text::error_chain(&error)),
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

/// Returns the failure when this machine was not enrolled.
pub(super) fn not_managed() -> Failure {
    Failure::new(Code::Refused, "this machine is not a managed host").advise(
        "nobody ran `d8 agent join FILE` here",
        "an admin of the cluster makes a file: `d8 host enroll NAME`; then, here as root: `d8 agent join NAME.d8host`",
    )
}

/// Returns the failure when the host was revoked.
pub(super) fn not_enrolled(host: &HostName) -> Failure {
    Failure::new(Code::Refused, format!("host {host} is not enrolled"))
        .of_kind("NotEnrolled")
        .advise("it was revoked", format!("ask an admin for another file: `d8 host enroll {host}`"))
}

/// Returns the failure when a host cannot read its `CliHost`.
pub(super) fn host_failure(context: &Context, host: &HostName, error: &ViewError) -> Failure {
    if !matches!(error, ViewError::Unauthorized) {
        return context.view_failure(error);
    }
    Failure::new(Code::Unreachable, format!("the API server does not accept the token of {host}"))
        .of_kind("Unauthorized")
        .advise(
            "the token expired, or the host was rotated or revoked",
            format!("ask an admin for another file: `d8 host rotate {host}`"),
        )
}

/// Returns the failure when the identity of the machine cannot be read or written.
pub(super) fn state_failure(directory: &Path, error: &EnrolledHostError) -> Failure {
    Failure::new(Code::Failed, format!("cannot use {}", directory.display())).caused_by(error).advise(
        "the identity of a host belongs to root, and nobody else may change it",
        format!("run it as root, or look at it: `ls -la {}`", directory.display()),
    )
}
