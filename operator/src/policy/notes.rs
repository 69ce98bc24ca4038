//! What is told of policies in events. No IO.

use d8_crds::{decisions::validation::resume_command, records::policy::PluginPolicyStatus};

use super::waves::{Happened, News};
use crate::events::Note;

/// A policy that is not accepted, or is again.
pub(super) fn acceptance(before: &PluginPolicyStatus, after: &PluginPolicyStatus) -> Option<Note> {
    let accepted = |status: &PluginPolicyStatus| status.conditions.iter().find(|c| c.type_ == "Accepted").cloned();
    let now = accepted(after)?;
    let old = accepted(before);
    let turned = old.as_ref().is_none_or(|old| old.status != now.status || old.message != now.message);
    match now.status.as_str() {
        "False" if turned => Some(Note::warning(&now.reason, "Accepted", now.message)),
        "True" if old.is_some_and(|old| old.status == "False") => {
            Some(Note::normal(&now.reason, "Accepted", now.message))
        }
        _ => None,
    }
}

/// What happened to a wave.
pub(super) fn wave(policy: &str, news: &News) -> Note {
    let version = news.version.to_string();
    let about = format!("{} {version}", news.component);
    let why = match news.what {
        Happened::Halted(at) => {
            let text = halt(policy, &about, &version, news.failed, &at.to_string());
            return Note::warning("WaveHalted", &about, text);
        }
        Happened::ResumedByEdit => "the policy was edited",
        Happened::ResumedByAnnotation => "the annotation names its halt",
    };
    let text = format!("the wave of {about} goes on: {why}; {} on it", hosts_fail(news.failed));
    Note::normal("WaveResumed", &about, text)
}

/// A halt, and what to do about it. `about` is component and version.
pub(super) fn halt(policy: &str, about: &str, version: &str, failed: u32, at: &str) -> String {
    format!(
        "the wave of {about} was halted at {at}, {} on it; block the version, or resume the wave with `{}`",
        hosts_fail(failed),
        resume_command(policy, &version, &at)
    )
}

fn hosts_fail(failed: u32) -> String {
    if failed == 1 { "1 host fails".to_owned() } else { format!("{failed} hosts fail") }
}

#[cfg(test)]
mod tests {
    use d8_crds::values::version::Version;
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn what_is_told_of_waves() {
        let at = Timestamp::from_second(1_795_305_600).unwrap();
        for (what, failed, summary, text) in [
            (
                Happened::Halted(at),
                3,
                "Warning WaveHalted stronghold v1.3.3",
                "the wave of stronghold v1.3.3 was halted at 2026-11-22T00:00:00Z, 3 hosts fail on it; block the \
                 version, or resume the wave with `kubectl annotate pluginpolicy slowly --overwrite \
                 cli.deckhouse.io/resume=v1.3.3@2026-11-22T00:00:00Z`",
            ),
            (
                Happened::ResumedByAnnotation,
                1,
                "Normal WaveResumed stronghold v1.3.3",
                "the wave of stronghold v1.3.3 goes on: the annotation names its halt; 1 host fails on it",
            ),
            (
                Happened::ResumedByEdit,
                0,
                "Normal WaveResumed stronghold v1.3.3",
                "the wave of stronghold v1.3.3 goes on: the policy was edited; 0 hosts fail on it",
            ),
        ] {
            let version = Version::parse("1.3.3").unwrap();
            let note = wave("slowly", &News { component: "stronghold".into(), version, failed, what });
            assert_eq!((note.summary().as_str(), note.text()), (summary, text));
        }
    }
}
