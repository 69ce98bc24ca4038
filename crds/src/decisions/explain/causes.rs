//! The sentence of each cause, in three groups: what rules a version out, what holds it, and what waits for
//! a time or a record.

mod forbidding;
mod holding;
mod timing;

pub use self::holding::policy_problem;
use super::{Audience, commands, conflicts, explainer::Explainer, requirements};
use crate::decisions::{
    reason::{Cause, Reason},
    requirements::{Requirement, Unchecked, Unmet},
};

pub(super) fn explain(reason: &Reason, audience: Audience<'_>) -> String {
    let sentence = Explainer { subject: &reason.subject, audience }.cause(&reason.cause);
    let prefix = match &reason.cause {
        Cause::InvalidPolicy { policy, .. } => format!("policy {policy}: "),
        Cause::Plugins(conflict) => conflicts::prefix(conflict),
        cause => cause.source().map(|source| format!("{source}: ")).unwrap_or_default(),
    };
    let message = reason.cause.policy_message().map(|message| format!(" ({message})")).unwrap_or_default();
    format!("{prefix}{sentence}{message}")
}

impl Explainer<'_> {
    fn cause(&self, cause: &Cause) -> String {
        match cause {
            Cause::Denied { by, .. } => self.denied(by),
            Cause::Blocked { range, same_layer_as, .. } => self.blocked(range.as_deref(), same_layer_as.as_deref()),
            Cause::VersionNotPermitted { constraint, .. } => self.version_not_permitted(constraint),
            Cause::BelowMinimum { minimum, .. } => self.below_minimum(minimum),
            Cause::NotPinned { digest, .. } => self.not_pinned(digest),
            Cause::ChannelNotPermitted { .. } => self.channel_not_permitted(),
            Cause::Unmet(unmet) => self.unmet(unmet),
            Cause::Unchecked(unchecked) => self.unchecked(unchecked),
            Cause::Plugins(conflict) => conflicts::explain(self.subject, conflict, self.audience),
            Cause::TagMoved { by, from, to } => self.tag_moved(by.is_some(), from, to),
            Cause::Paused { .. } => self.paused(),
            Cause::InvalidPolicy { problem, .. } => holding::invalid_policy(problem),
            Cause::Frozen { .. } => self.frozen(),
            Cause::Manual { by } => self.manual(by.is_some()),
            Cause::Soaking { min_age, first_seen, expedited, .. } => {
                self.soaking(*min_age, *first_seen, *expedited, cause.until())
            }
            Cause::NoRecord { missing, .. } => self.no_record(*missing),
            Cause::RecordStale { last_sync_time, .. } => self.record_stale(*last_sync_time),
            Cause::NotInWave { over, until, .. } => self.not_in_wave(*over, *until),
            Cause::AwaitingEvidence { hosts, stable_for, succeeded, .. } => {
                self.awaiting_evidence(*hosts, *stable_for, *succeeded)
            }
            Cause::WaveHalted { by, halted_at, failed } => self.wave_halted(by.policy(), *halted_at, *failed),
            Cause::OutsideWindow { together, everyone, until, .. } => self.outside_window(*together, *everyone, *until),
            Cause::Blackout { blackout, everyone, until, .. } => self.blackout(blackout.to, *everyone, *until),
            Cause::WindowsNeverMeet { policies, everyone } => self.windows_never_meet(policies, *everyone),
            Cause::PolicyStale { confirmed } => self.policy_stale(*confirmed),
            Cause::PolicyNotObserved { generation, observed_generation, .. } => {
                timing::policy_not_observed(*generation, *observed_generation)
            }
            Cause::MajorStays { by } => self.major_stays(by.is_some()),
            Cause::PreRelease => self.pre_release(),
            Cause::NotGoverned => self.not_governed(),
            Cause::ClockSkew(skew) => skew.to_string(),
            Cause::PolicyUnaware => self.policy_unaware(),
            Cause::Required { .. } => self.required(),
        }
    }

    fn unmet(&self, unmet: &Unmet) -> String {
        let other = self.run_why("; ", "find another version");
        format!("{} {}{other}", self.version(), requirements::unmet(unmet))
    }

    fn unchecked(&self, unchecked: &Unchecked) -> String {
        let component = &self.subject.component;
        let next = match unchecked {
            Unchecked::Recorded { .. } => format!("ask an admin to check `kubectl describe clirelease {component}`"),
            Unchecked::ClusterUnreadable { requirement, .. } => {
                format!("see why: `{}`", commands::read_fact(requirement))
            }
            Unchecked::PluginVersionUnknown { requirement } => match requirement {
                Requirement::Plugin { plugin, .. } if self.audience.host.is_none() => {
                    format!("repair it: `d8 plugins install {plugin}`")
                }
                _ => match self.audience.host {
                    None => "see what is installed: `d8 plugins list`".to_owned(),
                    Some(host) => format!("see what is installed: `kubectl get clihost {host} -o yaml`"),
                },
            },
            Unchecked::BadConstraint { .. } | Unchecked::ContractUnreadable { .. } => {
                let other = self.run_why(", or ", "find another version");
                format!("ask the publisher of {component} to correct it{other}")
            }
        };
        format!("{} {}; {next}", self.version(), requirements::unchecked(unchecked))
    }
}
