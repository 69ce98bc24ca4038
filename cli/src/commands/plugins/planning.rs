//! From requests to a plan: fetches what the planner asks for until it needs nothing more.
//!
//! The choice itself is `d8_crds::decisions::plan`'s; here are only the answers to its questions, each asked once.

use std::collections::BTreeMap;

use d8_agent::cluster::{self, ClusterView};
use d8_crds::{
    decisions::{
        intent::Intent,
        plan::{
            self, Contract, Dependencies, EvaluationRequest, Evaluator as _, Installed, Knowledge, Need, Options,
            Outcome, Plan, PlanError, Request, Snapshot, Step, StoredDigests,
        },
        selection::{self, PublishedVersion},
        verdict::{PolicySet, Reason, ReasonCode, Verdict},
    },
    records::{policy::MissingDependencies, release::CliRelease},
    values::{
        name::{Component, PluginName},
        text::printable,
        version::Version,
    },
};
use futures::{StreamExt as _, stream};

use crate::{
    catalog::{Catalog, Offer},
    context::Context,
    installed::{self, Found},
    terminal::failure::{Code, Failure},
};

/// How many questions are under way at once.
const PARALLEL: usize = 8;

/// What one command knows while it plans.
pub(crate) struct Planning<'a> {
    context: &'a Context,
    view: ClusterView,
    policies: PolicySet,
    installed: BTreeMap<PluginName, Installed>,
    on_disk: BTreeMap<PluginName, StoredDigests>,
    catalogs: BTreeMap<PluginName, Catalog>,
    offers: BTreeMap<(PluginName, Version), Offer>,
    knowledge: Knowledge,
    failures: Vec<(Need, Failure)>,
}

/// An answer to one of the planner's questions.
enum Answer {
    Tags(PluginName, Box<Result<Catalog, Failure>>),
    Offer(PluginName, PublishedVersion, Box<Result<Offer, Failure>>),
}

impl<'a> Planning<'a> {
    /// Reads what is installed.
    ///
    /// # Errors
    /// A root that cannot be read.
    pub(crate) fn new(context: &'a Context, view: ClusterView) -> Result<Self, Failure> {
        let found = installed::all(context)?;
        let on_disk = found.iter().map(|(name, found)| (name.clone(), on_disk(found))).collect();
        let installed = found.into_iter().map(|(name, found)| (name, snapshot(&found, &view.records))).collect();
        Ok(Self {
            context,
            policies: view.policy_set(),
            view,
            installed,
            on_disk,
            catalogs: BTreeMap::new(),
            offers: BTreeMap::new(),
            knowledge: Knowledge::default(),
            failures: Vec::new(),
        })
    }

    /// The policies that count here.
    pub(crate) fn policies(&self) -> &PolicySet {
        &self.policies
    }

    /// The active version of a plugin, where it is known.
    pub(crate) fn active(&self, name: &PluginName) -> Option<&Version> {
        self.installed.get(name)?.version.as_ref()
    }

    fn judge(&self) -> plan::PolicyEvaluator<'_> {
        plan::PolicyEvaluator::new(&self.policies, self.context.host(), self.context.now, &self.view.records)
            .by_server(self.view.server_time, Some(self.view.confirmed))
            .on_disk(&self.on_disk)
    }

    /// What is offered under a version of the plan.
    pub(crate) fn offer(&self, name: &PluginName, version: &Version) -> Option<&Offer> {
        self.offers.get(&(name.clone(), version.clone()))
    }

    /// What is published of a plugin, if it was asked for.
    pub(crate) fn catalog(&self, name: &PluginName) -> Option<&Catalog> {
        self.catalogs.get(name)
    }

    /// Why a question could not be answered.
    pub(crate) fn failure(&self, need: &Need) -> Option<&Failure> {
        self.failures.iter().find(|(failed, _)| failed == need).map(|(_, failure)| failure)
    }

    /// Plans, fetching what that takes. What goes wrong for one plugin is in its outcome.
    pub(crate) async fn plan(
        &mut self,
        requests: BTreeMap<PluginName, Request>,
        no_dependencies: bool,
    ) -> (Snapshot, Plan) {
        let missing = match self.policies.missing_dependencies(&self.context.host()) {
            MissingDependencies::Install => plan::MissingPolicy::Install,
            MissingDependencies::Refuse => plan::MissingPolicy::Refuse { policy: self.refusing_policy() },
        };
        let options = Options { missing, no_dependencies, ..Options::default() };
        let snapshot = Snapshot { installed: self.installed.clone(), requests, options };
        loop {
            match plan::plan(&snapshot, &self.knowledge, &self.judge()) {
                Step::Done(plan) => return (snapshot, plan),
                Step::Need(needs) => self.learn(&snapshot.requests, needs).await,
            }
        }
    }

    /// Learns what is published of a plugin, with the proxy's word for a version that a person named and
    /// the record has not.
    ///
    /// # Errors
    /// The proxy's, where it must be asked.
    pub(crate) async fn published(&mut self, name: &PluginName, named: Option<&Version>) -> Result<&Catalog, Failure> {
        let need = Need::Tags(name.clone());
        let request = named.map_or(Request::Newest, |version| Request::Exact(version.clone()));
        self.learn(&BTreeMap::from([(name.clone(), request)]), vec![need.clone()]).await;
        match self.catalogs.get(name) {
            Some(catalog) => Ok(catalog),
            None => Err(self.failed(&need)),
        }
    }

    /// The whole verdict on one version for one intent, with what cannot be checked counted as unmet:
    /// policies and cluster. What other plugins have to do with it: [`Self::objections`].
    ///
    /// # Errors
    /// What the version offers could not be had.
    pub(crate) async fn verdict(
        &mut self,
        name: &PluginName,
        published: &PublishedVersion,
        intent: Intent,
    ) -> Result<Verdict, Failure> {
        let need = Need::Contract { name: name.clone(), published: published.clone() };
        if !self.knowledge.knows(&need) {
            self.learn(&BTreeMap::new(), vec![need.clone()]).await;
        }
        let Some(offer) = self.offer(name, &published.version) else { return Err(self.failed(&need)) };
        let unmet: Vec<String> = offer.findings.unmet.iter().chain(&offer.findings.unchecked).cloned().collect();
        Ok(self.judge().judge(&EvaluationRequest {
            plugin: name,
            version: &published.version,
            intent,
            active: self.active(name),
            unmet: &unmet,
            dependency_of: None,
        }))
    }

    fn failed(&self, need: &Need) -> Failure {
        let failure = self.failure(need).cloned();
        failure.unwrap_or_else(|| Failure::new(Code::Failed, "a question was left without an answer"))
    }

    /// What stands between a version and other plugins: what it needs of them and cannot get, and what
    /// those that are installed hold against it. What an install would bring in does not stand in the way.
    pub(crate) async fn objections(&mut self, name: &PluginName, version: &Version) -> Vec<Reason> {
        let requests = BTreeMap::from([(name.clone(), Request::Exact(version.clone()))]);
        let (_, plan) = self.plan(requests, false).await;
        let of_plugins = |reason: &&Reason| matches!(reason.code, ReasonCode::Unfit | ReasonCode::DependencyDenied);
        match plan.outcomes.get(name) {
            Some(Outcome::Refused { judgement, .. }) => {
                judgement.reasons().iter().filter(of_plugins).cloned().collect()
            }
            // What cannot be checked of the version itself is told with its verdict.
            Some(Outcome::Stopped(stop)) if !matches!(&**stop, PlanError::Unchecked { name: of, .. } if of == name) => {
                let message = printable(&stop.to_string()).into_owned();
                vec![Reason { code: ReasonCode::Unfit, policy: None, rule: None, message, until: None }]
            }
            _ => Vec::new(),
        }
    }

    fn refusing_policy(&self) -> String {
        self.policies.matching(&self.context.host()).join(", ")
    }

    async fn learn(&mut self, requests: &BTreeMap<PluginName, Request>, needs: Vec<Need>) {
        let this = &*self;
        let answers: Vec<(Need, Answer)> = stream::iter(needs)
            .map(|need| async move {
                let answer = this.answer(requests, &need).await;
                (need, answer)
            })
            .buffered(PARALLEL)
            .collect()
            .await;
        for (need, answer) in answers {
            match answer {
                Answer::Tags(name, catalog) => {
                    let tags = match catalog.as_ref() {
                        Ok(catalog) => Ok(catalog.listing().clone()),
                        // Whatever needs it is passed over; the search goes on.
                        Err(failure) if failure.nothing_there => {
                            Ok(selection::read_tags::<&str>(&Component::Plugin(name.clone()), [], None))
                        }
                        Err(failure) => Err(failure.headline()),
                    };
                    self.knowledge.learn_tags(name.clone(), tags);
                    match *catalog {
                        Ok(catalog) => {
                            if let Some(record) = catalog.record() {
                                self.view.records.entry(name.to_string()).or_insert_with(|| record.clone());
                            }
                            self.catalogs.insert(name, catalog);
                        }
                        Err(failure) => self.failures.push((need, failure)),
                    }
                }
                Answer::Offer(name, published, offer) => {
                    let version = published.version;
                    let known = offer.as_ref().as_ref().map_err(Failure::headline).and_then(|offer| {
                        let demands =
                            Dependencies::read(&offer.contract.requirements.plugins).map_err(|e| e.to_string())?;
                        Ok(plan::VersionFacts { findings: offer.findings.clone(), dependencies: demands })
                    });
                    self.knowledge.learn_offer(name.clone(), version.clone(), known);
                    match *offer {
                        Ok(offer) => drop(self.offers.insert((name, version), offer)),
                        Err(failure) => self.failures.push((need, failure)),
                    }
                }
            }
        }
    }

    async fn answer(&self, requests: &BTreeMap<PluginName, Request>, need: &Need) -> Answer {
        match need {
            Need::Tags(name) => {
                let typed = match requests.get(name) {
                    Some(Request::Exact(version)) => Some(version.to_string()),
                    _ => None,
                };
                Answer::Tags(name.clone(), Box::new(self.open(name, typed.as_deref()).await))
            }
            Need::Contract { name, published } => {
                let offer = match self.catalogs.get(name) {
                    Some(catalog) => catalog.offer(self.context, published).await,
                    None => Err(Failure::new(Code::Failed, format!("{name}: a contract without a catalog"))),
                };
                Answer::Offer(name.clone(), published.clone(), Box::new(offer))
            }
        }
    }

    /// A plugin's catalog; the record of one that others turn out to need is fetched first.
    async fn open(&self, name: &PluginName, typed: Option<&str>) -> Result<Catalog, Failure> {
        let kept = self.view.records.get(name.as_str());
        let component = Component::Plugin(name.clone());
        let fetched = if kept.is_none() && !self.view.complete {
            let cluster = self.context.cluster().await?;
            cluster::record(&cluster.client, &component).await.map_err(|error| self.context.view_failure(&error))?
        } else {
            None
        };
        Catalog::open_for(self.context, kept.or(fetched.as_ref()), &component, typed).await
    }
}

/// What is installed, as the planner sees it. A cached contract that cannot be read is replaced by the
/// version's own copy, or by what its record says.
fn snapshot(found: &Found, records: &BTreeMap<String, CliRelease>) -> Installed {
    let name = &found.entry.name;
    let own = || {
        let tag = &found.entry.installed()?.tag;
        let copy = found.store.contract_of(name, tag).ok().flatten().map(|contract| contract.requirements);
        copy.or_else(|| {
            let versions = &records.get(name.as_str())?.status.as_ref()?.versions;
            versions.iter().find(|v| v.version == tag.as_str()).map(|v| v.requirements.clone())
        })
    };
    let demands = match found.store.contract(name) {
        Ok(contract) => Ok(contract.map(|contract| contract.requirements)),
        Err(error) => own().map(Some).ok_or_else(|| error.to_string()),
    };
    let contract = match demands {
        Ok(None) => Contract::Known(Dependencies::default()),
        Ok(Some(demands)) => Dependencies::read(&demands.plugins)
            .map_or_else(|error| Contract::Unreadable(error.to_string()), Contract::Known),
        Err(why) => Contract::Unreadable(why),
    };
    Installed { version: found.version(), contract }
}

/// What the store has of it: the digests by which pins and moved tags are told.
fn on_disk(found: &Found) -> StoredDigests {
    let once_active = |installed: &&d8_agent::InstalledVersion| found.entry.history.contains(&installed.tag);
    StoredDigests {
        active: found.entry.installed().map(|installed| installed.receipt.digests()).unwrap_or_default(),
        stored: found
            .entry
            .versions
            .iter()
            .filter(once_active)
            .map(|installed| (installed.version.clone(), installed.receipt.digests()))
            .collect(),
    }
}
