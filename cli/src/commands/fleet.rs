//! `d8 fleet …`: what managed hosts run, where policies lead them, and what keeps them.

pub(crate) mod report;
pub(crate) mod status;

mod csv;
mod html;
mod text;

use std::collections::BTreeSet;

use d8_agent::cluster::{self, ClusterView, RecordSelection, ViewError};
use d8_crds::{
    decisions::{
        fleet::{Fleet, FleetInputs, ObservedHost},
        verdict::PolicySet,
    },
    values::{name::Component, spelling::nearest},
};
use jiff::Timestamp;

use crate::{
    args::FleetSelectionArgs,
    context::Context,
    terminal::failure::{Code, Failure},
};

/// What was read of a fleet.
struct Observation {
    view: ClusterView,
    policies: PolicySet,
    hosts: Vec<ObservedHost>,
    components: BTreeSet<Component>,
    now: Timestamp,
}

impl Observation {
    /// Reads policies, records and hosts.
    ///
    /// # Errors
    /// The cluster does not answer, or the user may not read hosts (5); the label selector is wrong (2).
    async fn read(context: &Context, selection: &FleetSelectionArgs) -> Result<Self, Failure> {
        let client = &context.cluster().await?.client;
        let mut hosts = Vec::new();
        let selector = selection.selector.as_deref();
        let listing = cluster::each_host(client, selector, |host| hosts.push(ObservedHost::new(host)));
        let (view, listed) = tokio::join!(context.view(RecordSelection::All), listing);
        listed.map_err(|error| list_failure(context, selector, &error))?;
        let view = view?;
        Ok(Self {
            policies: view.policy_set(),
            now: view.server_time.unwrap_or(context.now),
            components: selection.components.iter().cloned().collect(),
            view,
            hosts,
        })
    }

    /// Summarizes it. Notes the components that were named and that no host has.
    fn fleet(&self, context: &Context) -> Fleet {
        let fleet = Fleet::new(FleetInputs {
            hosts: &self.hosts,
            policies: &self.view.policies,
            set: &self.policies,
            records: &self.view.records,
            components: &self.components,
            now: self.now,
        });
        for component in &self.components {
            if !fleet.components.iter().any(|found| found.name == component.name()) {
                context.printer.note(self.unknown(component));
            }
        }
        fleet
    }

    fn unknown(&self, component: &Component) -> String {
        let near = nearest(component.name(), self.view.records.keys().map(String::as_str));
        match near.filter(|near| *near != component.name()) {
            Some(near) => format!("no host reports {component}; did you mean {near}?"),
            None => format!("no host reports {component}"),
        }
    }
}

fn list_failure(context: &Context, selector: Option<&str>, error: &ViewError) -> Failure {
    if let (Some(selector), ViewError::Unreachable { error: request, .. }) = (selector, error)
        && cluster::status_code(request) == Some(400)
    {
        return Failure::new(Code::Usage, format!("label selector {selector:?} is not valid"))
            .caused_by(error)
            .advise("selectors are written as for kubectl", "for example: `d8 fleet status --selector role=bastion`");
    }
    context.view_failure(error)
}
