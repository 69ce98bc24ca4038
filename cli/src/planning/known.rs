//! Reasons by facts that are in memory: records, and what was fetched for the plan. Fetches nothing.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        intent::Intent,
        plan::{self, FactRequest, Plan, PlanStep, Request},
        reason::Reason,
        selection::PublishedVersion,
    },
    values::name::Component,
};

use super::Planning;
use crate::catalog::Catalog;

impl Planning<'_> {
    /// Returns the reasons against a version that a person would name. There may be more that are not known.
    pub(crate) fn known_reasons(&mut self, component: &Component, published: &PublishedVersion) -> Vec<Reason> {
        let version = &published.version;
        let contract = FactRequest::Contract { component: component.clone(), published: published.clone() };
        if !self.known.contains(&contract) {
            self.add_recorded(&contract);
        }
        let findings = self.details(component, version).map(|details| details.findings.clone());
        // Without a contract the policies decide.
        let verdict = self.evaluate(component, version, Intent::Explicit, &findings.unwrap_or_default());
        if !verdict.is_eligible() {
            return verdict.reasons().to_vec();
        }
        let requests = BTreeMap::from([(component.clone(), Request::Exact(version.clone()))]);
        let plan = self.known_plan(requests);
        plan.map(|plan| self.plugin_reasons_in(&plan, component, version)).unwrap_or_default()
    }

    /// Returns the plan, if all facts for it are known.
    fn known_plan(&mut self, requests: BTreeMap<Component, Request>) -> Option<Plan> {
        let snapshot = self.snapshot(requests, false);
        loop {
            match plan::plan(&snapshot, &self.known, &self.evaluator()) {
                PlanStep::Done(plan) => return Some(plan),
                PlanStep::Fetch(needs) => {
                    if !needs.iter().all(|need| self.add_recorded(need)) {
                        return None;
                    }
                }
            }
        }
    }

    /// Adds a fact if a record has it. Returns whether one has.
    fn add_recorded(&mut self, need: &FactRequest) -> bool {
        match need {
            FactRequest::Tags(component) => {
                let record = self.view.records.get(component.name());
                let catalog = record.and_then(|record| Catalog::of_record(self.context, record, component));
                let Some(catalog) = catalog else { return false };
                self.add_tags(need.clone(), component.clone(), Ok(catalog));
            }
            FactRequest::Contract { component, published } => {
                let catalog = self.catalogs.get(component);
                let details = catalog.and_then(|catalog| catalog.recorded_details(self.context, published));
                let Some(details) = details else { return false };
                self.add_details(need.clone(), component.clone(), published.version.clone(), details);
            }
        }
        true
    }
}
