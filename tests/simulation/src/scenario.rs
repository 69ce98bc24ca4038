//! What admins do in the week, and what breaks.

use serde_json::{Value, json};

use crate::time::{HOUR, Millis};

/// Name of the policy with the rollout. It selects all hosts.
pub(crate) const FLEET: &str = "fleet";
/// Name of the policy with windows. It selects the bastions.
pub(crate) const NIGHTS: &str = "nights";
/// The only component.
pub(crate) const TOOL: &str = "tool";
/// The version that all hosts have at the beginning.
pub(crate) const FIRST: &str = "v1.0.0";

/// What an admin does, or what breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Publishes a version. One that is broken fails its smoke test on every host.
    Publish {
        /// The version.
        version: &'static str,
        /// Whether it is broken.
        broken: bool,
    },
    /// Changes the rule of policy `fleet`: these fields replace those of the rule.
    EditRule(Value),
    /// Resumes the halted waves of policy `fleet`, as its annotation does.
    Resume,
    /// The proxy ceases to answer.
    StopProxy,
    /// The proxy answers again.
    StartProxy,
    /// The API server ceases to answer. No other action may be in this time.
    StopApiServer,
    /// The API server answers again.
    StartApiServer,
}

/// A script: what happens when, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The steps.
    pub steps: Vec<(Millis, Action)>,
    /// How long the simulation lasts.
    pub length: Millis,
    /// Blackout of policy `fleet`.
    pub blackout: (Millis, Millis),
}

impl Scenario {
    /// Returns the week: a wave through outages, a broken version and its fix, a version that is blocked in the middle of
    /// its wave, and a wave through a blackout.
    pub fn week() -> Self {
        let publish = |version, broken| Action::Publish { version, broken };
        let steps = vec![
            (2 * HOUR, publish("v1.1.0", false)),
            (12 * HOUR, Action::StopApiServer),
            (13 * HOUR, Action::StartApiServer),
            (30 * HOUR, Action::StopProxy),
            (33 * HOUR, Action::StartProxy),
            (34 * HOUR, Action::Resume),
            (60 * HOUR, publish("v1.2.0", true)),
            (62 * HOUR, publish("v1.2.1", false)),
            (62 * HOUR + HOUR / 2, Action::EditRule(json!({"expedite": ["v1.2.1"]}))),
            (76 * HOUR, publish("v1.3.0", false)),
            (98 * HOUR, Action::EditRule(json!({"block": ["1.3.x"]}))),
            (114 * HOUR, publish("v1.4.0", false)),
        ];
        Self { steps, length: 7 * 24 * HOUR, blackout: (130 * HOUR, 142 * HOUR) }
    }

    /// Returns the same in two days and less, for a test: a wave, a broken version, a block, both outages.
    pub fn two_days() -> Self {
        let publish = |version, broken| Action::Publish { version, broken };
        let steps = vec![
            (HOUR, publish("v1.1.0", false)),
            (8 * HOUR, Action::StopApiServer),
            (9 * HOUR, Action::StartApiServer),
            (10 * HOUR, Action::StopProxy),
            (13 * HOUR, Action::StartProxy),
            (14 * HOUR, Action::Resume),
            (25 * HOUR, publish("v1.2.0", true)),
            (26 * HOUR, publish("v1.2.1", false)),
            (26 * HOUR + HOUR / 2, Action::EditRule(json!({"expedite": ["v1.2.1"]}))),
            (36 * HOUR, Action::EditRule(json!({"block": ["v1.2.1"]}))),
        ];
        Self { steps, length: 38 * HOUR, blackout: (30 * HOUR, 32 * HOUR) }
    }

    /// Returns the spec of policy `fleet` at the beginning. Evidence comes from a fifth of the canaries, and from at most
    /// twenty hosts.
    pub(crate) fn fleet(&self, over: &str, hosts: usize) -> Value {
        let evidence = (hosts / 100).clamp(1, 20);
        let at = |at: Millis| {
            let text = crate::time::timestamp(at).to_string();
            text.trim_end_matches('Z').to_owned()
        };
        let (from, to) = self.blackout;
        json!({
            "hostSelector": {},
            "rules": [{"plugins": [TOOL], "access": "Require", "versions": "^1", "updates": "Auto"}],
            "rollout": {"over": over, "canaryPercent": 5, "requireSucceeded": {"hosts": evidence, "for": "1h"}, "maxFailed": 5},
            "blackouts": [{"from": at(from), "to": at(to), "timeZone": "UTC", "reason": "freeze"}],
        })
    }

    /// Returns the spec of policy `nights`.
    pub(crate) fn nights() -> Value {
        let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        json!({
            "hostSelector": {"matchLabels": {"role": "bastion"}},
            "windows": [{"days": days, "start": "22:00", "duration": "8h", "timeZone": "UTC"}],
        })
    }

    /// Returns the spans in which something does not answer, each with whether that is the API server.
    pub(crate) fn outages(&self) -> Vec<(Millis, Millis, bool)> {
        let end = |stop: Millis, what: &Action| {
            self.steps.iter().find(|(at, action)| *at > stop && action == what).map_or(self.length, |(at, _)| *at)
        };
        let span = |(at, action): &(Millis, Action)| match action {
            Action::StopProxy => Some((*at, end(*at, &Action::StartProxy), false)),
            Action::StopApiServer => Some((*at, end(*at, &Action::StartApiServer), true)),
            _ => None,
        };
        self.steps.iter().filter_map(span).collect()
    }
}
