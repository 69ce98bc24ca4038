//! Events of a policy.

use d8_crds::{decisions::validation::resume_command, records::policy::PluginPolicyStatus};

use super::waves::{WaveEvent, WaveEventKind};
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

/// Returns the event of a wave.
pub(crate) fn wave(policy: &str, event: &WaveEvent) -> EventDraft {
    let version = event.version.to_string();
    let action = format!("{} {version}", event.component);
    let why = match event.kind {
        WaveEventKind::Halted(at) => {
            let note = halted(policy, &action, &version, event.failed, &at.to_string());
            return EventDraft::warning("WaveHalted", &action, note);
        }
        WaveEventKind::ResumedByEdit => "the policy was edited",
        WaveEventKind::ResumedByAnnotation => "the policy's annotation names this halt",
    };
    let note = format!("the wave of {action} was resumed: {why}; {} on it", hosts_failed(event.failed));
    EventDraft::normal("WaveResumed", &action, note)
}

/// Returns the text of a halt and the command that resumes the wave. `subject` is component and version.
pub(super) fn halted(policy: &str, subject: &str, version: &str, failed: u32, at: &str) -> String {
    format!(
        "the wave of {subject} was halted at {at}, because {} on it; block the version, or resume the wave with `{}`",
        hosts_failed(failed),
        resume_command(policy, &version, &at)
    )
}

fn hosts_failed(failed: u32) -> String {
    if failed == 1 { "1 host failed".to_owned() } else { format!("{failed} hosts failed") }
}

#[cfg(test)]
mod tests {
    use d8_crds::values::version::Version;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn halted_and_resumed_waves_have_events() {
        let at = Timestamp::from_second(1_795_305_600).unwrap();
        for (kind, failed, summary, note) in [
            (
                WaveEventKind::Halted(at),
                3,
                "Warning WaveHalted stronghold v1.3.3",
                "the wave of stronghold v1.3.3 was halted at 2026-11-22T00:00:00Z, because 3 hosts failed on it; block \
                 the version, or resume the wave with `kubectl annotate pluginpolicy slowly --overwrite \
                 cli.deckhouse.io/resume=v1.3.3@2026-11-22T00:00:00Z`",
            ),
            (
                WaveEventKind::ResumedByAnnotation,
                1,
                "Normal WaveResumed stronghold v1.3.3",
                "the wave of stronghold v1.3.3 was resumed: the policy's annotation names this halt; 1 host failed on \
                 it",
            ),
            (
                WaveEventKind::ResumedByEdit,
                0,
                "Normal WaveResumed stronghold v1.3.3",
                "the wave of stronghold v1.3.3 was resumed: the policy was edited; 0 hosts failed on it",
            ),
        ] {
            let version = Version::parse("1.3.3").unwrap();
            let event = wave("slowly", &WaveEvent { component: "stronghold".into(), version, failed, kind });
            assert_eq!((event.summary().as_str(), event.note.as_str()), (summary, note));
        }
    }
}
