//! Plans for the agent of a managed host. The records have all the facts: the agent sees the same ones.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::ClusterView;
use d8_crds::{
    decisions::{
        plan::{FactRequest, PolicyEvaluator, Request},
        selection,
        verdict::NextVersion,
    },
    records::policy::MajorUpdates,
    values::{name::Component, version::Version},
};

use super::Planning;
use crate::{
    catalog::Catalog,
    context::Context,
    managed_host::ManagedHost,
    terminal::failure::{Code, Failure},
};

impl<'a> Planning<'a> {
    /// Plans for a managed host. The view has all records.
    pub(crate) fn of_managed_host(context: &'a Context, view: ClusterView, host: ManagedHost) -> Self {
        let (installed, digests) = (host.installed(&view.records), host.digests());
        let policies = Arc::new(view.policy_set());
        let planning = Self::new(context, view, policies, installed, digests);
        Self { managed: Some(Box::new(host)), ..planning }
    }

    /// Returns the evaluator of the agent: its clock is that of the API server, and it has just read the policies.
    pub(super) fn evaluator_of_agent(&self) -> PolicyEvaluator<'_> {
        let now = self.view.server_time.unwrap_or(self.context.now);
        PolicyEvaluator::new(&self.policies, self.host(), now, &self.view.records)
            .by_server(None, Some(now))
            .on_disk(&self.on_disk)
    }

    /// Adds a fact of the records. A version that no record has is not published for the agent.
    pub(super) fn add_for_managed(&mut self, need: &FactRequest) {
        let platform = self.managed.as_ref().and_then(|host| host.platform.clone());
        match need {
            FactRequest::Tags(component) => {
                let record = self.view.records.get(component.name());
                let catalog = record.and_then(|record| Catalog::for_platform(platform.as_ref(), record, component));
                if let Some(catalog) = catalog {
                    self.add_tags(need.clone(), component.clone(), Ok(catalog));
                } else {
                    let none = selection::read_tags::<&str>(component, [], None);
                    self.known.insert_tags(component.clone(), Ok(none));
                }
            }
            FactRequest::Contract { component, published } => {
                let catalog = self.catalogs.get(component);
                let details = catalog.and_then(|catalog| catalog.details_on_host(published, platform.as_ref()));
                let details = details.ok_or_else(|| {
                    Failure::new(Code::Failed, format!("the record of {component} does not have {}", published.tag))
                });
                self.add_details(need.clone(), component.clone(), published.version.clone(), details);
            }
        }
    }

    /// Returns where the policies lead a component of the host: the version that its agent would install now, or when
    /// its hold ends, or the active one. `None`: no version.
    pub(crate) async fn target(&mut self, component: &Component) -> Option<Version> {
        let crosses = self.policies().guidance(component, None).major_updates == MajorUpdates::Cross;
        let request = if crosses { Request::NewestOfAll } else { Request::Newest };
        let (_, plan) = self.plan(BTreeMap::from([(component.clone(), request)]), false).await;
        let outcome = plan.outcomes.get(component)?;
        // A version that must be replaced is no target.
        let forbidden = self.forbidden(component).is_some();
        outcome.destination(self.active(component), forbidden).target().cloned()
    }

    /// Returns what the agent of the host installs first, if nothing changes but the time.
    pub(crate) fn next(&self, component: &Component) -> Option<NextVersion> {
        self.evaluator_of_agent().next(component, self.active(component))
    }
}
