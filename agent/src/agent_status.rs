//! The status of the agent, in files on the machine: `status.json`, for `d8 agent status`, and a file with metrics.
//!
//! The API server has the same in the `CliHost`, as long as it can be reached.

use std::{fmt::Write as _, io, path::Path};

use d8_crds::{
    records::host::{CliHostStatus, ComponentState, HostComponent},
    values::host_name::HostName,
};
use jiff::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use serde::{Deserialize, Serialize};

use crate::{disk, install_root::trust};

/// What the agent of a host knows about itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStatus {
    /// Version of d8 that the agent runs.
    pub agent_version: String,
    /// Process that wrote it.
    pub pid: u32,
    /// When the last tick that succeeded ended.
    pub last_tick: Option<Timestamp>,
    /// The failure of the last tick, if that failed.
    pub failure: Option<TickFailure>,
    /// When the next tick is. `None`: the agent ended.
    pub next_tick: Option<Timestamp>,
    /// What the last tick that succeeded reported.
    pub report: Option<CliHostStatus>,
}

/// The failure of ticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TickFailure {
    /// Kind of the failure, one word in CamelCase.
    pub reason: String,
    /// What failed, for people.
    pub message: String,
    /// Ticks that failed since the last one that did not.
    pub count: u32,
    /// When the first of them failed.
    pub since: Timestamp,
}

impl AgentStatus {
    /// Adds the failure of a tick. What the last tick that succeeded reported stays.
    pub fn fail(&mut self, reason: &str, message: String, now: Timestamp) {
        let (count, since) = self.failure.as_ref().map_or((0, now), |failure| (failure.count, failure.since));
        let count = count.saturating_add(1);
        self.failure = Some(TickFailure { reason: reason.to_owned(), message, count, since });
    }

    /// Adds a tick that succeeded. Returns the failure that it ended.
    pub fn succeed(&mut self, report: CliHostStatus, now: Timestamp) -> Option<TickFailure> {
        self.last_tick = Some(now);
        self.report = Some(report);
        self.failure.take()
    }

    fn components(&self) -> &[HostComponent] {
        self.report.as_ref().map(|report| report.components.as_slice()).unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InfoLabels {
    host: String,
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    component: String,
    state: String,
}

/// Returns the metrics of an agent in the text format of Prometheus. `token_expires`: when the token of the host expires.
pub fn metrics(status: &AgentStatus, host: &HostName, token_expires: Option<Timestamp>) -> String {
    let mut registry = Registry::with_prefix("d8_agent");
    let info = Family::<InfoLabels, Gauge>::default();
    let labels = InfoLabels { host: host.to_string(), version: status.agent_version.clone() };
    info.get_or_create(&labels).set(1);
    registry.register("info", "Host and version of the agent", info);
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    if let Some(last) = status.last_tick {
        gauge("last_tick_timestamp_seconds", "Time of the last tick that succeeded", last.as_second());
    }
    let failures = status.failure.as_ref().map_or(0, |failure| i64::from(failure.count));
    gauge("tick_failures", "Ticks that failed since the last one that succeeded", failures);
    if let Some(expires) = token_expires {
        gauge("token_expiry_timestamp_seconds", "When the token of the host expires", expires.as_second());
    }
    let by_state = Family::<StateLabels, Gauge>::default();
    for component in status.components() {
        let labels = StateLabels { component: component.name.clone(), state: state_name(component.state) };
        by_state.get_or_create(&labels).set(1);
    }
    registry.register("component_state", "1 for the state that a component has", by_state);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

fn state_name(state: ComponentState) -> String {
    let mut name = String::new();
    let _ = write!(name, "{state:?}");
    name
}

/// Replaces the file with the metrics in one step. The collector reads no half of it.
///
/// # Errors
/// The directory cannot be written; something else than a file is there; as root, other users could change the path.
pub fn write_metrics(path: &Path, text: &str) -> io::Result<()> {
    trust::whole_path(path).map_err(io::Error::other)?;
    if disk::lstat(path)?.is_some_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a regular file"));
    }
    disk::replace(path, text.as_bytes(), Some(disk::PLAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn failures_are_counted_until_a_tick_succeeds() {
        let mut status = AgentStatus::default();
        status.fail("Unreachable", "no answer".to_owned(), at(1));
        status.fail("Unreachable", "still none".to_owned(), at(2));
        let failure = status.failure.clone().unwrap();
        assert_eq!((failure.count, failure.since, failure.message.as_str()), (2, at(1), "still none"));
        assert_eq!(status.succeed(CliHostStatus::default(), at(3)), Some(failure));
        assert_eq!((status.failure.clone(), status.last_tick), (None, Some(at(3))));
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<AgentStatus>(&text).unwrap(), status);
    }

    #[test]
    fn metrics_name_what_is_wrong() {
        let component = HostComponent {
            name: "tool".to_owned(),
            active: Some("v1.0.0".to_owned()),
            digest: None,
            target: None,
            state: ComponentState::Held,
            reason: None,
            message: None,
            until: None,
            last_change: None,
        };
        let report = CliHostStatus { components: vec![component], ..CliHostStatus::default() };
        let mut status = AgentStatus { agent_version: "v1\"0".to_owned(), ..AgentStatus::default() };
        status.succeed(report, at(5));
        status.fail("Unreachable", String::new(), at(9));
        let text = metrics(&status, &"bastion-1".parse().unwrap(), Some(at(100)));
        for line in [
            "d8_agent_info{host=\"bastion-1\",version=\"v1\\\"0\"} 1",
            "d8_agent_last_tick_timestamp_seconds 5",
            "d8_agent_tick_failures 1",
            "d8_agent_token_expiry_timestamp_seconds 100",
            "d8_agent_component_state{component=\"tool\",state=\"Held\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let never = metrics(&AgentStatus::default(), &"bastion-1".parse().unwrap(), None);
        assert!(!never.contains("last_tick") && never.contains("d8_agent_tick_failures 0"), "{never}");
    }
}
