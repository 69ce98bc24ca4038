//! From wishes to a plan: fetches what the planner asks for until it needs nothing more.
//!
//! The choice itself is `d8_crds::plan`'s; here are only the answers to its questions, each asked once.

use std::collections::BTreeMap;

use d8_agent::view::{self, View};
use d8_crds::{
    name::{Component, PluginName},
    plan::{self, Contract, Demands, Installed, Knowledge, Need, Options, Outcome, Plan, Snapshot, Step, Stop, Wish},
    policy::MissingDependencies,
    release::CliRelease,
    select::{self, Published},
    text::printable,
    verdict::{PolicySet, Reason, ReasonCode},
    version::Version,
};
use futures::{StreamExt as _, stream};

use crate::{
    catalog::{Catalog, Offer},
    context::Context,
    failure::{Code, Failure},
    installed::{self, Found},
};

/// How many questions are under way at once.
const PARALLEL: usize = 8;

/// What one command knows while it plans.
pub(crate) struct Planning<'a> {
    context: &'a Context,
    view: View,
    policies: PolicySet,
    catalogs: BTreeMap<PluginName, Catalog>,
    offers: BTreeMap<(PluginName, Version), Offer>,
    knowledge: Knowledge,
    failures: Vec<(Need, Failure)>,
}

/// An answer to one of the planner's questions.
enum Answer {
    Tags(PluginName, Box<Result<Catalog, Failure>>),
    Offer(PluginName, Published, Box<Result<Offer, Failure>>),
}

impl<'a> Planning<'a> {
    pub(crate) fn new(context: &'a Context, view: View) -> Self {
        Self {
            context,
            policies: view.policy_set(),
            view,
            catalogs: BTreeMap::new(),
            offers: BTreeMap::new(),
            knowledge: Knowledge::default(),
            failures: Vec::new(),
        }
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

    /// Plans, fetching what that takes.
    ///
    /// # Errors
    /// A root that cannot be read. What goes wrong for one plugin is in its outcome.
    pub(crate) async fn plan(
        &mut self,
        wishes: BTreeMap<PluginName, Wish>,
        no_dependencies: bool,
    ) -> Result<(Snapshot, Plan), Failure> {
        let missing = match self.policies.missing_dependencies(&self.context.host()) {
            MissingDependencies::Install => plan::Missing::Install,
            MissingDependencies::Refuse => plan::Missing::Refuse { policy: self.refusing_policy() },
        };
        let options = Options { missing, no_dependencies, ..Options::default() };
        let installed = installed::all(self.context)?.into_iter();
        let installed = installed.map(|(name, found)| (name, snapshot(&found, &self.view.records)));
        let snapshot = Snapshot { installed: installed.collect(), wishes, options };
        loop {
            let judge = plan::Policies::new(&self.policies, self.context.host(), self.context.now, &self.view.records);
            match plan::plan(&snapshot, &self.knowledge, &judge) {
                Step::Done(plan) => return Ok((snapshot, plan)),
                Step::Need(needs) => self.learn(&snapshot, needs).await,
            }
        }
    }

    /// What stands between a version and other plugins: what it needs of them and cannot get, and what
    /// those that are installed hold against it. What an install would bring in does not stand in the way.
    ///
    /// # Errors
    /// A root that cannot be read.
    pub(crate) async fn objections(&mut self, name: &PluginName, version: &Version) -> Result<Vec<Reason>, Failure> {
        let wishes = BTreeMap::from([(name.clone(), Wish::Exact(version.clone()))]);
        let (_, plan) = self.plan(wishes, false).await?;
        let of_plugins = |reason: &&Reason| matches!(reason.code, ReasonCode::Unfit | ReasonCode::DependencyDenied);
        Ok(match plan.outcomes.get(name) {
            Some(Outcome::Refused { judgement, .. }) => {
                judgement.reasons().iter().filter(of_plugins).cloned().collect()
            }
            // What cannot be checked of the version itself is told with its verdict.
            Some(Outcome::Stopped(stop)) if !matches!(&**stop, Stop::Unchecked { name: of, .. } if of == name) => {
                let message = printable(&stop.to_string()).into_owned();
                vec![Reason { code: ReasonCode::Unfit, policy: None, rule: None, message, until: None }]
            }
            _ => Vec::new(),
        })
    }

    fn refusing_policy(&self) -> String {
        self.policies.matching(&self.context.host()).join(", ")
    }

    async fn learn(&mut self, snapshot: &Snapshot, needs: Vec<Need>) {
        let this = &*self;
        let answers: Vec<(Need, Answer)> = stream::iter(needs)
            .map(|need| async move {
                let answer = this.answer(snapshot, &need).await;
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
                            Ok(select::read_tags::<&str>(&Component::Plugin(name.clone()), [], None))
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
                        let demands = Demands::read(&offer.contract.requirements.plugins).map_err(|e| e.to_string())?;
                        Ok(plan::Offer { findings: offer.findings.clone(), demands })
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

    async fn answer(&self, snapshot: &Snapshot, need: &Need) -> Answer {
        match need {
            Need::Tags(name) => {
                let typed = match snapshot.wishes.get(name) {
                    Some(Wish::Exact(version)) => Some(version.to_string()),
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
        let fetched = if kept.is_none() && !self.view.complete {
            let cluster = self.context.cluster().await?;
            let component = Component::Plugin(name.clone());
            view::record(&cluster.client, &component).await.map_err(|error| self.context.view_failure(&error))?
        } else {
            None
        };
        Catalog::open_for(self.context, kept.or(fetched.as_ref()), name, typed).await
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
        Ok(None) => Contract::Known(Demands::default()),
        Ok(Some(demands)) => Demands::read(&demands.plugins)
            .map_or_else(|error| Contract::Unreadable(error.to_string()), Contract::Known),
        Err(why) => Contract::Unreadable(why),
    };
    Installed { version: found.version(), contract }
}
