//! Transactions: changes of plugins that succeed or fail together.

use std::collections::{BTreeMap, BTreeSet};

use d8_agent::{Activation, ActiveVersion, InstallRequest, LockedStore, StagedVersion, Store, StoreChange, host_id};
use d8_crds::{
    decisions::plan::{ChangeReason, InstalledContract, Plan, PlannedChange, PreviousVersion, Snapshot},
    values::{
        digest::Digest,
        name::{Component, PluginName},
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    catalog::VersionDetails,
    context::Context,
    installed,
    planning::Planning,
    terminal::{
        failure::{Code, Failure},
        progress::Progress,
    },
};

/// Maximum number of parallel downloads of a transaction.
const MAX_DOWNLOADS: usize = 8;

/// The change of one plugin in a transaction.
pub(in crate::commands) struct Operation {
    pub(in crate::commands) name: PluginName,
    pub(in crate::commands) kind: OperationKind,
    pub(in crate::commands) change: PlannedChange,
    /// Where to download the version from. `None`: it is in the store.
    pub(in crate::commands) details: Option<VersionDetails>,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum OperationKind {
    /// Another version becomes active.
    Switch,
    /// The active version is damaged and is installed again.
    Repair,
    /// The active version is downloaded again because of `--force`.
    Reinstall,
}

/// Changes that succeed or fail together, dependencies first.
pub(in crate::commands) struct Transaction {
    pub(in crate::commands) operations: Vec<Operation>,
}

/// The result of applying a transaction.
pub(in crate::commands) enum Applied {
    /// All changes were made.
    Committed(Vec<Activation>),
    /// Another process changed one of the plugins since the plan was made. Nothing was changed.
    Conflict,
}

/// A transaction whose versions are in the store or staged, and whose plugins are locked. Dropped, it changes nothing.
pub(in crate::commands) struct StagedTransaction {
    locked: LockedStore,
    changes: Vec<StoreChange>,
}

/// Groups the changes of a plan into transactions. Two changes are in one transaction if the old or the new version of
/// one plugin has a requirement on the other.
///
/// # Errors
/// The details of a version are missing, which is a bug.
pub(in crate::commands) fn transactions(
    planning: &Planning<'_>,
    snapshot: &Snapshot,
    plan: &Plan,
) -> Result<Vec<Transaction>, Failure> {
    let components: Vec<&Component> = plan.changes.iter().map(|change| &change.component).collect();
    let mut group: Vec<usize> = (0..components.len()).collect();
    for (i, change) in plan.changes.iter().enumerate() {
        for related in related_components(planning, snapshot, change) {
            if let Some(j) = components.iter().position(|component| **component == related) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let mut transactions: BTreeMap<usize, Transaction> = BTreeMap::new();
    for (change, group) in plan.changes.iter().zip(group) {
        let Component::Plugin(name) = &change.component else { continue };
        let details = planning.details(&change.component, &change.to.version).cloned().ok_or_else(|| {
            Failure::new(Code::Failed, format!("internal error: no details of {name} {} were fetched", change.to.tag))
        })?;
        let transaction = transactions.entry(group).or_insert(Transaction { operations: Vec::new() });
        let (name, kind, details) = (name.clone(), OperationKind::Switch, Some(details));
        transaction.operations.push(Operation { name, kind, change: change.clone(), details });
    }
    Ok(transactions.into_values().collect())
}

/// Returns the components that the old or the new version of a change has a requirement on, and those that need the
/// change.
fn related_components(planning: &Planning<'_>, snapshot: &Snapshot, change: &PlannedChange) -> BTreeSet<Component> {
    let details = planning.details(&change.component, &change.to.version);
    let new = details.into_iter().flat_map(|details| {
        let plugins = &details.contract.requirements.plugins;
        plugins.mandatory.iter().chain(&plugins.conditional).filter_map(|required| required.name.parse().ok())
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
    /// Makes all changes or none.
    ///
    /// # Errors
    /// An error of the store or of the proxy. Nothing was changed.
    pub(in crate::commands) async fn apply(&self, context: &Context, progress: &Progress) -> Result<Applied, Failure> {
        match self.stage(context, progress).await? {
            Some(staged) => staged.commit(context, progress).await.map(Applied::Committed),
            None => Ok(Applied::Conflict),
        }
    }

    /// Locks the plugins, compares the active versions with the plan, and stages the versions that are not in the store.
    /// `None`: another process changed one of the plugins since the plan was made.
    ///
    /// # Errors
    /// An error of the store or of the proxy.
    pub(in crate::commands) async fn stage(
        &self,
        context: &Context,
        progress: &Progress,
    ) -> Result<Option<StagedTransaction>, Failure> {
        let store = self.store(context)?;
        let names: BTreeSet<PluginName> = self.operations.iter().map(|operation| operation.name.clone()).collect();
        let names: Vec<PluginName> = names.into_iter().collect();
        let locked = store.lock(&names, context.global.lock_timeout, progress).await?;
        for operation in &self.operations {
            if !operation.is_up_to_date(&locked)? {
                return Ok(None);
            }
        }
        let changes: Vec<StoreChange> = stream::iter(&self.operations)
            .map(async |operation| {
                let prepared = operation.prepare(context, &locked, progress).await;
                prepared.map_err(|failure| failure.about(&operation.name))
            })
            .buffered(MAX_DOWNLOADS)
            .try_collect()
            .await?;
        Ok(Some(StagedTransaction { locked, changes }))
    }

    /// Returns the store that all operations change.
    fn store(&self, context: &Context) -> Result<Store, Failure> {
        let Some((first, others)) = self.operations.split_first() else { return Ok(context.roots().for_writing()?) };
        let (name, store) = (&first.name, store_for(context, &first.name)?);
        for Operation { name: other, .. } in others {
            let other_store = store_for(context, other)?;
            if other_store.root() != store.root() {
                let headline = format!("{name} and {other} must change together, but they are in two roots");
                return Err(Failure::new(Code::Failed, headline)
                    .because(format!("{} and {}", store.root().display(), other_store.root().display()))
                    .advise(
                        "d8 changes one root at a time",
                        format!("run `d8 plugins remove {other}`, then run the command again"),
                    ));
            }
        }
        Ok(store)
    }
}

impl StagedTransaction {
    /// Makes all changes or none.
    ///
    /// # Errors
    /// An error of the store. Nothing was changed.
    pub(in crate::commands) async fn commit(
        mut self,
        context: &Context,
        progress: &Progress,
    ) -> Result<Vec<Activation>, Failure> {
        let activations = self.locked.switch(self.changes, context.now, progress).await?;
        if let Err(error) = host_id::read_or_create(self.locked.store().root()) {
            tracing::warn!(%error, "failed to store the host ID, which decides the place in waves");
        }
        Ok(activations)
    }

    /// Moves the staged versions into the store and switches to none of them: a later change needs no download.
    ///
    /// # Errors
    /// An error of the store.
    pub(in crate::commands) fn keep(self) -> Result<(), Failure> {
        for change in self.changes {
            if let StoreChange::Install(staged) = change {
                self.locked.keep(&staged)?;
            }
        }
        Ok(())
    }
}

/// Returns the store to change a plugin in: the one it is installed in, else the first writable one.
///
/// # Errors
/// No root is writable, or a connection is not verified and other users share the root.
pub(in crate::commands) fn store_for(context: &Context, name: &PluginName) -> Result<Store, Failure> {
    let store = match installed::find(context, name)? {
        Some(plugin) => plugin.store,
        None => context.roots().for_writing()?,
    };
    context.check_verified_for(store.root())?;
    Ok(store)
}

impl Operation {
    /// Returns the digest of the layer to install, if it is known.
    pub(in crate::commands) fn layer(&self) -> Option<&Digest> {
        self.details.as_ref()?.layer.as_ref()
    }

    /// Returns whether the change needs no download.
    pub(in crate::commands) fn is_stored(&self, store: &Store) -> bool {
        store.has(&self.name, &self.change.to.tag, self.layer())
    }

    /// Returns whether the active version is still the one that the change was planned for.
    fn is_up_to_date(&self, locked: &LockedStore) -> Result<bool, Failure> {
        let entry = locked.store().get(&self.name)?;
        Ok(match (entry.map(|entry| entry.active), &self.change.from) {
            (Some(ActiveVersion::Known(installed)), PreviousVersion::Version(version)) => installed.version == *version,
            (Some(ActiveVersion::Known(_)), _) => false,
            (Some(ActiveVersion::Unknown { .. } | ActiveVersion::Broken { .. }), from) => {
                *from != PreviousVersion::Nothing
            }
            (None, from) => *from == PreviousVersion::Nothing || locked.has_displaced(&self.name),
        })
    }

    /// Stages the version, unless it is in the store.
    async fn prepare(
        &self,
        context: &Context,
        locked: &LockedStore,
        progress: &Progress,
    ) -> Result<StoreChange, Failure> {
        let (name, tag) = (&self.name, &self.change.to.tag);
        match &self.details {
            Some(details) if self.kind != OperationKind::Switch || !self.is_stored(locked.store()) => {
                Ok(StoreChange::Install(self.stage(context, details, locked, progress).await?))
            }
            _ => Ok(StoreChange::Relink { name: name.clone(), tag: tag.clone() }),
        }
    }

    async fn stage(
        &self,
        context: &Context,
        details: &VersionDetails,
        locked: &LockedStore,
        progress: &Progress,
    ) -> Result<StagedVersion, Failure> {
        let name = &self.name;
        let proxy = context.proxy().await?;
        let order = InstallRequest {
            name: name.clone(),
            tag: details.tag.clone(),
            platform: context.platform.clone(),
            contract: details.contract.clone(),
            expect_layer: details.layer.clone(),
            manifest: details.manifest.clone(),
            accept: None,
            force: self.kind != OperationKind::Switch,
            source: proxy.host(),
            skipped_cluster_checks: context.skips_cluster_checks()
                && details.contract.requirements.need_cluster_facts(),
            now: context.now,
        };
        let source = details.source(proxy);
        let subject = format!("{name} {}", details.tag);
        let staged = locked.stage(order, &source, progress).await;
        staged.map_err(|error| Failure::from(error).under(&subject, || format!("failed to install {subject}")))
    }
}
