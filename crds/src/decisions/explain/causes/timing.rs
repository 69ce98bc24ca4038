//! Sentences about causes that end with time: ages, waves, windows, and records and policies that must be recent.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::super::{commands, explainer::Explainer};
use crate::{
    decisions::{reason::MissingRecord, validation::resume_command},
    values::{duration::FormattedDuration, version::Version},
};

impl Explainer<'_> {
    pub(super) fn soaking(
        &self,
        min_age: Duration,
        first_seen: Timestamp,
        expedited: bool,
        until: Option<Timestamp>,
    ) -> String {
        let end = match until {
            Some(until) => format!("until {}", self.at(until)),
            None => "which never ends".to_owned(),
        };
        let (moved, admin) = if expedited {
            ("; its tag moved, so `expedite` lifts this only if a pin has its digest", "pin the digest")
        } else {
            ("", "expedite it")
        };
        format!(
            "{} was first seen at {first_seen:.0} and must soak for {}, {end}{moved}; wait, or ask an admin to {admin}",
            self.version(),
            FormattedDuration(min_age)
        )
    }

    /// Returns whether the reason is about a pre-release.
    fn names_prerelease(&self) -> bool {
        self.subject.version.as_ref().is_some_and(Version::is_prerelease)
    }

    pub(super) fn no_record(&self, missing: MissingRecord) -> String {
        let (name, version) = (&self.subject.component, self.version());
        match missing {
            MissingRecord::Record => format!(
                "this rule needs a record of {name}, and there is none; ask an admin to create it: `{}`",
                commands::create_record_with(name, self.subject.version.as_ref())
            ),
            MissingRecord::Version if self.names_prerelease() => format!(
                "this rule needs a record of {version}, and the record of {name} does not list that pre-release; ask \
                 an admin to list pre-releases: `{}`, or to widen versions or history",
                commands::list_prereleases(name)
            ),
            MissingRecord::Version => format!(
                "this rule needs a record of {version}, and the record of {name} does not list that version; ask an \
                 admin to widen channel, versions or history: `kubectl edit clirelease {name}`"
            ),
            MissingRecord::Data => format!(
                "the record of {name} lacks data about {version} that this rule needs; ask an admin to check `kubectl \
                 describe clirelease {name}`"
            ),
        }
    }

    pub(super) fn record_stale(&self, last_sync_time: Option<Timestamp>) -> String {
        let name = &self.subject.component;
        let synced = match last_sync_time {
            Some(synced) => format!("was last synced {}", self.since(synced)),
            None => "was never synced".to_owned(),
        };
        format!(
            "the record of {name} {synced}, and this rule needs one from the last 24h; ask an admin to check `kubectl \
             describe clirelease {name}`"
        )
    }

    pub(super) fn not_in_wave(&self, over: Duration, until: Option<Timestamp>) -> String {
        let reach = match until {
            Some(until) => format!("reaches this host {}", self.when(until)),
            None => "never reaches this host".to_owned(),
        };
        let take = self.here(|| format!("; wait, or install it now with `{}`", commands::take(self.subject)));
        format!("the wave of {} takes {} and {reach}{take}", self.version(), FormattedDuration(over))
    }

    pub(super) fn awaiting_evidence(&self, hosts: u32, stable_for: Duration, succeeded: u32) -> String {
        let on = if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") };
        let take = self.here(|| format!("; wait, or install it now with `{}`", commands::take(self.subject)));
        format!(
            "{} must first have worked on {on} for {}, and has on {succeeded} so far{take}",
            self.version(),
            FormattedDuration(stable_for)
        )
    }

    pub(super) fn wave_halted(&self, policy: &str, at: Option<Timestamp>, failed: u32) -> String {
        let hosts = match failed {
            0 => String::new(),
            1 => " after 1 host failed".to_owned(),
            failed => format!(" after {failed} hosts failed"),
        };
        let (when, resume) = match (at, &self.subject.version) {
            (Some(at), Some(version)) => {
                let halted_at = format_args!("{at:.0}");
                (format!(" at {halted_at}"), resume_command(policy, &self.subject.component, version, &halted_at))
            }
            _ => (String::new(), format!("kubectl edit pluginpolicy {policy}")),
        };
        format!(
            "the wave of {} was halted{when}{hosts}; ask an admin to block the version, or resume the wave with `{resume}`",
            self.version()
        )
    }

    pub(super) fn outside_window(&self, together: bool, everyone: bool, until: Timestamp) -> String {
        let opening = if together { "all policies permit switches" } else { "the next switch may begin" };
        let instead = self.instead_of_waiting(everyone, "expedite it");
        format!("no window is open; {opening} {}{instead}", self.when(until))
    }

    pub(super) fn blackout(&self, to: Timestamp, everyone: bool, until: Option<Timestamp>) -> String {
        let next = match until {
            Some(until) if until == to => String::new(),
            Some(until) => format!("; the next switch may begin {}", self.when(until)),
            None => "; no switch may begin within 400 days".to_owned(),
        };
        let instead = self.instead_of_waiting(everyone, "end the blackout");
        format!("a blackout lasts until {}{next}{instead}", self.at(to))
    }

    pub(super) fn windows_never_meet(&self, policies: &[Arc<str>], everyone: bool) -> String {
        let of = if policies.len() == 1 { "policy" } else { "policies" };
        let update = || self.here(|| format!(", or run `{}`", commands::update(self.subject)));
        let or_update = if everyone { String::new() } else { update() };
        format!(
            "windows and blackouts of {of} {} permit no switch within 400 days; ask an admin to change them{or_update}",
            policies.join(", ")
        )
    }

    /// Returns what a person can do about a gate that does not hold people, or else what an admin can do.
    fn instead_of_waiting(&self, everyone: bool, admin: &str) -> String {
        if everyone {
            format!("; wait, or ask an admin to {admin}")
        } else {
            self.here(|| format!("; wait, or run `{}`", commands::update(self.subject)))
        }
    }

    pub(super) fn policy_stale(&self, confirmed: Option<Timestamp>) -> String {
        let seen = match confirmed {
            Some(confirmed) => format!("last confirmed {}", self.since(confirmed)),
            None => "never confirmed".to_owned(),
        };
        format!(
            "the policies were {seen}, and the agent needs a confirmation from the last 10m; run `kubectl get \
             --raw=/readyz` to see whether the API server answers"
        )
    }
}

pub(super) fn policy_not_observed(generation: i64, observed_generation: Option<i64>) -> String {
    let seen = match observed_generation {
        Some(observed) => format!("has processed generation {observed} of this policy, not {generation}"),
        None => format!("has not processed this policy, which is at generation {generation}"),
    };
    format!("the operator {seen}; wait a minute, then ask an admin to run `kubectl -n d8-operator get pods`")
}
