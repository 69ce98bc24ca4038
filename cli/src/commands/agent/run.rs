//! `d8 agent run`: does what the state of the agent says (`d8_agent::agent_state`), until a signal.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use d8_agent::{
    agent_config::{AgentConfig, LogFormat},
    agent_state::{AgentState, Event, Phase},
    agent_status::{self, AgentStatus},
    enrolled_host::EnrolledHostState,
};
use d8_crds::records::host::{CliHostStatus, ComponentState, HostComponent};
use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};

use super::{
    own_d8::{OnTrial, TrialFailure, go_on_in},
    policy_watch::PolicyWatch,
    tick::{Tick, TickDone},
};
use crate::{
    args::{AgentPlaceArgs, GlobalArgs},
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
    version,
};

pub(crate) async fn run(global: &GlobalArgs, place: &AgentPlaceArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&place.state_dir);
    let context = Context::of_agent(global.clone(), place);
    // Counted before anything else is read, which may be what makes a new d8 fail; not by a second agent of the host.
    let lock = super::lock(&state);
    let trial = match &lock {
        Err(failure) if failure.kind() == super::SECOND_AGENT => None,
        _ => OnTrial::start(&context, &state).await?,
    };
    let _lock = lock?;
    let config = context.config()?.clone();
    if config.log_format == LogFormat::Json {
        output::use_json();
    }
    let mut agent = Agent::new(state, trial, config)?;
    notify(&[NotifyState::Ready]);
    loop {
        match agent.machine.phase() {
            Phase::Ticking => Box::pin(agent.tick(global, place)).await,
            Phase::Waiting { .. } | Phase::BackingOff { .. } => agent.wait().await,
            Phase::Replacing => return agent.go_on(),
            Phase::Reverting => return agent.revert(&context).await,
            Phase::Stopped => {
                agent.stop();
                return Ok(());
            }
        }
    }
}

/// The agent: its state, and what it needs to act on it.
struct Agent {
    machine: AgentState,
    /// When the agent started, by the clock and by a clock that nobody sets.
    begun: (Timestamp, Instant),
    state: EnrolledHostState,
    config: AgentConfig,
    status: AgentStatus,
    trial: Option<OnTrial>,
    /// `current` of the store of d8, after a switch.
    switched_d8: Option<std::path::PathBuf>,
    /// What was printed last of each component.
    shown: BTreeMap<String, HostComponent>,
    /// The watch; `None`: no tick has reached the API server yet.
    watch: Option<PolicyWatch>,
    terminated: Signal,
    interrupted: Signal,
    /// When the service manager is told that the agent lives; `None`: it does not ask.
    watchdog: Option<Interval>,
}

impl Agent {
    fn new(state: EnrolledHostState, trial: Option<OnTrial>, config: AgentConfig) -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::new(Code::Failed, "failed to wait for signals").caused_by(&error))
        };
        // Half of the time that the service manager waits, as sd_watchdog_enabled(3) advises.
        let watchdog = sd_notify::watchdog_enabled().map(|limit| {
            let mut pings = interval((limit / 2).max(Duration::from_millis(1)));
            pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
            pings
        });
        let begun = Timestamp::now();
        let before = state.status().unwrap_or_default();
        let status = AgentStatus { agent_version: version::display(), pid: std::process::id(), ..before };
        Ok(Self {
            machine: AgentState::start(trial.is_some(), begun),
            begun: (begun, Instant::now()),
            state,
            config,
            status,
            trial,
            switched_d8: None,
            shown: BTreeMap::new(),
            watch: None,
            terminated: on(SignalKind::terminate())?,
            interrupted: on(SignalKind::interrupt())?,
            watchdog,
        })
    }

    fn after(&mut self, event: Event) {
        self.machine = self.machine.after(event, self.time(), rand::random());
    }

    /// Returns the time of the state machine. A clock that is set meanwhile does not end a trial.
    fn time(&self) -> Timestamp {
        let (begun, since) = self.begun;
        begun.checked_add(since.elapsed()).unwrap_or(begun)
    }

    /// Makes a tick. A signal, or the end of a trial, drops it: what is staged is removed, and no switch is half done.
    async fn tick(&mut self, global: &GlobalArgs, place: &AgentPlaceArgs) {
        // Each tick connects anew, with the token and the labels of that moment.
        let context = Context::of_agent(global.clone(), place);
        let (state, has_watch) = (self.state.clone(), self.watch.is_some());
        let mut tick = pin!(async {
            let done = Box::pin(Tick::begin(&context, &state).await?.switching_d8().run()).await?;
            let client = if has_watch { None } else { context.watch_client().await.ok() };
            Ok((done, client))
        });
        loop {
            let happened = tokio::select! {
                biased;
                result = &mut tick => match result {
                    Ok((done, client)) => {
                        let watch = || client.map(|client| PolicyWatch::new(client, done.policies.clone()));
                        self.watch = self.watch.take().or_else(watch);
                        return self.succeed(done);
                    }
                    Err(failure) => return self.fail(&failure),
                },
                event = self.next_event() => event,
            };
            self.after(happened);
            if self.machine.phase() != Phase::Ticking {
                return;
            }
        }
    }

    /// Waits for the next tick.
    async fn wait(&mut self) {
        self.save_status();
        let event = self.next_event().await;
        self.after(event);
    }

    /// Waits for what happens beside a tick. Tells the service manager meanwhile that the agent lives.
    async fn next_event(&mut self) -> Event {
        let left = self.machine.deadline().map(|deadline| {
            let left = deadline.duration_since(self.time());
            Duration::try_from(left).unwrap_or_default()
        });
        let due = Instant::now().checked_add(left.unwrap_or_default());
        loop {
            let remaining = due.map_or(Duration::MAX, |due| due.saturating_duration_since(Instant::now()));
            let watchdog = async {
                match &mut self.watchdog {
                    Some(pings) => drop(pings.tick().await),
                    None => std::future::pending().await,
                }
            };
            let changed = async {
                match &mut self.watch {
                    Some(watch) => watch.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.terminated.recv() => return Event::Signal,
                _ = self.interrupted.recv() => return Event::Signal,
                () = watchdog => notify(&[NotifyState::Watchdog]),
                () = sleep(remaining), if left.is_some() => return Event::Due,
                () = changed => return Event::PolicyChanged,
            }
        }
    }

    /// Prints what changed.
    fn succeed(&mut self, done: TickDone) {
        // A tick that switched d8 again began the trial of the next one.
        if let Some(trial) = self.trial.take()
            && done.switched_d8.is_none()
        {
            trial.succeed();
        }
        let TickDone { report, switched_d8, peers, .. } = done;
        self.machine.set_peers(peers);
        if let Some(ended) = self.status.succeed(report.clone(), Timestamp::now()) {
            output::print(format!("The agent works again, after {} failures since {:.0}.", ended.count, ended.since));
        }
        self.print_changes(&report);
        let waiting = report.components.iter().filter(|component| component.state != ComponentState::UpToDate).count();
        notify(&[NotifyState::Status(&format!("{} components, {waiting} not up to date", report.components.len()))]);
        let until = report.components.iter().filter_map(|component| component.until.as_ref()).map(|time| time.0).min();
        self.after(if switched_d8.is_some() { Event::D8Switched } else { Event::TickSucceeded { until } });
        self.switched_d8 = switched_d8;
    }

    fn print_changes(&mut self, report: &CliHostStatus) {
        let now: BTreeMap<String, HostComponent> =
            report.components.iter().map(|component| (component.name.clone(), component.clone())).collect();
        for (name, component) in &now {
            if self.shown.get(name) != Some(component) {
                output::print(line(component));
            }
        }
        for name in self.shown.keys().filter(|name| !now.contains_key(*name)) {
            output::print(format!("{name}: neither installed nor required any more"));
        }
        self.shown = now;
    }

    /// Prints the failure of a tick, and when the next attempt is.
    fn fail(&mut self, failure: &Failure) {
        let fix = failure.advice().first().map(|advice| format!("; {}", advice.fix)).unwrap_or_default();
        self.status.fail(failure.kind(), format!("{}{fix}", failure.summary()), Timestamp::now());
        self.after(Event::TickFailed);
        let wait = self.machine.deadline().map(|deadline| deadline.duration_since(self.time()).as_secs());
        let seconds = wait.unwrap_or_default().max(0);
        output::warn(format!("{}; the next attempt is in {seconds} s", failure.summary()));
        notify(&[NotifyState::Status(&failure.summary())]);
    }

    /// Stores what `d8 agent status` shows, and the metrics.
    fn save_status(&mut self) {
        let left = self.machine.deadline().map(|deadline| deadline.duration_since(self.time()));
        self.status.next_tick = left.and_then(|left| Timestamp::now().checked_add(left).ok());
        if let Err(error) = self.state.save_status(&self.status) {
            output::warn(format!("the status of the agent is not stored: {}", d8_rpp::text::error_chain(&error)));
        }
        let Some(file) = &self.config.metrics_file else { return };
        let Ok(Some(host)) = self.state.read() else { return };
        let expires = self.state.token_times().map(|times| times.expires);
        let text = agent_status::metrics(&self.status, &host.name, expires);
        if let Err(error) = agent_status::write_metrics(file, &text) {
            output::warn(format!("the metrics are not written to {}: {error}", file.display()));
        }
    }

    /// Restarts as the d8 that the tick switched to. Returns only a failure.
    fn go_on(self) -> Result<(), Failure> {
        let Some(current) = &self.switched_d8 else { return Ok(()) };
        notify(&[NotifyState::Status("restarts as another d8")]);
        Err(go_on_in(current))
    }

    /// Goes back to the d8 before this one. Returns only a failure.
    async fn revert(self, context: &Context) -> Result<(), Failure> {
        let Some(trial) = &self.trial else { return Ok(()) };
        trial.revert(context, &self.state, TrialFailure::Time).await?;
        Err(go_on_in(&trial.current()))
    }

    fn stop(mut self) {
        notify(&[NotifyState::Stopping]);
        if let Some(trial) = &self.trial {
            trial.stop();
        }
        self.save_status();
    }
}

/// `tool: v1.0.0, Held v1.1.0: policy p: …`
fn line(component: &HostComponent) -> String {
    let active = component.active.as_deref().unwrap_or("not installed");
    let target = component.target.as_ref().filter(|target| component.active.as_ref() != Some(target));
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let message = component.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{}: {active}, {:?}{target}{message}", component.name, component.state)
}

/// Tells systemd the state of the service. Without systemd, nothing happens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
