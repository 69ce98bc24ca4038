//! `d8 cli update` and `d8 cli use`: from one version of d8 to another.

use d8_agent::{
    Artifact, ProxySource, StoreError,
    d8_store::{
        D8InstallRequest, D8Store, D8Version, LockedD8Store, PackageDatabases, PathEntry, PathMigration, TestedVersion,
    },
};
use d8_crds::{
    decisions::{
        intent::Intent,
        plan::{Outcome, PassedOver, Request},
        selection::PublishedVersion,
        verdict::{ReasonCode, Verdict},
    },
    values::{
        name::{Component, Tag},
        version::Version,
    },
};

use crate::{
    args,
    catalog::lookup_failure,
    commands::self_update::{
        capabilities::POLICY,
        select::{D8Planning, Question, judge_kept, nothing_published},
    },
    context::Context,
    running_d8::{Current, Own, newest_other, refused},
    terminal::{
        failure::{Code, Failure},
        output,
        progress::Progress,
    },
    version::PRODUCT,
};

/// Where the bytes of a switch come from.
enum From<'a> {
    /// They are in the store.
    Store(D8Version),
    /// They are those of the running program.
    Running,
    /// They are published; what the store has already is not fetched.
    Proxy(&'a D8Planning<'a>, PublishedVersion),
}

/// A switch that is decided but for what the candidate says of itself.
struct Switch<'a> {
    own: &'a Own,
    entry: PathEntry,
    current: Current,
    tag: Tag,
    version: Version,
    intent: Intent,
    from: From<'a>,
    allow_ungoverned: bool,
}

pub(crate) async fn update(context: &Context, args: &args::SelfUpdateArgs) -> Result<(), Failure> {
    let named = args.version.as_deref().map(read_version).transpose()?;
    let own = Own::find(context)?;
    let entry = own.changeable(context)?;
    let current = own.current()?;
    let mut planning = D8Planning::fetch(context, &own, &current, named.as_ref()).await?;
    let chosen = match &named {
        Some(version) if current.is(version) => None,
        Some(version) => Some((choose_named(&mut planning, version).await?, Intent::Explicit)),
        None => choose_newest(context, &mut planning, &current).await?.map(|chosen| (chosen, Intent::Update)),
    };
    let Some((published, intent)) = chosen else {
        already(&current);
        return Ok(());
    };
    if args.dry_run {
        output::print(format!("Would switch {PRODUCT} from {} to {}.", current, published.tag));
        return Ok(());
    }
    let (tag, version, from) = (published.tag.clone(), published.version.clone(), From::Proxy(&planning, published));
    let allow_ungoverned = args.allow_ungoverned;
    let switch = Switch { own: &own, entry, current, tag, version, intent, from, allow_ungoverned };
    switch.carry_out(context, Some(&planning)).await
}

/// Chooses the newest version that may be installed. None: the current one stays.
async fn choose_newest(
    context: &Context,
    planning: &mut D8Planning<'_>,
    current: &Current,
) -> Result<Option<PublishedVersion>, Failure> {
    let outcome = planning.choose(Request::NewestOfAll).await?;
    for (published, verdict) in outcome.passed_over() {
        for reason in verdict.reasons() {
            context.printer.note(format!("passed over {PRODUCT} {}: {}", published.tag, reason.message));
        }
    }
    match outcome {
        Outcome::Take { version, .. } => Ok(Some(version)),
        _ if planning.list().published.is_empty() => Err(nothing_published()),
        Outcome::Keep { passed_over, .. } if *current == Current::Development && !passed_over.is_empty() => {
            Err(none_eligible(&passed_over))
        }
        _ => {
            if let Some(leave) = planning.must_leave() {
                output::warn(format!("{PRODUCT} {current} may not stay: {}", leave.message));
                output::warn("there is no version to leave it for. See: d8 cli check");
            }
            Ok(None)
        }
    }
}

/// Chooses a version that a person named.
///
/// # Errors
/// It is not published, or may not be installed.
async fn choose_named(planning: &mut D8Planning<'_>, version: &Version) -> Result<PublishedVersion, Failure> {
    match planning.choose(Request::Exact(version.clone())).await? {
        Outcome::Take { version, .. } | Outcome::AlreadyActive { version, .. } => Ok(version),
        Outcome::Refused { version, verdict } => Err(may_not(&version.tag, &verdict)),
        Outcome::NotPublished(error) => Err(lookup_failure(&Component::D8, &error)),
        _ => Err(nothing_published()),
    }
}

pub(crate) async fn use_version(context: &Context, args: &args::SelfUseArgs) -> Result<(), Failure> {
    let version = read_version(&args.version)?;
    let own = Own::find(context)?;
    let current = own.current()?;
    let entry = own.changeable(context)?;
    let linked = matches!(entry, PathEntry::Linked { .. });
    // Where `current` is gone or names nothing, it is made anew.
    if linked && own.active()?.is_some_and(|active| active.version == version) {
        already(&current);
        return Ok(());
    }
    let running = own.running.as_ref().filter(|(_, running)| *running == version);
    let from = match own.store()?.find(&version)? {
        Some(stored) => From::Store(stored),
        None if running.is_some() => From::Running,
        None => {
            let mut planning = D8Planning::fetch(context, &own, &current, Some(&version)).await?;
            let published = choose_named(&mut planning, &version).await?;
            let (tag, from) = (published.tag.clone(), From::Proxy(&planning, published));
            let (intent, allow_ungoverned) = (Intent::Explicit, args.allow_ungoverned);
            let switch = Switch { own: &own, entry, current, tag, version, intent, from, allow_ungoverned };
            return switch.carry_out(context, Some(&planning)).await;
        }
    };
    let (tag, digests) = match (&from, running) {
        (From::Store(stored), _) => (stored.tag.clone(), stored.digests()),
        (_, Some((tag, _))) => (tag.clone(), Vec::new()),
        (_, None) => {
            already(&current);
            return Ok(());
        }
    };
    let active_digests = own.active_digests()?;
    let question = Question {
        version: &version,
        intent: Intent::Explicit,
        current: &current,
        active_digests: &active_digests,
        stored: Some(&digests),
        unaware: None,
    };
    for (kept, judgement) in judge_kept(context, &question)? {
        if !judgement.is_eligible() && !current.is(&version) {
            return Err(may_not(&tag, &judgement).advise(
                format!("this is what {} said when it was last read, at {:.0}", kept.server, kept.confirmed),
                format!("if that has changed since: d8 cli update --version {tag}"),
            ));
        }
    }
    let (intent, allow_ungoverned) = (Intent::Explicit, args.allow_ungoverned);
    Switch { own: &own, entry, current, tag, version, intent, from, allow_ungoverned }.carry_out(context, None).await
}

fn read_version(typed: &str) -> Result<Version, Failure> {
    Version::parse(typed).map_err(|error| {
        lookup_failure(&Component::D8, &d8_crds::decisions::selection::LookupError::NotAVersion(error))
    })
}

fn already(current: &Current) {
    output::print(format!("{PRODUCT} is already at {current}."));
}

fn may_not(tag: &Tag, judgement: &Verdict) -> Failure {
    let failure = Failure::new(judgement.class().into(), format!("{PRODUCT} {tag} may not be used here"));
    judgement
        .reasons()
        .iter()
        .fold(failure, |failure, reason| failure.because(reason.message.as_str()))
        .advise("the version was named, so no other is tried", "d8 cli check")
}

fn none_eligible(passed_over: &[PassedOver]) -> Failure {
    let code = passed_over.first().map_or(Code::Failed, |(_, judgement)| judgement.class().into());
    let reasons = passed_over.iter().flat_map(|(published, judgement)| {
        judgement.reasons().iter().map(move |reason| format!("{}: {}", published.tag, reason.message))
    });
    let failure = Failure::new(code, format!("no version of {PRODUCT} may be had here"));
    reasons.fold(failure, Failure::because).advise("every published version was passed over", "d8 cli versions")
}

impl Switch<'_> {
    async fn carry_out(self, context: &Context, planning: Option<&D8Planning<'_>>) -> Result<(), Failure> {
        let progress = Progress::new(context.printer);
        let refused = |error| refused(self.own, error);
        let store = self.own.store()?;
        let mut locked = store.lock(context.global.lock_timeout, &progress).await.map_err(refused)?;
        let (tested, fetched) = self.bring(context, store, &locked, &progress).await?;
        self.aware(context, planning, &tested)?;
        if tested.misreports() {
            output::warn(format!("{} says of itself: {}", self.tag, tested.reported.trim()));
        }
        let seed = self.own.running.as_ref().map(|(tag, _)| tag.clone());
        let migration = PathMigration::of(&self.entry_now(context, store)?, seed);
        let done =
            locked.activate(tested, migration.as_ref(), self.own.bytes(), context.now, &progress).map_err(refused)?;
        if store.remembered_fallback().is_none_or(|path| !path.exists())
            && let Ok(versions) = store.versions()
            && let Some(other) = newest_other(&versions, &self.own.executable)
            && let Err(error) = locked.set_fallback(&other)
        {
            tracing::warn!(%error, "the former d8 could not be remembered as the fallback");
        }
        drop(locked);
        output::print(match (self.intent, fetched) {
            (_, false) => format!("Switched {PRODUCT} to {} (installed locally).", done.tag),
            (Intent::Update, true) => format!("{PRODUCT} updated to {}.", done.tag),
            (_, true) => format!("Switched {PRODUCT} to {}.", done.tag),
        });
        if let Current::Release(before, version) = &self.current
            && *version != self.version
            && store.find(version)?.is_some()
        {
            context
                .printer
                .note(format!("Previous version {before} remains installed - switch back with 'd8 cli use {before}'."));
        }
        self.leads_elsewhere(store);
        if let Some(linked) = done.linked {
            let (linked, current) = (linked.display(), store.current());
            context.printer.note(format!("{linked} is a link to {} now.", current.display()));
            match (done.backup, &self.own.running) {
                (Some(backup), Some(_)) => context.printer.note(format!("The file it was is {}.", backup.display())),
                (Some(backup), None) => context.printer.note(format!(
                    "The file it was is {}: its only copy, as a development build is not stored.",
                    backup.display()
                )),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// The command on the PATH now that the lock is held. Another update may have made it a link to the
    /// store; what anything else put there is left alone.
    fn entry_now(&self, context: &Context, store: &D8Store) -> Result<PathEntry, Failure> {
        let PathEntry::Plain { path, .. } = &self.entry else { return Ok(self.entry.clone()) };
        if self.own.is_at(path) {
            return Ok(self.entry.clone());
        }
        let dir = store.dir().canonicalize().ok();
        match PathEntry::of(path, context.home(), &PackageDatabases::default()) {
            linked @ PathEntry::Linked { .. } if linked.store() == dir.as_deref() => Ok(linked),
            _ => Err(Failure::new(Code::Failed, format!("{} was replaced meanwhile", path.display()))
                .because("nothing was changed")
                .advise("another program or person installed another d8 there", "repeat the command")),
        }
    }

    /// Says so if the command that was typed leads to one version by itself, and so did not move.
    fn leads_elsewhere(&self, store: &D8Store) {
        let (path, current) = (self.entry.path(), store.current());
        if path.is_symlink() && path.canonicalize().ok() != current.canonicalize().ok() {
            let (path, current) = (path.display(), current.display());
            output::warn(format!("{path} does not lead to {current} and stays as it is: ln -sfn {current} {path}"));
        }
    }

    /// The version, tested, and whether it had to be fetched. Asks the store again: another command may
    /// have brought it in while this one waited for the lock.
    async fn bring(
        &self,
        context: &Context,
        store: &D8Store,
        locked: &LockedD8Store,
        progress: &Progress,
    ) -> Result<(TestedVersion, bool), Failure> {
        let refused = |error| refused(self.own, error);
        if let From::Store(stored) = &self.from {
            return Ok((locked.test(stored, progress).await.map_err(refused)?, false));
        }
        if let Some(stored) = store.find(&self.version)? {
            match locked.test(&stored, progress).await {
                Ok(tested) => return Ok((tested, false)),
                Err(error @ StoreError::NotStored { .. }) => output::warn(error),
                // Of what another tool brought in nothing tells whether it is damaged.
                Err(error @ StoreError::Smoke { .. }) if stored.receipt.is_none() => output::warn(error),
                Err(error) => return Err(refused(error)),
            }
        }
        let From::Proxy(planning, published) = &self.from else {
            let running = locked.take_in(self.own.bytes(), &self.tag, context.now, progress);
            return Ok((running.await.map_err(refused)?, false));
        };
        Ok((self.fetch(context, planning, published, locked, progress).await?, true))
    }

    async fn fetch(
        &self,
        context: &Context,
        planning: &D8Planning<'_>,
        published: &PublishedVersion,
        locked: &LockedD8Store,
        progress: &Progress,
    ) -> Result<TestedVersion, Failure> {
        context.printer.note(format!("Updating {PRODUCT} to {}...", self.tag));
        let offer = planning.offer(&published.version)?;
        let proxy = context.proxy().await?;
        let artifact = Artifact {
            component: Component::D8,
            tag: offer.tag.clone(),
            platform: context.platform.clone(),
            expect_layer: offer.layer.clone(),
        };
        let (host, now) = (proxy.host(), context.now);
        let order = D8InstallRequest { artifact, manifest: offer.manifest.clone(), accept: None, source: host, now };
        let source = ProxySource::Remote { proxy: proxy.clone(), tag: published.registry_tag.clone() };
        let subject = format!("{PRODUCT} {}", self.tag);
        let staged = locked.stage(order, &source, progress).await;
        staged.map_err(|error| Failure::from(error).about(&subject, || format!("{subject} was not installed")))
    }

    /// A candidate that does not know policies is refused where one speaks, unless that is accepted.
    fn aware(
        &self,
        context: &Context,
        planning: Option<&D8Planning<'_>>,
        tested: &TestedVersion,
    ) -> Result<(), Failure> {
        if tested.capabilities.iter().any(|capability| capability == POLICY) {
            return Ok(());
        }
        let question = Question {
            version: &self.version,
            intent: self.intent,
            current: &self.current,
            active_digests: &[],
            // What stands beside this was asked before.
            stored: Some(&[]),
            unaware: Some(self.allow_ungoverned),
        };
        let judgements = match planning {
            Some(planning) => vec![planning.evaluate(context, &question)],
            None => judge_kept(context, &question)?.into_iter().map(|(_, judgement)| judgement).collect(),
        };
        let unaware =
            |judgement: &&Verdict| judgement.reasons().iter().any(|reason| reason.code == ReasonCode::PolicyUnaware);
        if let Some(judgement) = judgements.iter().find(unaware) {
            return Err(may_not(&self.tag, judgement));
        }
        output::warn(format!("{PRODUCT} {} does not know policies: none will bind it", self.tag));
        Ok(())
    }
}
