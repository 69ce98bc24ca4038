//! `d8 agent status`: what the agent does on this host, and why. Reads files of this machine only.

use d8_agent::{
    agent_status::{AgentStatus, TickFailure},
    d8_store::D8Store,
    enrolled_host::{EnrolledHost, EnrolledHostState},
};
use d8_crds::{
    decisions::agent_report::DUPLICATE_IDENTITY,
    records::host::HostComponent,
    values::{duration::FormattedDuration, host_name::HostName},
};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    component_table,
    host_record::{not_managed, state_failure},
};
use crate::{
    args::AgentStatusArgs,
    context::Context,
    running_d8::RunningD8,
    terminal::{failure::Failure, output},
};

/// The JSON document (`docs/agent.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    host: HostName,
    /// Whether the agent runs; absent for users other than root, who cannot know.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    /// Version of d8 that the agent runs, or ran last.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_version: Option<String>,
    /// When the last tick that succeeded ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_tick: Option<Timestamp>,
    /// Why ticks fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<TickFailure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_tick: Option<Timestamp>,
    /// When the token expires; absent for users other than root.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires: Option<Timestamp>,
    /// The d8 on trial, and the one that becomes active again if it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    trial: Option<TrialReport>,
    policies: Vec<String>,
    components: Vec<HostComponent>,
    /// Conditions that need somebody to act.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TrialReport {
    from: String,
    to: String,
}

pub(crate) fn run(context: &Context, args: &AgentStatusArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&args.place.state_dir);
    let host = state.read().map_err(|error| state_failure(state.directory(), &error))?;
    let Some(EnrolledHost { name, .. }) = host else { return Err(not_managed()) };
    let report = report(context, &state, name);
    let names = [report.host.to_string()];
    output::print_document(args.output.format, &report, names, |report| print(context, report))
}

fn report(context: &Context, state: &EnrolledHostState, host: HostName) -> Report {
    let status = state.status();
    let AgentStatus { agent_version, last_tick, failure, next_tick, report, .. } = status.clone().unwrap_or_default();
    let running = match state.lock() {
        Ok(Some(_)) => Some(false),
        Ok(None) => Some(true),
        Err(_) => None,
    };
    let observed = report.unwrap_or_default();
    let warnings = observed.conditions.iter().filter(|condition| {
        let bad = if condition.type_ == DUPLICATE_IDENTITY { "True" } else { "False" };
        condition.type_ != "Ready" && condition.status == bad
    });
    Report {
        host,
        running,
        agent_version: status.is_some().then_some(agent_version),
        last_tick,
        failure,
        next_tick: next_tick.filter(|_| running != Some(false)),
        token_expires: state.token_times().map(|times| times.expires),
        trial: trial(context),
        policies: observed.policies.iter().map(|policy| policy.name.clone()).collect(),
        warnings: warnings.map(|condition| format!("{}: {}", condition.type_, condition.message)).collect(),
        components: observed.components,
    }
}

fn trial(context: &Context) -> Option<TrialReport> {
    let d8 = RunningD8::locate(context).ok()?;
    let trial = d8.store().ok().map(D8Store::trial)?.ok()??;
    Some(TrialReport { from: trial.from.to_string(), to: trial.to.to_string() })
}

fn print(context: &Context, report: &Report) {
    let now = context.now;
    let age = |time: Timestamp| FormattedDuration(whole_seconds(now.duration_since(time))).to_string();
    let line = |name: &str, text: String| output::print(format!("{name:<12}{text}"));
    line("host:", report.host.to_string());
    let version = report.agent_version.as_ref().map(|version| format!(", {version}")).unwrap_or_default();
    line(
        "agent:",
        match report.running {
            Some(true) => format!("runs{version}"),
            Some(false) => "does not run; start it: `systemctl start d8-agent`".to_owned(),
            None => format!("run this as root to see whether it runs{version}"),
        },
    );
    line(
        "last tick:",
        report.last_tick.map_or_else(|| "none has succeeded".to_owned(), |last| format!("{} ago", age(last))),
    );
    if let Some(TickFailure { reason, message, count, since }) = &report.failure {
        line("failing:", format!("{count} times since {since:.0}, {reason}: {message}"));
    }
    if let Some(next) = report.next_tick {
        let left = FormattedDuration(whole_seconds(next.duration_since(now)));
        line("next tick:", if next > now { format!("in {left}") } else { "now".to_owned() });
    }
    if let Some(expires) = report.token_expires {
        line(
            "token:",
            if expires > now { format!("valid until {expires:.0}") } else { format!("expired at {expires:.0}") },
        );
    }
    if let Some(TrialReport { from, to }) = &report.trial {
        line("trial:", format!("d8 {to} has completed no tick yet; {from} comes back if it does not"));
    }
    for warning in &report.warnings {
        line("warning:", warning.clone());
    }
    line("policies:", if report.policies.is_empty() { "none".to_owned() } else { report.policies.join(", ") });
    if !report.components.is_empty() {
        component_table::print(&report.components);
    }
}

fn whole_seconds(duration: jiff::SignedDuration) -> std::time::Duration {
    std::time::Duration::from_secs(duration.unsigned_abs().as_secs())
}
