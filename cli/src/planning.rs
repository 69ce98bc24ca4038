//! From requests to a plan: fetches the facts that the planner requests, each once, until the plan is complete.
//!
//! `d8_crds::decisions::plan` chooses the versions, of plugins and of d8 itself.

mod known;
mod managed;
pub(crate) mod messages;
mod snapshot;

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::{self, Caller, ClusterView};
use d8_crds::{
    decisions::{
        intent::Intent,
        person::Person,
        plan::{
            self, Actor, Dependencies, DependencyPolicy, EvaluationRequest, Evaluator as _, FactRequest,
            InstalledComponent, InstalledContract, KnownFacts, Obstacle, Outcome, Plan, PlanOptions, PlanStep,
            PolicyEvaluator, Request, Snapshot, StoredDigests, VersionFacts,
        },
        reason::{Cause, Reason, Subject},
        requirements::{Findings, Unchecked},
        selection::{self, PublishedVersion},
        verdict::{Candidate, Host, HostPolicies, PolicySet, Verdict},
    },
    records::release::CliRelease,
    values::{digest::Digest, name::Component, version::Version},
};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use self::snapshot::{installed_component, stored_digests};
use crate::{
    catalog::{Catalog, VersionDetails},
    context::Context,
    installed,
    managed_host::ManagedHost,
    terminal::failure::{Code, Failure},
};

/// Maximum number of parallel requests for facts.
const MAX_FETCHES: usize = 8;

/// The plans of one command, and the facts they are made from.
pub(crate) struct Planning<'a> {
    context: &'a Context,
    /// The host to plan for. `None`: this machine.
    managed: Option<Box<ManagedHost>>,
    view: ClusterView,
    policies: Arc<PolicySet>,
    installed: BTreeMap<Component, InstalledComponent>,
    on_disk: BTreeMap<Component, StoredDigests>,
    catalogs: BTreeMap<Component, Catalog>,
    details: BTreeMap<(Component, Version), VersionDetails>,
    known: KnownFacts,
    failures: Vec<(FactRequest, Failure)>,
    allow_ungoverned: bool,
    /// The agent of this machine acts, and not a person.
    is_agent: bool,
    /// The local time of the verdicts.
    now: Timestamp,
}

/// A fact that was fetched, or the failure to fetch it.
enum Fetched {
    Tags(Component, Box<Result<Catalog, Failure>>),
    Details(Component, PublishedVersion, Box<Result<VersionDetails, Failure>>),
}

impl<'a> Planning<'a> {
    /// Plans for the installed plugins. `policies` are those of the view.
    ///
    /// # Errors
    /// A root cannot be read.
    pub(crate) fn of_plugins(
        context: &'a Context,
        view: ClusterView,
        policies: Arc<PolicySet>,
    ) -> Result<Self, Failure> {
        let plugins = installed::all(context)?;
        let on_disk = plugins.iter().map(|(name, plugin)| (name.clone().into(), stored_digests(plugin))).collect();
        let installed = plugins
            .into_iter()
            .map(|(name, plugin)| (name.into(), installed_component(&plugin, &view.records)))
            .collect();
        Ok(Self::new(context, view, policies, installed, on_disk))
    }

    /// Plans for d8 itself. `active` is None for a development build.
    pub(crate) fn of_d8(
        context: &'a Context,
        view: ClusterView,
        active: Option<&Version>,
        digests: StoredDigests,
    ) -> Self {
        let policies = Arc::new(view.policy_set());
        let contract = InstalledContract::Known(Dependencies::default());
        let installed = InstalledComponent { version: active.cloned(), contract };
        let installed = BTreeMap::from([(Component::D8, installed)]);
        Self::new(context, view, policies, installed, BTreeMap::from([(Component::D8, digests)]))
    }

    fn new(
        context: &'a Context,
        view: ClusterView,
        policies: Arc<PolicySet>,
        installed: BTreeMap<Component, InstalledComponent>,
        on_disk: BTreeMap<Component, StoredDigests>,
    ) -> Self {
        Self {
            context,
            managed: None,
            policies,
            view,
            installed,
            on_disk,
            catalogs: BTreeMap::new(),
            details: BTreeMap::new(),
            known: KnownFacts::default(),
            failures: Vec::new(),
            allow_ungoverned: false,
            is_agent: false,
            now: context.now,
        }
    }

    /// Plans for the agent of this machine.
    #[must_use]
    pub(crate) fn for_agent(self) -> Self {
        Self { is_agent: true, ..self }
    }

    /// Replaces the policies by those that were read again, and the time. The records stay.
    pub(crate) fn renew(&mut self, view: ClusterView, policies: Arc<PolicySet>, now: Timestamp) {
        let records = std::mem::take(&mut self.view.records);
        self.view = ClusterView { records, ..view };
        (self.policies, self.now) = (policies, now);
    }

    /// Plans as if a version were not published.
    pub(crate) fn leave_out(&mut self, component: &Component, version: &Version) {
        if let Some(Ok(tags)) = self.known.tags.get_mut(component) {
            tags.published.retain(|published| published.version != *version);
        }
    }

    /// Sets whether the person accepts a d8 that does not support policies.
    #[must_use]
    pub(crate) fn allow_ungoverned(mut self, allowed: bool) -> Self {
        self.allow_ungoverned = allowed;
        self
    }

    /// Adds a version that was tested and does not support policies. Returns whether that is new.
    pub(crate) fn add_policy_unaware(&mut self, component: &Component, version: &Version) -> bool {
        self.on_disk.entry(component.clone()).or_default().policy_unaware.insert(version.clone())
    }

    /// Returns the cluster's policies for this machine and the person who acts.
    pub(crate) fn policies(&self) -> HostPolicies<'_> {
        self.policies.for_host(self.host())
    }

    /// Returns the host to plan for: this machine, where the person acts who is known to the cluster, or a managed one.
    pub(crate) fn host(&self) -> Host<'_> {
        match &self.managed {
            Some(managed) => managed.as_host(),
            None if self.is_agent => self.context.host(Person::Nobody),
            None => self.context.host(self.view.caller.person()),
        }
    }

    /// Returns the managed host to plan for; `None`: this machine.
    pub(crate) fn managed_host(&self) -> Option<&ManagedHost> {
        self.managed.as_deref()
    }

    /// Returns the intent of an update there: of a person, or of the agent of a managed host.
    pub(crate) fn intent(&self) -> Intent {
        if self.acts_as_agent() { Intent::Agent } else { Intent::Update }
    }

    /// Returns whether the agent of a host acts, of this one or of another one.
    fn acts_as_agent(&self) -> bool {
        self.is_agent || self.managed.is_some()
    }

    /// Returns the records that the plan is made from.
    pub(crate) fn records(&self) -> &BTreeMap<String, CliRelease> {
        &self.view.records
    }

    /// Returns whether a component is installed, damaged or not.
    pub(crate) fn is_installed(&self, component: &Component) -> bool {
        self.installed.contains_key(component)
    }

    /// Returns who the person is.
    pub(crate) fn caller(&self) -> &Caller {
        &self.view.caller
    }

    /// Returns the active version of a component, if it is known.
    pub(crate) fn active(&self, component: &Component) -> Option<&Version> {
        self.installed.get(component)?.version.as_ref()
    }

    /// Returns the digest of the layer of the active version, if its receipt has it.
    pub(crate) fn active_layer(&self, component: &Component) -> Option<Digest> {
        self.on_disk.get(component)?.active.first().cloned()
    }

    /// Returns why the active version of a component is forbidden, if a policy forbids it.
    pub(crate) fn forbidden(&self, component: &Component) -> Option<Reason> {
        let active = self.active(component)?;
        self.evaluator().active_forbidden(&EvaluationRequest {
            component,
            version: active,
            intent: self.intent(),
            active: Some(active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        })
    }

    /// Adds facts of the cluster to a candidate: its time, the age of the policies, and the record.
    pub(crate) fn with_view<'c>(&'c self, candidate: Candidate<'c>) -> Candidate<'c> {
        let record = self.view.records.get(candidate.component.name());
        candidate.server_time(self.view.server_time).confirmed(Some(self.view.confirmed)).release(record)
    }

    /// Evaluates whether the active version may run.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub(crate) fn run_allowed(&self, component: &Component, active: &Version) -> Result<(), Box<Reason>> {
        self.evaluator().run_allowed(component, active)
    }

    /// Returns the verdict on installing the active version again.
    pub(crate) fn repair_verdict(&self, component: &Component, active: &Version) -> Verdict {
        self.evaluate(component, active, Intent::Repair, &Findings::default())
    }

    fn evaluate(&self, component: &Component, version: &Version, intent: Intent, findings: &Findings) -> Verdict {
        self.evaluator().evaluate(&EvaluationRequest {
            component,
            version,
            intent,
            active: self.active(component),
            unmet: &findings.unmet,
            unchecked: &findings.unchecked,
            dependency_of: None,
        })
    }

    fn evaluator(&self) -> PolicyEvaluator<'_> {
        if self.managed.is_some() {
            return self.evaluator_of_agent();
        }
        PolicyEvaluator::new(&self.policies, self.host(), self.now, &self.view.records)
            .by_server(self.view.server_time, Some(self.view.confirmed))
            .on_disk(&self.on_disk)
            .allow_ungoverned(self.allow_ungoverned)
    }

    /// Returns the details of a version, if the plan needed them.
    pub(crate) fn details(&self, component: &Component, version: &Version) -> Option<&VersionDetails> {
        self.details.get(&(component.clone(), version.clone()))
    }

    /// Returns the digest of the layer that the record has of a version, for this machine.
    pub(crate) fn recorded_layer(&self, component: &Component, published: &PublishedVersion) -> Option<Digest> {
        self.catalogs.get(component)?.recorded_layer(self.context, published)
    }

    /// Returns the published versions of a component, if they were fetched.
    pub(crate) fn catalog(&self, component: &Component) -> Option<&Catalog> {
        self.catalogs.get(component)
    }

    /// Returns why a fact could not be fetched.
    pub(crate) fn failure(&self, request: &FactRequest) -> Option<&Failure> {
        self.failures.iter().find(|(failed, _)| failed == request).map(|(_, failure)| failure)
    }

    /// Plans, and fetches the facts that this needs. A failure that concerns one component is in its outcome.
    pub(crate) async fn plan(
        &mut self,
        requests: BTreeMap<Component, Request>,
        no_dependencies: bool,
    ) -> (Snapshot, Plan) {
        let snapshot = self.snapshot(requests, no_dependencies);
        loop {
            match plan::plan(&snapshot, &self.known, &self.evaluator()) {
                PlanStep::Done(plan) => return (snapshot, plan),
                PlanStep::Fetch(needs) => self.fetch(&snapshot.requests, needs).await,
            }
        }
    }

    fn snapshot(&self, requests: BTreeMap<Component, Request>, no_dependencies: bool) -> Snapshot {
        let refused = self.policies.for_host(self.host()).missing_dependencies_refused();
        let missing = refused.map(|by| DependencyPolicy::Refuse { by }).unwrap_or_default();
        let actor = if self.acts_as_agent() { Actor::Agent } else { Actor::Person };
        let options = PlanOptions { actor, missing, no_dependencies };
        Snapshot { installed: self.installed.clone(), requests, options }
    }

    /// Fetches the published versions of a component. If a version was named that the record does not have,
    /// they come from the proxy.
    ///
    /// # Errors
    /// A failed request to the proxy or the cluster.
    pub(crate) async fn published(
        &mut self,
        component: &Component,
        named: Option<&Version>,
    ) -> Result<&Catalog, Failure> {
        let need = FactRequest::Tags(component.clone());
        let request = named.map_or(Request::Newest, |version| Request::Exact(version.clone()));
        self.fetch(&BTreeMap::from([(component.clone(), request)]), vec![need.clone()]).await;
        match self.catalogs.get(component) {
            Some(catalog) => Ok(catalog),
            None => Err(self.failed(&need)),
        }
    }

    /// Returns the verdict on one version for one intent, by policies and cluster.
    /// [`Self::plugin_reasons`] returns what other plugins add to it.
    ///
    /// # Errors
    /// The contract of the version could not be read.
    pub(crate) async fn verdict(
        &mut self,
        component: &Component,
        published: &PublishedVersion,
        intent: Intent,
    ) -> Result<Verdict, Failure> {
        self.fetch_contract(component, published).await?;
        let findings = self.findings(component, &published.version);
        Ok(self.evaluate(component, &published.version, intent, &findings))
    }

    /// Returns the verdict on whether the active version, which is published, may stay.
    ///
    /// # Errors
    /// The contract of the version could not be read.
    pub(crate) async fn staying_published(
        &mut self,
        component: &Component,
        active: &PublishedVersion,
    ) -> Result<Verdict, Failure> {
        self.fetch_contract(component, active).await?;
        Ok(self.staying(component, &active.version))
    }

    /// Returns the verdict on whether the active version may stay, as far as its requirements are known.
    pub(crate) fn staying(&self, component: &Component, active: &Version) -> Verdict {
        let findings = self.findings(component, active);
        self.evaluator().staying(&EvaluationRequest {
            component,
            version: active,
            intent: self.intent(),
            active: Some(active),
            unmet: &findings.unmet,
            unchecked: &findings.unchecked,
            dependency_of: None,
        })
    }

    fn findings(&self, component: &Component, version: &Version) -> Findings {
        self.details(component, version).map(|details| details.findings.clone()).unwrap_or_default()
    }

    async fn fetch_contract(&mut self, component: &Component, published: &PublishedVersion) -> Result<(), Failure> {
        let need = FactRequest::Contract { component: component.clone(), published: published.clone() };
        if !self.known.contains(&need) {
            self.fetch(&BTreeMap::new(), vec![need.clone()]).await;
        }
        if self.details(component, &published.version).is_some() { Ok(()) } else { Err(self.failed(&need)) }
    }

    fn failed(&self, request: &FactRequest) -> Failure {
        let failure = self.failure(request).cloned();
        failure.unwrap_or_else(|| Failure::new(Code::Failed, "internal error: a fact for the plan was not fetched"))
    }

    /// Returns why a version cannot be installed together with other plugins: a plugin that it needs cannot be
    /// installed, or an installed plugin does not accept it. Plugins that the installation would add are not a reason.
    pub(crate) async fn plugin_reasons(&mut self, component: &Component, version: &Version) -> Vec<Reason> {
        let requests = BTreeMap::from([(component.clone(), Request::Exact(version.clone()))]);
        let (_, plan) = self.plan(requests, false).await;
        self.plugin_reasons_in(&plan, component, version)
    }

    /// Returns the reasons in a plan for one version that are about other plugins.
    fn plugin_reasons_in(&self, plan: &Plan, component: &Component, version: &Version) -> Vec<Reason> {
        // Reasons against the version itself are part of its verdict.
        let of_plugins = |reason: &&Reason| matches!(reason.cause, Cause::Plugins(_));
        match plan.outcomes.get(component) {
            Some(
                Outcome::Refused { verdict, .. }
                | Outcome::Unchecked { verdict, .. }
                | Outcome::Incomplete { obstacle: Obstacle::Refused(verdict), .. },
            ) => verdict.reasons().iter().filter(of_plugins).cloned().collect(),
            Some(Outcome::Stopped(error)) => vec![self.unreadable(component, version, &error.to_string())],
            _ => Vec::new(),
        }
    }

    /// Returns the reason against a version whose requirements cannot be read.
    pub(crate) fn unreadable(&self, component: &Component, version: &Version, error: &str) -> Reason {
        let subject = Subject {
            component: component.clone(),
            version: Some(version.clone()),
            active: self.active(component).cloned(),
            evaluated_at: None,
        };
        Reason { subject: subject.into(), cause: Cause::Unchecked(Box::new(Unchecked::contract(error))) }
    }

    /// Fetches facts in parallel and adds them to those that are known. `requests` are those of the plan.
    async fn fetch(&mut self, requests: &BTreeMap<Component, Request>, needs: Vec<FactRequest>) {
        if self.managed.is_some() {
            return needs.iter().for_each(|need| self.add_for_managed(need));
        }
        let this = &*self;
        let fetched: Vec<(FactRequest, Fetched)> = stream::iter(needs)
            .map(|need| async move {
                let fetched = this.fetch_one(requests, &need).await;
                (need, fetched)
            })
            .buffered(MAX_FETCHES)
            .collect()
            .await;
        for (need, fetched) in fetched {
            match fetched {
                Fetched::Tags(component, catalog) => self.add_tags(need, component, *catalog),
                Fetched::Details(component, published, details) => {
                    self.add_details(need, component, published.version, *details);
                }
            }
        }
    }

    fn add_tags(&mut self, need: FactRequest, component: Component, catalog: Result<Catalog, Failure>) {
        let tags = match &catalog {
            Ok(catalog) => Ok(catalog.listing().clone()),
            // Versions that need it are skipped, and the search continues.
            Err(failure) if failure.not_found => Ok(selection::read_tags::<&str>(&component, [], None)),
            Err(failure) => Err(failure.summary()),
        };
        self.known.insert_tags(component.clone(), tags);
        match catalog {
            Ok(catalog) => {
                if let Some(record) = catalog.record() {
                    self.view.records.entry(component.to_string()).or_insert_with(|| record.clone());
                }
                self.catalogs.insert(component, catalog);
            }
            Err(failure) => self.failures.push((need, failure)),
        }
    }

    fn add_details(
        &mut self,
        need: FactRequest,
        component: Component,
        version: Version,
        details: Result<VersionDetails, Failure>,
    ) {
        let facts = details.as_ref().map_err(Failure::summary).and_then(|details| {
            let dependencies =
                Dependencies::read(&details.contract.requirements.plugins).map_err(|error| error.to_string())?;
            Ok(VersionFacts { findings: details.findings.clone(), dependencies })
        });
        self.known.insert_version(component.clone(), version.clone(), facts);
        match details {
            Ok(details) => drop(self.details.insert((component, version), details)),
            Err(failure) => self.failures.push((need, failure)),
        }
    }

    async fn fetch_one(&self, requests: &BTreeMap<Component, Request>, need: &FactRequest) -> Fetched {
        match need {
            FactRequest::Tags(component) => {
                let named = match requests.get(component) {
                    Some(Request::Exact(version)) => Some(version.to_string()),
                    _ => None,
                };
                Fetched::Tags(component.clone(), Box::new(self.open(component, named.as_deref()).await))
            }
            FactRequest::Contract { component, published } => {
                let details = match self.catalogs.get(component) {
                    Some(catalog) => catalog.details(self.context, published).await,
                    None => Err(Failure::new(
                        Code::Failed,
                        format!("internal error: no versions of {component} were fetched"),
                    )),
                };
                Fetched::Details(component.clone(), published.clone(), Box::new(details))
            }
        }
    }

    /// Opens a component's catalog. The record of a plugin that other plugins need is fetched first; that of
    /// d8 is part of the view.
    async fn open(&self, component: &Component, named: Option<&str>) -> Result<Catalog, Failure> {
        let in_view = self.view.records.get(component.name());
        let fetched = if in_view.is_none() && !self.view.complete && *component != Component::D8 {
            let cluster = self.context.cluster().await?;
            cluster::record(&cluster.client, component).await.map_err(|error| self.context.view_failure(&error))?
        } else {
            None
        };
        Catalog::open_for(self.context, in_view.or(fetched.as_ref()), component, named).await
    }
}
