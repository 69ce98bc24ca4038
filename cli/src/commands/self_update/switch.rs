//! Switches d8 to a version that was chosen: brings it into the store, tests it, activates it, and links the command
//! on the PATH.

use std::path::PathBuf;

use d8_agent::{
    Artifact, ProxySource, StoreError,
    d8_store::{
        D8InstallRequest, D8Store, D8Version, LockedD8Store, PackageDatabases, PathEntry, PathMigration, TestedVersion,
        Trial,
    },
};
use d8_crds::{
    decisions::{
        intent::Intent,
        selection::PublishedVersion,
        verdict::{ReasonCode, Verdict},
    },
    values::{
        name::{Component, Tag},
        version::Version,
    },
};

use super::{
    capabilities::POLICY,
    choice::{CachedPolicySets, D8Candidate, D8Planning},
};
use crate::{
    context::Context,
    running_d8::{CurrentVersion, RunningD8, newest_without_stamp},
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
    version::PRODUCT,
};

/// Where the bytes of a version come from.
pub(in crate::commands) enum BinarySource<'a> {
    Store(Box<D8Version>),
    /// The executable of this process: it has the version, and the store does not.
    Running,
    /// The proxy, unless the version is in the store by now.
    Proxy(&'a D8Planning<'a>, PublishedVersion),
}

/// The policies that bind a switch.
pub(in crate::commands) enum PolicySource<'a> {
    /// Those that were read from the cluster.
    Cluster(&'a D8Planning<'a>),
    /// Those that are cached on this machine.
    Cached(&'a CachedPolicySets<'a>),
}

/// A switch to a chosen version.
pub(in crate::commands) struct Switch<'a> {
    pub(in crate::commands) d8: &'a RunningD8,
    pub(in crate::commands) path_entry: PathEntry,
    pub(in crate::commands) current: CurrentVersion,
    pub(in crate::commands) tag: Tag,
    pub(in crate::commands) version: Version,
    pub(in crate::commands) intent: Intent,
    pub(in crate::commands) source: BinarySource<'a>,
    pub(in crate::commands) policies: PolicySource<'a>,
    /// Accept a version that does not support policies.
    pub(in crate::commands) allow_ungoverned: bool,
}

/// What a switch changed.
pub(in crate::commands) struct SwitchReport {
    tag: Tag,
    intent: Intent,
    downloaded: bool,
    /// The version before and its executable, if it is in the store.
    previous: Option<(Tag, PathBuf)>,
    /// The version does not support policies. It may lack the commands that switch back.
    policy_unaware: bool,
    /// `current` of the store.
    store_link: PathBuf,
    /// The command on the PATH, if it is a link to another version and was not changed.
    diverging_link: Option<PathBuf>,
    /// The command on the PATH, if it became a link.
    linked: Option<PathBuf>,
    /// Where the file that the link replaced was kept.
    backup: Option<PathBuf>,
}

/// The result of a switch.
pub(in crate::commands) enum SwitchOutcome {
    Switched(SwitchReport),
    /// The version does not support policies. It was kept in the store.
    PolicyUnaware(Verdict),
}

/// A switch whose version was tested and whose store is locked. Dropped, it changes nothing.
pub(in crate::commands) struct StagedSwitch<'a> {
    switch: Switch<'a>,
    locked: LockedD8Store,
    tested: TestedVersion,
    downloaded: bool,
    progress: Progress,
}

impl<'a> Switch<'a> {
    /// Makes the switch, unless the version turns out not to support policies that select this host.
    ///
    /// # Errors
    /// The version cannot be downloaded or does not start, or a connection is not verified and other users share the
    /// store. Nothing was changed.
    pub(super) async fn run(self, context: &Context) -> Result<SwitchOutcome, Failure> {
        self.stage(context).await?.commit(context, None)
    }

    /// Locks the store, stages the version unless it is in the store, and tests it.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(in crate::commands) async fn stage(self, context: &Context) -> Result<StagedSwitch<'a>, Failure> {
        let progress = Progress::new(context.printer);
        let store = self.d8.store()?;
        if let (BinarySource::Proxy(..), Some(root)) = (&self.source, store.dir().parent()) {
            context.check_verified_for(root)?;
        }
        let locked = store.lock(context.global.lock_timeout, &progress).await;
        let locked = locked.map_err(|error| self.d8.store_failure(error))?;
        let (tested, downloaded) = self.obtain(context, store, &locked, &progress).await?;
        Ok(StagedSwitch { switch: self, locked, tested, downloaded, progress })
    }
}

impl StagedSwitch<'_> {
    /// Makes the switch, unless the version turns out not to support policies that select this host. With a trial, a d8
    /// that does not prove itself is replaced by the one before.
    ///
    /// # Errors
    /// Errors of the disk. Nothing was changed.
    pub(in crate::commands) fn commit(
        self,
        context: &Context,
        trial: Option<&Trial>,
    ) -> Result<SwitchOutcome, Failure> {
        let Self { switch, mut locked, tested, downloaded, progress } = self;
        let (d8, store) = (switch.d8, switch.d8.store()?);
        if let Some(verdict) = switch.policy_unaware(&tested) {
            switch.keep(context, store, &mut locked, tested);
            return Ok(SwitchOutcome::PolicyUnaware(verdict));
        }
        if tested.reports_other_version() {
            output::warn(format!("{} reports another version: {}", switch.tag, tested.version_output.trim()));
        }
        let policy_unaware = !supports_policies(&tested);
        let seed = d8.release.as_ref().map(|(tag, _)| tag.clone());
        let migration = PathMigration::of(&switch.path_entry_under_lock(context, store)?, seed);
        // Whoever switches ends the trial of another version.
        match trial {
            Some(trial) => locked.begin_trial(trial),
            None => store.end_trial().map(drop),
        }
        .map_err(|error| d8.store_failure(error))?;
        let activated = locked.activate(tested, migration.as_ref(), d8.image(), context.now, &progress);
        let activated = activated.map_err(|error| {
            // A trial of a version that is not active is none.
            let _ = store.end_trial();
            d8.store_failure(error)
        })?;
        switch.keep_fallback(store, &mut locked);
        drop(locked);
        Ok(SwitchOutcome::Switched(SwitchReport {
            // The switch is made: what cannot be read now is only not shown.
            previous: switch.previous(store).unwrap_or_default(),
            policy_unaware,
            diverging_link: switch.diverging_link(store),
            store_link: store.current(),
            tag: activated.tag,
            intent: switch.intent,
            downloaded,
            linked: activated.linked,
            backup: activated.backup,
        }))
    }

    /// Moves the version into the store and leaves the active one as it is: a later switch needs no download.
    ///
    /// # Errors
    /// Errors of the disk.
    pub(in crate::commands) fn keep(self) -> Result<(), Failure> {
        let Self { switch, mut locked, tested, .. } = self;
        locked.keep(tested).map_err(|error| switch.d8.store_failure(error))
    }
}

impl Switch<'_> {
    /// Keeps a version that does not support policies in the store: the next command knows it, and it can be the fallback.
    fn keep(&self, context: &Context, store: &D8Store, locked: &mut LockedD8Store, tested: TestedVersion) {
        if let BinarySource::Store(_) = &self.source {
            return;
        }
        if let Err(error) = locked.keep(tested) {
            output::warn(format!("{PRODUCT} {} was not kept in the store: {error}", self.tag));
            return;
        }
        let use_it = match self.keep_fallback(store, locked) {
            Some(fallback) => format!("; unknown commands are forwarded to {}", fallback.display()),
            None => String::new(),
        };
        context
            .printer
            .note(format!("{PRODUCT} {} does not support policies; it was kept in the store{use_it}", self.tag));
    }

    /// Returns the version after its smoke test, and whether it was downloaded. Another command may have brought it
    /// into the store while this one waited for the lock.
    async fn obtain(
        &self,
        context: &Context,
        store: &D8Store,
        locked: &LockedD8Store,
        progress: &Progress,
    ) -> Result<(TestedVersion, bool), Failure> {
        let store_failure = |error| self.d8.store_failure(error);
        if let BinarySource::Store(stored) = &self.source {
            return Ok((locked.test(stored, progress).await.map_err(store_failure)?, false));
        }
        if let Some(stored) = store.find(&self.version)? {
            match locked.test(&stored, progress).await {
                Ok(tested) => return Ok((tested, false)),
                Err(error @ StoreError::NotStored { .. }) => output::warn(error),
                // Without a receipt the file may be damaged, so it is downloaded again.
                Err(error @ StoreError::Smoke { .. }) if stored.receipt.is_none() => output::warn(error),
                Err(error) => return Err(store_failure(error)),
            }
        }
        let BinarySource::Proxy(planning, published) = &self.source else {
            let running = locked.stage_copy(self.d8.image(), &self.tag, context.now, progress);
            return Ok((running.await.map_err(store_failure)?, false));
        };
        Ok((self.download(context, planning, published, locked, progress).await?, true))
    }

    async fn download(
        &self,
        context: &Context,
        planning: &D8Planning<'_>,
        published: &PublishedVersion,
        locked: &LockedD8Store,
        progress: &Progress,
    ) -> Result<TestedVersion, Failure> {
        context.printer.note(format!("Updating {PRODUCT} to {}...", self.tag));
        let details = planning.details(&published.version)?;
        let proxy = context.proxy().await?;
        let artifact = Artifact {
            component: Component::D8,
            tag: details.tag.clone(),
            platform: context.platform.clone(),
            expect_layer: details.layer.clone(),
        };
        let (host, now) = (proxy.host(), context.now);
        let order = D8InstallRequest { artifact, manifest: details.manifest.clone(), accept: None, source: host, now };
        let source = ProxySource::Remote { proxy: proxy.clone(), tag: published.registry_tag.clone() };
        let subject = format!("{PRODUCT} {}", self.tag);
        let staged = locked.stage(order, &source, progress).await;
        staged.map_err(|error| Failure::from(error).under(&subject, || format!("failed to install {subject}")))
    }

    /// Returns why a version that does not support policies is refused. Warns if it is not.
    fn policy_unaware(&self, tested: &TestedVersion) -> Option<Verdict> {
        if supports_policies(tested) {
            return None;
        }
        let candidate = D8Candidate {
            version: &self.version,
            intent: self.intent,
            current: &self.current,
            active_digests: &[],
            // Its digests were evaluated when it was chosen.
            stored: Some(&[]),
            policy_unaware: Some(self.allow_ungoverned),
        };
        let verdicts: Vec<Verdict> = match &self.policies {
            PolicySource::Cluster(planning) => vec![planning.evaluate(&candidate)],
            PolicySource::Cached(cached) => cached.verdicts(&candidate),
        };
        let is_unaware = |verdict: &&Verdict| verdict.reasons().iter().any(|r| r.code() == ReasonCode::PolicyUnaware);
        let refused = verdicts.iter().find(is_unaware).cloned();
        if refused.is_none() {
            output::warn(format!("{PRODUCT} {} does not support policies, so no policy binds it", self.tag));
        }
        refused
    }

    /// Returns the command on the PATH, checked again under the lock. Another update may have made it a link to the
    /// store.
    ///
    /// # Errors
    /// Another program replaced it.
    fn path_entry_under_lock(&self, context: &Context, store: &D8Store) -> Result<PathEntry, Failure> {
        let PathEntry::Plain { path, .. } = &self.path_entry else { return Ok(self.path_entry.clone()) };
        if self.d8.is_at(path) {
            return Ok(self.path_entry.clone());
        }
        let dir = store.dir().canonicalize().ok();
        match PathEntry::of(path, context.home(), &PackageDatabases::default()) {
            linked @ PathEntry::Linked { .. } if linked.store() == dir.as_deref() => Ok(linked),
            _ => Err(Failure::new(Code::Failed, format!("{} was replaced by another program", path.display()))
                .because("nothing was changed")
                .advise("a different d8 was installed there during this command", "run the command again")),
        }
    }

    /// Sets the newest Go d8 in the store as the fallback, unless a fallback is set. Returns a fallback that it set.
    fn keep_fallback(&self, store: &D8Store, locked: &mut LockedD8Store) -> Option<PathBuf> {
        if store.fallback_path().is_some_and(|path| path.exists()) {
            return None;
        }
        let go_d8 = newest_without_stamp(&store.versions().ok()?, &self.d8.executable)?;
        match locked.set_fallback(&go_d8) {
            Ok(()) => Some(go_d8),
            Err(error) => {
                tracing::warn!(%error, "failed to set the fallback");
                None
            }
        }
    }

    /// Returns the version before the switch, if it is another one and in the store.
    fn previous(&self, store: &D8Store) -> Result<Option<(Tag, PathBuf)>, Failure> {
        match &self.current {
            CurrentVersion::Release(_, version) if *version != self.version => {
                Ok(store.find(version)?.map(|stored| (stored.tag, stored.binary)))
            }
            _ => Ok(None),
        }
    }

    /// Returns the command on the PATH if it is a link to one version, so that it did not follow the switch.
    fn diverging_link(&self, store: &D8Store) -> Option<PathBuf> {
        let path = self.path_entry.path();
        let diverges = path.is_symlink() && path.canonicalize().ok() != store.current().canonicalize().ok();
        diverges.then(|| path.to_owned())
    }
}

fn supports_policies(tested: &TestedVersion) -> bool {
    tested.capabilities.iter().any(|capability| capability == POLICY)
}

impl SwitchReport {
    /// Prints what was changed, and how to switch back.
    pub(super) fn print(&self, context: &Context, d8: &RunningD8) {
        let Self { tag, store_link, .. } = self;
        let store_link = store_link.display();
        output::print(match (self.intent, self.downloaded) {
            (_, false) => format!("Switched {PRODUCT} to {tag} (installed locally)."),
            (Intent::Update, true) => format!("{PRODUCT} updated to {tag}."),
            (_, true) => format!("Switched {PRODUCT} to {tag}."),
        });
        let note = |text: String| context.printer.note(text);
        if let Some((previous, binary)) = &self.previous {
            let d8 = if self.policy_unaware { binary.display().to_string() } else { "d8".to_owned() };
            note(format!(
                "Previous version {previous} remains installed - switch back with '{d8} cli use {previous}'."
            ));
        }
        if let Some(path) = &self.diverging_link {
            let path = path.display();
            output::warn(format!(
                "{path} is a link to another version and was not changed; to use {tag}: ln -sfn {store_link} {path}"
            ));
        }
        if let Some(linked) = &self.linked {
            note(format!("{} is now a link to {store_link}.", linked.display()));
        }
        match (&self.backup, &d8.release) {
            (Some(backup), Some(_)) => note(format!("The replaced file was kept as {}.", backup.display())),
            (Some(backup), None) => note(format!(
                "The replaced file was kept as {}. It is the only copy, because development builds are not stored.",
                backup.display()
            )),
            (None, _) => {}
        }
    }
}
