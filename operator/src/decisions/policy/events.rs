//! Events of a policy.

use d8_crds::{
    decisions::{
        explain,
        reason::{Cause, Field, Origin, Reason, Source, Subject},
    },
    records::policy::PluginPolicyStatus,
    values::{name::Component, version::Version},
};
use jiff::Timestamp;

use super::{
    status::CONFLICT,
    waves::{WaveEvent, WaveEventKind},
};
use crate::decisions::event_draft::EventDraft;

/// Returns the event of a policy that is rejected, or accepted again.
pub(crate) fn acceptance(before: &PluginPolicyStatus, after: &PluginPolicyStatus) -> Option<EventDraft> {
    let accepted = |status: &PluginPolicyStatus| status.conditions.iter().find(|c| c.type_ == "Accepted").cloned();
    let now = accepted(after)?;
    let old = accepted(before);
    let changed = old.as_ref().is_none_or(|old| old.status != now.status || old.message != now.message);
    match now.status.as_str() {
        "False" if changed => Some(EventDraft::warning(&now.reason, "Accepted", now.message)),
        "True" if old.is_some_and(|old| old.status == "False") => {
            Some(EventDraft::normal(&now.reason, "Accepted", now.message))
        }
        _ => None,
    }
}

/// Returns the event of a policy that other policies begin to contradict, or no longer contradict.
pub(crate) fn conflict(before: &PluginPolicyStatus, after: &PluginPolicyStatus) -> Option<EventDraft> {
    let ready = |status: &PluginPolicyStatus| status.conditions.iter().find(|c| c.type_ == "Ready").cloned();
    let is_conflict = |status| ready(status).is_some_and(|ready| ready.reason == CONFLICT);
    let now = ready(after)?;
    match (is_conflict(before), is_conflict(after)) {
        (false, true) => Some(EventDraft::warning(CONFLICT, "Ready", now.message)),
        (true, false) if now.status == "True" => Some(EventDraft::normal(&now.reason, "Ready", now.message)),
        _ => None,
    }
}

/// Returns the event of a wave.
pub(crate) fn wave(policy: &str, event: &WaveEvent) -> EventDraft {
    let action = format!("{} {}", event.component.name(), event.version);
    let hosts = if event.failed == 1 { "1 host has".to_owned() } else { format!("{} hosts have", event.failed) };
    match event.kind {
        WaveEventKind::Halted(at) => {
            let note = halted(policy, &event.component, &event.version, event.failed, Some(at));
            EventDraft::warning("WaveHalted", &action, note)
        }
        WaveEventKind::Resumed => {
            let note = format!(
                "the wave of {action} was resumed: the policy's annotation names this halt; {hosts} failed on it"
            );
            EventDraft::normal("WaveResumed", &action, note)
        }
        WaveEventKind::Began => {
            let note = format!(
                "the wave of {action} has begun: the version has worked on as many hosts as the policy requires"
            );
            EventDraft::normal("WaveBegan", &action, note)
        }
    }
}

/// Returns the text of a halt, as the verdict of a host shows it.
pub(super) fn halted(
    policy: &str,
    component: &Component,
    version: &Version,
    failed: u32,
    halted_at: Option<Timestamp>,
) -> String {
    let subject =
        Subject { component: component.clone(), version: Some(version.clone()), active: None, evaluated_at: None };
    let by =
        Source::Policy { policy: policy.into(), origin: Origin::Spec(Field::Rollout), field: Some(Field::MaxFailed) };
    explain::in_record(&Reason { subject: subject.into(), cause: Cause::WaveHalted { by, halted_at, failed } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halted_and_resumed_waves_have_events() {
        let at = Timestamp::from_second(1_795_305_600).unwrap();
        for (kind, failed, summary, note) in [
            (
                WaveEventKind::Halted(at),
                3,
                "Warning WaveHalted stronghold v1.3.3",
                "policy slowly, rollout.maxFailed: the wave of stronghold v1.3.3 was halted at 2026-11-22T00:00:00Z after \
                 3 hosts failed; ask an admin to block the version, or resume the wave with `kubectl annotate \
                 pluginpolicy slowly --overwrite cli.deckhouse.io/resume=stronghold/v1.3.3@2026-11-22T00:00:00Z`",
            ),
            (
                WaveEventKind::Resumed,
                1,
                "Normal WaveResumed stronghold v1.3.3",
                "the wave of stronghold v1.3.3 was resumed: the policy's annotation names this halt; 1 host has failed \
                 on it",
            ),
            (
                WaveEventKind::Began,
                0,
                "Normal WaveBegan stronghold v1.3.3",
                "the wave of stronghold v1.3.3 has begun: the version has worked on as many hosts as the policy requires",
            ),
        ] {
            let version = Version::parse("1.3.3").unwrap();
            let event = wave("slowly", &WaveEvent { component: "stronghold".parse().unwrap(), version, failed, kind });
            assert_eq!((event.summary().as_str(), event.note.as_str()), (summary, note));
        }
    }
}
