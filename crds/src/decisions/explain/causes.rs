//! One sentence a cause.

use std::time::Duration;

use jiff::Timestamp;

use super::{Audience, commands, conflicts, requirements};
use crate::{
    decisions::{
        reason::{Cause, MissingRecord, PolicyProblem, Reason, Subject},
        validation::resume_command,
    },
    values::{digest::Digest, duration::FormattedDuration, text::printable},
};

pub(super) fn explain(reason: &Reason, audience: Audience) -> String {
    let about = About { subject: &reason.subject, audience };
    let what = about.cause(&reason.cause);
    let prefix = match &reason.cause {
        Cause::InvalidPolicy { policy, .. } => format!("policy {policy}: "),
        Cause::Plugins(conflict) => conflicts::prefix(conflict),
        cause => cause.source().map(|source| format!("{source}: ")).unwrap_or_default(),
    };
    let message = reason.cause.policy_message().map(|message| format!(" ({message})")).unwrap_or_default();
    format!("{prefix}{what}{message}")
}

/// What a sentence is about, and for whom it is.
struct About<'a> {
    subject: &'a Subject,
    audience: Audience,
}

impl About<'_> {
    #[allow(clippy::too_many_lines, reason = "one arm a cause")]
    fn cause(&self, cause: &Cause) -> String {
        let (name, version) = (&self.subject.component, self.version());
        let (why, update) = (commands::why(name), commands::update(self.subject));
        match cause {
            Cause::Denied { by: crate::decisions::reason::Source::LocalRules { .. }, .. } => {
                format!("{name} is refused on this host; ask the owner of this host to allow it")
            }
            Cause::Denied { .. } if self.subject.active.is_some() => format!(
                "{name} is denied on this host; remove it with `{}`, or ask an admin to allow it",
                commands::remove(name)
            ),
            Cause::Denied { .. } => format!(
                "{name} is denied on this host; ask an admin to allow it, or to exclude this host from the policy"
            ),
            Cause::Blocked { .. } => format!("{version} is blocked; {}", self.other_version()),
            Cause::VersionNotPermitted { constraint, .. } => format!(
                "{version} is outside `{constraint}`; run `{why}` to see the permitted versions, or ask an admin for a \
                 wider range"
            ),
            Cause::BelowMinimum { minimum, .. } => {
                format!("{version} is below the minimum {minimum}; {}", self.other_version())
            }
            Cause::NotPinned { digest, .. } => format!(
                "{version} is pinned to {} but published with another digest; ask its publisher about the change, then \
                 have an admin pin the new digest, or run `{why}` to find another version",
                digest.short()
            ),
            Cause::ChannelNotPermitted { .. } => {
                format!("{version} is a pre-release and the channel is Stable; run `{why}` to find a release")
            }
            Cause::Unmet(unmet) => format!("{version} {}", requirements::unmet(unmet)),
            Cause::Unchecked(unchecked) => format!("{version} {}", requirements::unchecked(unchecked)),
            Cause::Plugins(conflict) => conflicts::explain(self.subject, conflict, self.audience),
            Cause::TagMoved { by, from, to } => format!(
                "the tag of {version} moved from {} to {}{}; ask its publisher about the change, then have an admin pin \
                 the new digest",
                short(from),
                short(to),
                if by.is_some() { "" } else { ", and no policy sets `integrity.movedTags: Soak`" }
            ),
            Cause::Paused { .. } => match &self.subject.active {
                Some(active) => format!(
                    "all changes on this host are paused; {name} {active} keeps running; ask an admin to set `paused: \
                     false`"
                ),
                None => format!(
                    "all changes on this host are paused; ask an admin to set `paused: false`, then run `{update}`"
                ),
            },
            Cause::InvalidPolicy { problem, .. } => invalid(problem),
            Cause::Frozen { .. } => {
                let at = self.subject.active.as_ref().map(|active| format!(" at {active}")).unwrap_or_default();
                format!("{name} is frozen{at}; ask an admin for `updates: Manual` to replace it")
            }
            Cause::Manual { by } => {
                let unset = if by.is_some() { "" } else { "no policy sets `updates`, so " };
                format!("{unset}updates of {name} are manual; run `{update}`")
            }
            Cause::Soaking { min_age, first_seen, until, .. } => {
                let end = match until {
                    Some(until) => format!("until {}", self.at(*until)),
                    None => "which never ends".to_owned(),
                };
                format!(
                    "{version} was first seen at {first_seen:.0} and must soak for {}, {end}; wait, or ask an admin to \
                     expedite it",
                    FormattedDuration(*min_age)
                )
            }
            Cause::NoRecord { missing, .. } => self.no_record(*missing),
            Cause::RecordStale { last_sync_time, .. } => {
                let synced = match last_sync_time {
                    Some(synced) => format!("was last synced {}", self.since(*synced)),
                    None => "was never synced".to_owned(),
                };
                format!(
                    "the record of {name} {synced}, and this rule needs one from the last 24h; have an admin check \
                     `kubectl describe clirelease {name}`"
                )
            }
            Cause::NotInWave { over, until, .. } => {
                let reach = match until {
                    Some(until) => format!("reaches this host {}", self.when(*until)),
                    None => "never reaches this host".to_owned(),
                };
                format!(
                    "the wave of {version} takes {} and {reach}; wait, or install it now with `{}`",
                    FormattedDuration(*over),
                    commands::take(self.subject)
                )
            }
            Cause::WaveHalted { by, halted_at, failed } => self.halted(by.policy(), *halted_at, *failed),
            Cause::OutsideWindow { together, until, .. } => {
                let opening =
                    if *together { "the windows of all policies open together" } else { "the next one opens" };
                format!("no window is open; {opening} {}; wait, or run `{update}`", self.when(*until))
            }
            Cause::WindowsNeverMeet { policies } => {
                let of = match policies.as_ref() {
                    [one] => format!("policy {one} do not open"),
                    policies => format!("policies {} are never open together", policies.join(", ")),
                };
                format!("the windows of {of} within 400 days; have an admin make them overlap, or run `{update}`")
            }
            Cause::PolicyStale { confirmed } => {
                let seen = match confirmed {
                    Some(confirmed) => format!("last confirmed {}", self.since(*confirmed)),
                    None => "never confirmed".to_owned(),
                };
                format!(
                    "the policies were {seen}, and the agent needs a confirmation from the last 10m; run `kubectl get \
                     --raw=/readyz` to see whether the API server answers"
                )
            }
            Cause::PolicyNotObserved { generation, observed_generation, .. } => {
                let seen = match observed_generation {
                    Some(observed) => format!("has processed generation {observed} of this policy, not {generation}"),
                    None => format!("has not processed this policy, which is at generation {generation}"),
                };
                format!("the operator {seen}; wait a minute, then have an admin check d8-operator")
            }
            Cause::MajorStays { by } => {
                let unset = if by.is_some() { "" } else { "no policy sets `majorUpdates: Cross`, and " };
                let installed = self.subject.active.as_ref().map(ToString::to_string).unwrap_or_default();
                format!(
                    "{unset}{version} has another major version than the installed {installed}; run `{}` to cross to it",
                    commands::take(self.subject)
                )
            }
            Cause::PreRelease => {
                format!("{version} is a pre-release; install it by name with `{}`", commands::take(self.subject))
            }
            Cause::NotGoverned => format!(
                "no policy applies to this host, so the agent does not change {name}; add a PluginPolicy whose \
                 hostSelector matches the host"
            ),
            Cause::ClockSkew(skew) => skew.to_string(),
            Cause::PolicyUnaware => format!(
                "{version} does not support policies, and policies apply to this host; run `{why}` to find another \
                 version, or accept it with `{} --allow-ungoverned`",
                commands::take(self.subject)
            ),
            Cause::Required { .. } => {
                format!("{name} is required on this host; ask an admin to change the rule before you remove it")
            }
        }
    }

    /// Returns component and version.
    fn version(&self) -> String {
        let name = &self.subject.component;
        match &self.subject.version {
            Some(version) => format!("{name} {version}"),
            None => name.to_string(),
        }
    }

    /// Returns how to get another version than the one in question.
    fn other_version(&self) -> String {
        if self.subject.version.is_some() && self.subject.version == self.subject.active {
            format!("replace it with `{}`", commands::update(self.subject))
        } else {
            format!("run `{}` to find another version", commands::why(&self.subject.component))
        }
    }

    fn no_record(&self, missing: MissingRecord) -> String {
        let (name, version) = (&self.subject.component, self.version());
        match missing {
            MissingRecord::Record => format!(
                "this rule needs a record of {name}, and there is none; have an admin create it: `{}`",
                commands::create_record(name)
            ),
            MissingRecord::Version => format!(
                "this rule needs a record of {version}, and the record of {name} does not list that version; have an \
                 admin widen channel, versions or history: `kubectl edit clirelease {name}`"
            ),
            MissingRecord::Data => format!(
                "the record of {name} lacks data about {version} that this rule needs; have an admin check `kubectl \
                 describe clirelease {name}`"
            ),
        }
    }

    fn halted(&self, policy: &str, at: Option<Timestamp>, failed: u32) -> String {
        let hosts = match failed {
            0 => String::new(),
            1 => " after 1 host failed".to_owned(),
            failed => format!(" after {failed} hosts failed"),
        };
        let (when, resume) = match (at, &self.subject.version) {
            (Some(at), Some(version)) => {
                (format!(" at {at:.0}"), resume_command(policy, version, &format_args!("{at:.0}")))
            }
            _ => (String::new(), format!("kubectl edit pluginpolicy {policy}")),
        };
        format!(
            "the wave of {} was halted{when}{hosts}; have an admin block the version, or resume the wave with `{resume}`",
            self.version()
        )
    }

    /// Returns the time that a text may count from.
    fn now(&self) -> Option<Timestamp> {
        self.subject.evaluated_at.filter(|_| self.audience == Audience::Terminal)
    }

    /// `2026-11-23T12:00:00Z (24h left)`.
    fn at(&self, end: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("{end:.0} ({} left)", how_long(now, end)),
            None => format!("{end:.0}"),
        }
    }

    /// `in 24h, at 2026-11-23T12:00:00Z`.
    fn when(&self, instant: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("in {}, at {instant:.0}", how_long(now, instant)),
            None => format!("at {instant:.0}"),
        }
    }

    /// `24h ago, at 2026-11-21T12:00:00Z`.
    fn since(&self, instant: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("{} ago, at {instant:.0}", how_long(instant, now)),
            None => format!("at {instant:.0}"),
        }
    }
}

/// Explains everything that is wrong with a policy.
pub fn policy_problem(problem: &PolicyProblem) -> String {
    match problem {
        PolicyProblem::Unreadable { why } => format!("this d8 cannot read it: {why}"),
        PolicyProblem::Invalid { errors } => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

fn invalid(problem: &PolicyProblem) -> String {
    match problem {
        PolicyProblem::Unreadable { why } => {
            format!("this d8 cannot read the policy ({why}); run `d8 cli update`, or have an admin correct the policy")
        }
        PolicyProblem::Invalid { errors } => {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            let more = match errors.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            format!("the policy is invalid and acts as paused; have an admin correct {first}{more}")
        }
    }
}

/// Shortens a digest of a record, which may be malformed.
fn short(digest: &str) -> String {
    digest.parse::<Digest>().map_or_else(|_| printable(digest).into_owned(), |digest| digest.short().to_owned())
}

/// Returns the time between two instants in whole seconds, from an hour on in whole minutes, rounded up.
fn how_long(from: Timestamp, to: Timestamp) -> FormattedDuration {
    let between = to.duration_since(from).unsigned_abs();
    let seconds = between.as_secs() + u64::from(between.subsec_nanos() > 0);
    let seconds = if seconds < 3600 { seconds } else { seconds.next_multiple_of(60) };
    FormattedDuration(Duration::from_secs(seconds))
}
