//! The verdict on a version of one plugin, for `why`: policies and cluster. What other plugins have to do
//! with it is the planner's word.

use d8_crds::{
    name::Component,
    select::Published,
    verdict::{Case, Intent, Judgement, PolicySet},
    version::Version,
};

use crate::{catalog::Catalog, context::Context, failure::Failure};

/// Asks about versions of one plugin for one intent.
pub(crate) struct Judge<'a> {
    context: &'a Context,
    policies: &'a PolicySet,
    catalog: &'a Catalog,
    component: Component,
    intent: Intent,
    active: Option<&'a Version>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        context: &'a Context,
        policies: &'a PolicySet,
        catalog: &'a Catalog,
        intent: Intent,
        active: Option<&'a Version>,
    ) -> Self {
        let component = Component::Plugin(catalog.name.clone());
        Self { context, policies, catalog, component, intent, active }
    }

    /// One version with every reason there is; what cannot be checked counts as unmet and says so.
    ///
    /// # Errors
    /// The proxy's, where it must be asked.
    pub(crate) async fn whole(&self, published: &Published) -> Result<Judgement, Failure> {
        let mut findings = self.catalog.offer(self.context, published).await?.findings;
        findings.unmet.append(&mut findings.unchecked);
        let case = Case::new(self.context.host(), &self.component, &published.version, self.intent, self.context.now)
            .active(self.active)
            .release(self.catalog.record())
            .unmet(&findings.unmet);
        Ok(self.policies.judge(&case))
    }
}
