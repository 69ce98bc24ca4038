//! Carries a plan out: what belongs together is locked, looked at again, staged and switched as one.

use std::collections::{BTreeMap, BTreeSet};

use d8_agent::{Activation, ActiveVersion, InstallRequest, LockedStore, StagedVersion, Store, StoreChange, host_id};
use d8_crds::{
    decisions::plan::{ChangeReason, InstalledContract, Plan, PlannedChange, PreviousVersion, Snapshot},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    catalog::Offer,
    context::Context,
    installed,
    planning::Planning,
    terminal::{
        failure::{Code, Failure},
        progress::Progress,
    },
};

/// How many downloads of one transaction run at once.
const PARALLEL: usize = 8;

/// The store that a change of this plugin goes to: where it is installed, else where it can be.
///
/// # Errors
/// A root that cannot be written to; insecure flags for a root that others share.
fn store_for(context: &Context, name: &PluginName) -> Result<Store, Failure> {
    let roots = context.roots();
    let store = match installed::find(context, name)? {
        Some(found) if !roots.is_explicit() => found.store,
        _ => roots.for_writing()?,
    };
    let insecure = context.global.rpp_insecure_skip_tls_verify || context.global.insecure_skip_tls_verify;
    let own = roots.home().is_some_and(|home| home == store.root());
    if insecure && !own {
        return Err(Failure::new(Code::Usage, format!("certificates must be verified for {}", store.root().display()))
            .advise("others run what is installed there", "leave the insecure flag out; see --rpp-ca-file"));
    }
    Ok(store)
}

/// One plugin's part of a transaction.
pub(crate) struct Part {
    pub(crate) name: PluginName,
    pub(crate) change: PlannedChange,
    pub(crate) offer: Offer,
    /// Bring it again although it is on disk.
    pub(crate) force: bool,
}

/// Changes that stand or fall together, dependency first.
pub(crate) struct Transaction {
    pub(crate) parts: Vec<Part>,
}

/// What a transaction came to.
pub(crate) enum Applied {
    /// It was made.
    Done(Vec<Activation>),
    /// Another process changed one of the plugins meanwhile: it must be planned again.
    Overtaken,
}

/// Cuts a plan into transactions: two changes belong together if one version says something of the
/// other plugin, be it the version that is left or the one that is brought in.
///
/// # Errors
/// A change that nothing was offered for.
pub(crate) fn transactions(
    planning: &Planning<'_>,
    snapshot: &Snapshot,
    plan: &Plan,
) -> Result<Vec<Transaction>, Failure> {
    let names: Vec<&Component> = plan.changes.iter().map(|change| &change.component).collect();
    let mut group: Vec<usize> = (0..names.len()).collect();
    for (i, change) in plan.changes.iter().enumerate() {
        for other in speaks_of(planning, snapshot, change) {
            if let Some(j) = names.iter().position(|name| **name == other) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let mut transactions: BTreeMap<usize, Transaction> = BTreeMap::new();
    for (change, group) in plan.changes.iter().zip(group) {
        let Component::Plugin(name) = &change.component else { continue };
        let offer = planning.offer(&change.component, &change.to.version).cloned().ok_or_else(|| {
            Failure::new(Code::Failed, format!("{name} {} was planned without an offer", change.to.tag))
        })?;
        let transaction = transactions.entry(group).or_insert(Transaction { parts: Vec::new() });
        transaction.parts.push(Part { name: name.clone(), change: change.clone(), offer, force: false });
    }
    Ok(transactions.into_values().collect())
}

fn speaks_of(planning: &Planning<'_>, snapshot: &Snapshot, change: &PlannedChange) -> BTreeSet<Component> {
    let offered = planning.offer(&change.component, &change.to.version);
    let new = offered.into_iter().flat_map(|offer| {
        let plugins = &offer.contract.requirements.plugins;
        plugins.mandatory.iter().chain(&plugins.conditional).filter_map(|demand| demand.name.parse().ok())
    });
    let old = snapshot.installed.get(&change.component).into_iter().flat_map(|installed| match &installed.contract {
        InstalledContract::Known(dependencies) => dependencies.all().iter().map(|on| on.component.clone()).collect(),
        InstalledContract::Unreadable(_) => Vec::new(),
    });
    let chain = match &change.why {
        ChangeReason::Dependency { chain } => chain.clone(),
        ChangeReason::Requested => Vec::new(),
    };
    new.chain(old).chain(chain).collect()
}

impl Transaction {
    /// Makes the changes, all or none. Looks again once it holds the locks: if what is active is not
    /// what was planned for, nothing is changed.
    ///
    /// # Errors
    /// The store's and the proxy's; nothing is changed then.
    pub(crate) async fn apply(&self, context: &Context, progress: &Progress) -> Result<Applied, Failure> {
        let Some(store) = self.store(context)? else { return Ok(Applied::Done(Vec::new())) };
        let names: BTreeSet<PluginName> = self.parts.iter().map(|part| part.name.clone()).collect();
        let names: Vec<PluginName> = names.into_iter().collect();
        let mut locked = store.lock(&names, context.global.lock_timeout, progress).await?;
        for part in &self.parts {
            if !as_planned(&store, part)? {
                return Ok(Applied::Overtaken);
            }
        }
        let holding = &locked;
        let switches: Vec<StoreChange> = stream::iter(&self.parts)
            .map(|part| async move { part.prepare(context, holding, progress).await })
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let outcomes = locked.switch(switches, context.now, progress).await?;
        if let Err(error) = host_id::keep(store.root()) {
            tracing::warn!(%error, "the machine's place in waves could not be kept");
        }
        Ok(Applied::Done(outcomes))
    }

    /// The one store all of it is in.
    fn store(&self, context: &Context) -> Result<Option<Store>, Failure> {
        let Some((first, others)) = self.parts.split_first() else { return Ok(None) };
        let (name, store) = (&first.name, store_for(context, &first.name)?);
        for part in others {
            let other = &part.name;
            let elsewhere = store_for(context, other)?;
            if elsewhere.root() != store.root() {
                let what = format!("{name} and {other} must change together and are in two roots");
                return Err(Failure::new(Code::Failed, what)
                    .because(format!("{} and {}", store.root().display(), elsewhere.root().display()))
                    .advise(
                        "a change is made in one root",
                        format!("d8 plugins remove {other}, then the command again"),
                    ));
            }
        }
        Ok(Some(store))
    }
}

impl Part {
    async fn prepare(
        &self,
        context: &Context,
        locked: &LockedStore,
        progress: &Progress,
    ) -> Result<StoreChange, Failure> {
        let (name, tag) = (&self.name, &self.offer.tag);
        let stored = locked.store().get(name)?.is_some_and(|entry| entry.version(tag).is_some());
        if stored && !self.force {
            return Ok(StoreChange::Relink { name: name.clone(), tag: tag.clone() });
        }
        Ok(StoreChange::Install(stage(context, locked, name, &self.offer, self.force, progress).await?))
    }
}

/// Whether what is active is what the change was planned for.
fn as_planned(store: &Store, part: &Part) -> Result<bool, Failure> {
    let entry = store.get(&part.name)?;
    Ok(match (entry.map(|entry| entry.active), &part.change.from) {
        (Some(ActiveVersion::Known(installed)), PreviousVersion::Version(version)) => installed.version == *version,
        (Some(ActiveVersion::Known(_)), _) => false,
        (Some(ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. }), from) => *from != PreviousVersion::Nothing,
        (None, from) => *from == PreviousVersion::Nothing,
    })
}

async fn stage(
    context: &Context,
    locked: &LockedStore,
    name: &PluginName,
    offer: &Offer,
    force: bool,
    progress: &Progress,
) -> Result<StagedVersion, Failure> {
    let proxy = context.proxy().await?;
    let order = InstallRequest {
        name: name.clone(),
        tag: offer.tag.clone(),
        platform: context.platform.clone(),
        contract: offer.contract.clone(),
        expect_layer: offer.layer.clone(),
        manifest: offer.manifest.clone(),
        accept: None,
        force,
        source: proxy.host(),
        skipped_cluster_checks: context.skips_cluster_checks() && offer.contract.requirements.need_cluster_facts(),
        now: context.now,
    };
    let source = offer.source(proxy);
    let subject = format!("{name} {}", offer.tag);
    locked
        .stage(order, &source, progress)
        .await
        .map_err(|error| Failure::from(error).about(&subject, || format!("{subject} was not installed")))
}

/// How a change is told, one line.
pub(crate) fn told(outcome: &Activation, why: &ChangeReason) -> String {
    let Activation { name, tag, previous, changed } = outcome;
    let line = match (changed, previous) {
        (false, _) => format!("{name} {tag} is active already"),
        (true, None) => format!("Installed {name} {tag}"),
        (true, Some(previous)) if previous == tag => format!("Installed {name} {tag} again"),
        (true, Some(previous)) => format!("Switched {name} from {previous} to {tag}"),
    };
    line + &needed_by(why) + "."
}

/// ` (needed by a)`, or the whole chain where it takes more than one step.
pub(crate) fn needed_by(why: &ChangeReason) -> String {
    match why {
        ChangeReason::Dependency { chain } if chain.len() > 2 => {
            let chain: Vec<&str> = chain.iter().map(Component::name).collect();
            format!(" (needed by: {})", chain.join(" -> "))
        }
        ChangeReason::Dependency { chain } => chain.first().map(|by| format!(" (needed by {by})")).unwrap_or_default(),
        ChangeReason::Requested => String::new(),
    }
}

/// The tag of a version, as people know it.
pub(crate) fn tag_of(context: &Context, name: &PluginName, version: &Version) -> String {
    let tag = || Some(installed::find(context, name).ok()??.entry.installed()?.tag.to_string());
    tag().unwrap_or_else(|| version.to_string())
}
