//! The verdict on every version of one plugin, for `why`.

use std::collections::BTreeMap;

use d8_crds::{
    name::{Component, PluginName},
    requirements::{self, Findings, PluginRequirements, Requirements},
    select::Published,
    verdict::{Case, Intent, Judgement, PolicySet},
    version::Version,
};

use crate::{
    catalog::{Catalog, Offer},
    context::Context,
    failure::Failure,
    installed,
};

/// Asks about versions of one plugin for one intent.
pub(crate) struct Judge<'a> {
    context: &'a Context,
    policies: &'a PolicySet,
    catalog: &'a Catalog,
    component: Component,
    intent: Intent,
    active: Option<&'a Version>,
    /// The other plugins' versions, and what they demand of this one.
    others: BTreeMap<PluginName, Option<Version>>,
    demands: Vec<(PluginName, Requirements)>,
}

impl<'a> Judge<'a> {
    /// # Errors
    /// A root that cannot be read.
    pub(crate) fn new(
        context: &'a Context,
        policies: &'a PolicySet,
        catalog: &'a Catalog,
        intent: Intent,
        active: Option<&'a Version>,
    ) -> Result<Self, Failure> {
        let installed = installed::all(context)?;
        let others = installed.iter().map(|(name, found)| (name.clone(), found.version())).collect();
        let demands = installed
            .iter()
            .filter(|(name, _)| **name != catalog.name)
            .filter_map(|(name, found)| {
                let contract = found.store.contract(name).ok().flatten()?;
                Some((name.clone(), on_one(contract.requirements.plugins, &catalog.name)?))
            })
            .collect();
        let component = Component::Plugin(catalog.name.clone());
        Ok(Self { context, policies, catalog, component, intent, active, others, demands })
    }

    fn ask(&self, version: &Version, unmet: &[String]) -> Judgement {
        let case = Case::new(self.context.host(), &self.component, version, self.intent, self.context.now)
            .active(self.active)
            .release(self.catalog.record())
            .unmet(unmet);
        self.policies.judge(&case)
    }

    /// One version with every reason there is; what cannot be checked counts as unmet and says so.
    ///
    /// # Errors
    /// The proxy's, where it must be asked.
    pub(crate) async fn whole(&self, published: &Published) -> Result<Judgement, Failure> {
        let offer = self.catalog.offer(self.context, published).await?;
        let mut findings = self.findings(&offer, &published.version);
        findings.unmet.append(&mut findings.unchecked);
        Ok(self.ask(&published.version, &findings.unmet))
    }

    /// What cluster and other plugins say to a version, both ways.
    fn findings(&self, offer: &Offer, version: &Version) -> Findings {
        let mut findings = offer.findings.clone();
        findings.extend(requirements::check_plugins(&offer.contract.requirements, &self.others));
        let changed = BTreeMap::from([(self.catalog.name.clone(), Some(version.clone()))]);
        for (other, demand) in &self.demands {
            let unmet = requirements::check_plugins(demand, &changed).unmet;
            findings.unmet.extend(unmet.into_iter().map(|why| format!("installed plugin {other} {why}")));
        }
        findings
    }
}

/// What of these demands is on one plugin, if anything is.
fn on_one(mut demands: PluginRequirements, name: &PluginName) -> Option<Requirements> {
    demands.mandatory.retain(|demand| demand.name == name.as_str());
    demands.conditional.retain(|demand| demand.name == name.as_str());
    (!demands.is_empty()).then(|| Requirements { plugins: demands, ..Requirements::default() })
}
