//! `d8 agent run`: ticks when a policy changes, when a hold ends, and every 15 minutes, until a signal.

use std::{collections::BTreeMap, path::Path, time::Duration};

use d8_agent::{
    enrolled_host::EnrolledHostState,
    tick_schedule::{TickResult, TickSchedule},
};
use d8_crds::{
    decisions::agent_report::{ComponentReport, HostReport},
    records::host::ComponentState,
    values::name::Component,
};
use jiff::Timestamp;
use sd_notify::NotifyState;

use super::{policy_watch::PolicyWatch, tick::Tick};
use crate::{
    args::GlobalArgs,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(global: &GlobalArgs, state_dir: &Path) -> Result<(), Failure> {
    let state = EnrolledHostState::at(state_dir);
    let mut agent = Agent { schedule: TickSchedule::default(), shown: BTreeMap::new(), watch: None };
    notify(&[NotifyState::Ready]);
    loop {
        // Each tick connects anew, with the token and the labels of that moment.
        let context = Context::of_agent(global.clone(), state_dir);
        let wait = match Box::pin(tick(&context, &state)).await {
            Ok(report) => {
                agent.watch(&context).await;
                agent.succeed(&report)
            }
            Err(failure) if failure.code == Code::Refused => return Err(failure),
            Err(failure) => agent.fail(&failure),
        };
        agent.wait(wait).await;
    }
}

async fn tick(context: &Context, state: &EnrolledHostState) -> Result<HostReport, Failure> {
    Tick::begin(context, state).await?.run(false).await
}

/// What the agent remembers between ticks.
struct Agent {
    schedule: TickSchedule,
    /// What was printed last of each component.
    shown: BTreeMap<Component, ComponentReport>,
    /// The watch; `None`: no tick has reached the API server yet.
    watch: Option<PolicyWatch>,
}

impl Agent {
    /// Begins to watch the policies.
    async fn watch(&mut self, context: &Context) {
        if self.watch.is_none()
            && let Ok(cluster) = context.cluster().await
        {
            self.watch = Some(PolicyWatch::new(cluster.client.clone()));
        }
    }

    /// Prints what changed. Returns how long to wait.
    fn succeed(&mut self, report: &HostReport) -> Duration {
        if self.schedule.failures() > 0 {
            output::print(format!("The agent works again, after {} failures.", self.schedule.failures()));
        }
        for (component, now) in &report.components {
            if self.shown.get(component) != Some(now) {
                output::print(line(component, now));
            }
        }
        for component in self.shown.keys().filter(|component| !report.components.contains_key(*component)) {
            output::print(format!("{component}: neither installed nor required any more"));
        }
        self.shown.clone_from(&report.components);
        let waiting = report.components.values().filter(|report| report.state != ComponentState::UpToDate).count();
        notify(&[NotifyState::Status(&format!("{} components, {waiting} not up to date", report.components.len()))]);
        let until = report.components.values().filter_map(|report| report.until).min();
        self.schedule.wait_after(TickResult::Done { until }, Timestamp::now(), rand::random())
    }

    /// Prints the failure of a tick, and when the next attempt is. Returns how long to wait.
    fn fail(&mut self, failure: &Failure) -> Duration {
        let wait = self.schedule.wait_after(TickResult::Failed, Timestamp::now(), rand::random());
        let seconds = wait.as_secs();
        output::warn(format!("{}; the next attempt is in {seconds} s", failure.summary()));
        notify(&[NotifyState::Status(&failure.summary())]);
        wait
    }

    /// Waits for the time, or for a change of a policy.
    async fn wait(&mut self, time: Duration) {
        let timer = tokio::time::sleep(time);
        match &mut self.watch {
            Some(watch) => tokio::select! {
                () = timer => {}
                () = watch.changed() => {}
            },
            None => timer.await,
        }
    }
}

/// `tool: v1.0.0, Held v1.1.0: policy p: …`
fn line(component: &Component, report: &ComponentReport) -> String {
    let active = report.active.as_ref().map_or_else(|| "not installed".to_owned(), ToString::to_string);
    let target = report.target.as_ref().filter(|target| report.active.as_ref() != Some(target));
    let target = target.map(|target| format!(" {target}")).unwrap_or_default();
    let message = report.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{component}: {active}, {:?}{target}{message}", report.state)
}

/// Tells systemd the state of the service. Without systemd, nothing happens.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not notified");
    }
}
