//! d8 itself, kept on policy by the agent that it runs.
//!
//! A switch is a trial (`d8_agent::d8_store::Trial`): the agent goes on in the new d8, and one that completes no tick is
//! replaced by the one before. So the host stays managed if a new d8 cannot run an agent.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use d8_agent::{
    cluster::ClusterView,
    d8_store::{D8Store, Trial, TrialStart},
    enrolled_host::EnrolledHostState,
    failed_changes::{self, TRIAL_FAILED, TRIAL_TIMEOUT},
};
use d8_crds::{
    decisions::{
        agent_report::{ActiveArtifact, ComponentReport, FailedAttempt},
        explain,
        intent::Intent,
        plan::{Outcome, Request},
        selection::PublishedVersion,
    },
    records::host::ComponentState,
    values::{digest::Digest, name::Component, version::Version},
};
use jiff::Timestamp;

use super::tick::{Tick, failed_attempt};
use crate::{
    args,
    commands::self_update::{
        choice::D8Planning,
        switch::{BinarySource, PolicySource, StagedSwitch, Switch, SwitchOutcome},
    },
    context::Context,
    exec,
    running_d8::{CurrentVersion, RunningD8},
    terminal::{
        failure::{Advice, Code, Failure},
        output,
        progress::Progress,
    },
    version,
};

/// The plan of a tick for d8 itself.
pub(super) struct OwnD8<'a> {
    d8: RunningD8,
    current: CurrentVersion,
    planning: D8Planning<'a>,
    /// The version to take now.
    chosen: Option<PublishedVersion>,
    /// The version to bring into the store now, for a window that opens soon.
    ahead: Option<PublishedVersion>,
}

impl<'a> OwnD8<'a> {
    /// Plans d8 itself, and reports what the plan leaves as it is. `None`: the agent does not manage it, because it does
    /// not run from a store, or it cannot be planned.
    pub(super) async fn plan(tick: &mut Tick<'a>, view: &ClusterView) -> Option<Self> {
        let planned = Self::try_plan(tick, view).await;
        planned.unwrap_or_else(|failure| {
            output::warn(format!("d8 itself is not kept on policy: {}", failure.summary()));
            let version = version::release().map(|(_, version)| version);
            let active = ActiveArtifact { version: version.clone(), digest: None };
            let failed = failed_attempt(version, &failure);
            tick.report(&Component::D8, failed_changes::report(ComponentReport::new(active), &failed));
            None
        })
    }

    async fn try_plan(tick: &mut Tick<'a>, view: &ClusterView) -> Result<Option<Self>, Failure> {
        let d8 = RunningD8::locate(tick.context)?;
        if d8.own_store().is_none() {
            return Ok(None);
        }
        let current = d8.current()?;
        let planning = D8Planning::of_view(tick.context, view.clone(), (&d8, &current), None).await?;
        let mut own = Self { d8, current, planning: planning.for_agent(), chosen: None, ahead: None };
        own.choose(tick).await;
        Ok(Some(own))
    }

    /// Chooses the version, without those that failed before with the same bytes.
    async fn choose(&mut self, tick: &mut Tick<'a>) {
        loop {
            let Some(outcome) = self.planning.outcome(Request::NewestOfAll).await else { return };
            let chosen = match &outcome {
                Outcome::Take { version, .. } => Some(version.clone()),
                _ => None,
            };
            let held = outcome.passed_over().iter().find(|(_, verdict)| verdict.is_staged_ahead(tick.context.now));
            let mut ahead = held.map(|(published, _)| published.clone());
            if let Some(held) = &ahead
                && !self
                    .planning
                    .verdict(held, Intent::Agent)
                    .await
                    .is_ok_and(|verdict| verdict.is_staged_ahead(tick.context.now))
            {
                ahead = None;
            }
            let failed = chosen
                .iter()
                .chain(&ahead)
                .find(|published| tick.skip_failed(&Component::D8, &published.version, self.layer(&published.version)));
            if let Some(failed) = failed {
                self.planning.leave_out(&failed.version);
                continue;
            }
            tick.keep_failure(&Component::D8, &outcome, |held| self.planning.recorded_layer(held));
            let (active, forbidden) = self.planning.active();
            tick.report(&Component::D8, ComponentReport::of(active, forbidden.as_ref(), &outcome));
            let ahead = ahead.filter(|published| !self.is_stored(&published.version));
            (self.chosen, self.ahead) = (chosen, ahead);
            return;
        }
    }

    /// Returns the digest of the layer of a version, if the plan needed its details.
    fn layer(&self, version: &Version) -> Option<&Digest> {
        self.planning.details(version).ok()?.layer.as_ref()
    }

    /// Returns whether the store has the version, so that a switch needs no download.
    fn is_stored(&self, version: &Version) -> bool {
        let stored = self.d8.own_store().map(|store| store.find(version));
        stored.is_some_and(|stored| stored.is_ok_and(|stored| stored.is_some()))
    }

    fn switch<'s>(&'s self, context: &Context, published: &PublishedVersion) -> Result<Switch<'s>, Failure> {
        Ok(Switch {
            d8: &self.d8,
            path_entry: self.d8.replaceable_path_entry(context)?,
            current: self.current.clone(),
            tag: published.tag.clone(),
            version: published.version.clone(),
            intent: Intent::Agent,
            source: BinarySource::Proxy(&self.planning, published.clone()),
            policies: PolicySource::Cluster(&self.planning),
            allow_ungoverned: false,
        })
    }
}

impl<'a> Tick<'a> {
    /// Switches d8 itself, or stages the version that a window holds. Returns `current` of the store after a switch. A
    /// change that fails is in the report.
    ///
    /// # Errors
    /// The report cannot be written.
    pub(super) async fn change_d8(&mut self, own: OwnD8<'a>) -> Result<Option<PathBuf>, Failure> {
        let Some(published) = own.chosen.as_ref().or(own.ahead.as_ref()) else { return Ok(None) };
        if own.chosen.is_some() {
            self.announce([(Component::D8, &published.version)]).await?;
        }
        let staged = match own.switch(self.context, published) {
            Ok(switch) => switch.stage(self.context).await,
            Err(failure) => Err(failure),
        };
        let switched = match (staged, &own.chosen) {
            (Ok(staged), Some(_)) => self.try_d8(&own, published, staged).await,
            (Ok(staged), None) => staged.keep().map(|()| false),
            (Err(failure), _) => Err(failure),
        };
        match switched {
            Ok(true) => Ok(own.d8.own_store().map(D8Store::current)),
            Ok(false) => Ok(None),
            Err(failure) => {
                output::warn(failure.summary());
                let change = (&published.version, own.layer(&published.version));
                self.fail(&Component::D8, Some(change), &failure);
                self.save_failures();
                Ok(None)
            }
        }
    }

    /// Switches to what is staged, if the policies still permit it. Returns whether it did.
    async fn try_d8(
        &mut self,
        own: &OwnD8<'a>,
        published: &PublishedVersion,
        staged: StagedSwitch<'_>,
    ) -> Result<bool, Failure> {
        let CurrentVersion::Release(from, _) = &own.current else { return Ok(false) };
        // Somebody else may have switched d8 while this one waited for the lock.
        if own.d8.current()? != own.current {
            self.postpone(&Component::D8);
            return Ok(false);
        }
        let (mut view, _) = self.policies().await?;
        view.records = own.planning.records().clone();
        let planning = D8Planning::of_view(self.context, view, (&own.d8, &own.current), None).await?;
        let mut again = OwnD8 {
            d8: own.d8.clone(),
            current: own.current.clone(),
            planning: planning.for_agent(),
            chosen: None,
            ahead: None,
        };
        again.choose(self).await;
        if again.chosen.as_ref().is_none_or(|chosen| chosen.version != published.version) {
            output::print(format!("d8: {} is not taken: the new plan does not have it", published.tag));
            return Ok(false);
        }
        let to = (published.tag.clone(), own.layer(&published.version).cloned());
        let trial = Trial::new(from.clone(), to, Timestamp::now());
        match staged.commit(self.context, Some(&trial))? {
            SwitchOutcome::Switched(_) => {
                output::print(format!("Switched d8 from {from} to {}; the agent restarts as it.", published.tag));
                Ok(true)
            }
            SwitchOutcome::PolicyUnaware(verdict) => {
                if let (Some(report), Some(reason)) =
                    (self.record.report.components.get_mut(&Component::D8), verdict.leading())
                {
                    report.state = ComponentState::Held;
                    report.reason = Some(reason.code().as_str().to_owned());
                    report.message = Some(explain::in_record(reason));
                }
                Ok(false)
            }
        }
    }
}

/// Copies the running d8 into the store that the agent runs from, unless a d8 is active there. A development build has no
/// version to store it under.
///
/// # Errors
/// The store cannot be written, or the copy does not start.
pub(super) async fn seed(context: &Context) -> Result<(), Failure> {
    let d8 = RunningD8::locate(context)?;
    let (store, Some((tag, _))) = (d8.store()?, &d8.release) else { return Ok(()) };
    if store.active()?.is_some() {
        return Ok(());
    }
    let progress = Progress::new(context.printer);
    let mut locked = store.lock(context.global.lock_timeout, &progress).await?;
    let tested = locked.stage_copy(d8.image(), tag, context.now, &progress).await?;
    locked.activate(tested, None, d8.image(), context.now, &progress)?;
    output::print(format!("Stored d8 {tag} at {}. The agent updates it there.", store.current().display()));
    Ok(())
}

/// A d8 that the agent switched to, and that has not completed a tick yet.
pub(super) struct OnTrial {
    store: D8Store,
    trial: Trial,
}

/// Why a trial failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrialFailure {
    /// The new d8 started several times and completed no tick.
    Starts,
    /// The new d8 completed no tick in time.
    Time,
    /// The service manager gave up starting it.
    NoStart,
}

impl OnTrial {
    /// Counts this start of the agent, if its d8 is on trial. Goes back, and does not return, if it started too often.
    ///
    /// # Errors
    /// The trial cannot be read or stored, or the former d8 cannot be activated.
    pub(super) async fn start(context: &Context, state: &EnrolledHostState) -> Result<Option<Self>, Failure> {
        let d8 = RunningD8::locate(context)?;
        let (Some(store), Some(active)) = (d8.own_store(), d8.active()?) else { return Ok(None) };
        let Some(trial) = store.trial()? else { return Ok(None) };
        match trial.clone().start(&active.tag) {
            TrialStart::GoesOn(trial) => {
                store.save_trial(&trial)?;
                Ok(Some(Self { store: store.clone(), trial }))
            }
            TrialStart::IsOver => {
                store.end_trial()?;
                Ok(None)
            }
            TrialStart::Fails => {
                let failed = Self { store: store.clone(), trial };
                failed.revert(context, state, TrialFailure::Starts).await?;
                Err(go_on_in(&failed.store.current()))
            }
        }
    }

    /// Returns the trial of the store of this d8, whichever version is active.
    ///
    /// # Errors
    /// The trial cannot be read.
    pub(super) fn find(context: &Context) -> Result<Option<Self>, Failure> {
        let d8 = RunningD8::locate(context)?;
        let Some(store) = d8.own_store() else { return Ok(None) };
        Ok(store.trial()?.map(|trial| Self { store: store.clone(), trial }))
    }

    /// Ends the trial: this d8 completed a tick.
    pub(super) fn succeed(&self) {
        match self.store.end_trial() {
            Ok(_) => output::print(format!("d8 {} runs the agent; its trial is over.", self.trial.to)),
            Err(error) => output::warn(format!("the trial of d8 {} does not end: {error}", self.trial.to)),
        }
    }

    /// Takes back the count of this start: a signal ended it.
    pub(super) fn stop(&self) {
        if let Err(error) = self.store.save_trial(&self.trial.clone().stopped()) {
            output::warn(format!("the trial of d8 {} counts this start: {error}", self.trial.to));
        }
    }

    /// Makes the former d8 active again, and remembers that the new one failed. Does nothing if a person switched to
    /// another version meanwhile.
    ///
    /// # Errors
    /// The former version is missing, or the store cannot be written.
    pub(super) async fn revert(
        &self,
        context: &Context,
        state: &EnrolledHostState,
        why: TrialFailure,
    ) -> Result<(), Failure> {
        let Trial { from, to, layer, .. } = &self.trial;
        let timeout = context.global.lock_timeout.max(Duration::from_mins(1));
        let mut locked = self.store.lock(timeout, &Progress::new(context.printer)).await?;
        if !locked.is_on_trial(&self.trial)? {
            output::print(format!("The trial of d8 {to} is over: another version is active."));
            return Ok(());
        }
        let (reason, message) = match why {
            TrialFailure::Starts => (TRIAL_FAILED, "it started several times and completed no tick of the agent"),
            TrialFailure::NoStart => (TRIAL_FAILED, "it did not start as the agent"),
            TrialFailure::Time => (TRIAL_TIMEOUT, "it completed no tick of the agent within 10 minutes"),
        };
        // Remembered first: after a power loss in between, the version is not tried again by mistake.
        let mut failures = state.failures();
        let version = Version::parse(to.as_str()).unwrap_or_default();
        let failed = FailedAttempt { version, reason: reason.to_owned(), message: format!("d8 {to}: {message}") };
        failures.add(&Component::D8, &failed, layer.as_ref(), context.now);
        if let Err(error) = state.save_failures(&failures) {
            output::warn(format!("changes that failed are not remembered: {}", d8_rpp::text::error_chain(&error)));
        }
        locked.revert(&self.trial)?;
        output::warn(format!("d8 {to} was replaced by {from} again: {message}"));
        Ok(())
    }

    /// Returns `current` of the store.
    pub(super) fn current(&self) -> PathBuf {
        self.store.current()
    }
}

/// Replaces this process by another d8, with its arguments. Returns only the failure to start it.
pub(super) fn go_on_in(current: &Path) -> Failure {
    let error = exec::exec(Command::new(current).args(args::of_process().into_iter().skip(1)));
    let advice = Advice {
        cause: "the file was removed, or its file system does not permit programs".to_owned(),
        fix: "`systemctl restart d8-agent`".to_owned(),
    };
    exec::start_failure(
        format!("cannot restart as {}", current.display()),
        current,
        &error,
        Some(&Component::D8),
        advice,
    )
    .of_kind(if error.kind() == std::io::ErrorKind::NotFound { "NotFound" } else { "Exec" })
}

/// Returns the failure when there is nothing to recover.
pub(super) fn no_trial() -> Failure {
    Failure::new(Code::Failed, "there is nothing to recover: no switch of d8 is on trial")
        .advise("the agent stopped for another reason", "`d8 agent status`, and `journalctl --unit d8-agent`")
}
