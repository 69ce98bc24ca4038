//! Events through events.k8s.io. They are news, not state: one that can't be written is logged and
//! forgotten.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};

/// Longest note, in bytes; the API refuses more than 1,024.
const MAX_NOTE: usize = 1000;

/// A piece of news about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    warning: bool,
    reason: String,
    /// What it is about: a version, or a condition. Repeats of an event are told apart by it, since
    /// the note itself is not part of their key.
    about: String,
    text: String,
}

impl Note {
    /// As things should go.
    pub(crate) fn normal(reason: &str, about: &str, text: String) -> Self {
        Self { warning: false, reason: reason.to_owned(), about: about.to_owned(), text }
    }

    /// Something for a person to look at.
    pub(crate) fn warning(reason: &str, about: &str, text: String) -> Self {
        Self { warning: true, ..Self::normal(reason, about, text) }
    }

    /// The text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Everything but the text.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> String {
        format!("{} {} {}", if self.warning { "Warning" } else { "Normal" }, self.reason, self.about)
    }
}

/// Writes events.
#[derive(Clone)]
pub(crate) struct Events {
    recorder: Recorder,
}

impl Events {
    /// `instance` names this process in the events.
    pub(crate) fn new(client: Client, instance: Option<String>) -> Self {
        let reporter = Reporter { controller: "cli.deckhouse.io/d8-operator".to_owned(), instance };
        Self { recorder: Recorder::new(client, reporter) }
    }

    /// Logs and publishes notes about an object.
    pub(crate) async fn publish(&self, object: &ObjectReference, notes: Vec<Note>) {
        for note in notes {
            let name = object.name.as_deref().unwrap_or_default();
            let kind = object.kind.as_deref().unwrap_or_default();
            if note.warning {
                tracing::warn!(kind, name, reason = note.reason, about = note.about, "{}", note.text);
            } else {
                tracing::info!(kind, name, reason = note.reason, about = note.about, "{}", note.text);
            }
            let event = Event {
                type_: if note.warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason,
                note: Some(cut(note.text)),
                action: note.about,
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, object).await {
                tracing::debug!(%error, kind, name, "an event could not be written");
            }
        }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_NOTE {
        let end = (0..=MAX_NOTE).rev().find(|&n| text.is_char_boundary(n)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_cut_at_characters() {
        assert_eq!(cut("short".into()), "short");
        let long = cut("ä".repeat(600));
        assert!(long.len() <= 1024 && long.ends_with('…'));
    }
}
