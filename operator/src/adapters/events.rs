//! Publishes events through events.k8s.io. Nothing depends on them: an event that cannot be written is logged and
//! dropped.

use d8_crds::values::text::whole_code;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

use crate::decisions::event_draft::EventDraft;

/// Longest note, in bytes; the API rejects more than 1,024.
const MAX_NOTE: usize = 1000;

/// Publisher of events. A failure to publish is only logged.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
}

impl Events {
    /// Makes a publisher. `instance` names this process in the events.
    pub(crate) fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: "cli.deckhouse.io/d8-operator".to_owned(), instance };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Logs and publishes events about an object.
    pub(crate) async fn publish(&self, object: &ObjectReference, drafts: Vec<EventDraft>) {
        for draft in drafts {
            let name = object.name.as_deref().unwrap_or_default();
            let kind = object.kind.as_deref().unwrap_or_default();
            if draft.warning {
                tracing::warn!(kind, name, reason = draft.reason, action = draft.action, "{}", draft.note);
            } else {
                tracing::info!(kind, name, reason = draft.reason, action = draft.action, "{}", draft.note);
            }
            let event = Event {
                type_: if draft.warning { EventType::Warning } else { EventType::Normal },
                reason: draft.reason,
                note: Some(truncate(draft.note)),
                action: draft.action,
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, object).await {
                tracing::debug!(%error, kind, name, "the event could not be written");
            }
        }
    }
}

/// Cuts a long note, between characters and not within a command.
fn truncate(mut note: String) -> String {
    if note.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE).rev().find(|&n| note.is_char_boundary(n)).unwrap_or_default();
        note.truncate(whole_code(&note[..end]));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_notes_are_truncated_between_characters() {
        assert_eq!(truncate("short".into()), "short");
        let long = truncate("ä".repeat(600));
        assert!(long.len() <= 1024 && long.ends_with('…'));
        let command = truncate(format!("{} `kubectl annotate`", "a".repeat(990)));
        assert_eq!(command, format!("{} …", "a".repeat(990)));
    }
}
