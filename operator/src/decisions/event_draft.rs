//! An event about an object, before it is published.

/// An event without the object and the publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventDraft {
    /// Whether the event has type `Warning` instead of `Normal`.
    pub(crate) warning: bool,
    /// One word in CamelCase, such as `WaveHalted`.
    pub(crate) reason: String,
    /// What the event is about: a version or a condition. It becomes the event's `action`. The API server counts
    /// repeats by reason and action and ignores the note, so events about two versions need two actions.
    pub(crate) action: String,
    /// Text for people. It is cut when the event is published.
    pub(crate) note: String,
}

impl EventDraft {
    /// Makes an event of type `Normal`.
    pub(crate) fn normal(reason: &str, action: &str, note: String) -> Self {
        Self { warning: false, reason: reason.to_owned(), action: action.to_owned(), note }
    }

    /// Makes an event of type `Warning`: a person should look at the object.
    pub(crate) fn warning(reason: &str, action: &str, note: String) -> Self {
        Self { warning: true, ..Self::normal(reason, action, note) }
    }

    /// Returns type, reason and action, separated by spaces.
    #[cfg(test)]
    pub(crate) fn summary(&self) -> String {
        format!("{} {} {}", if self.warning { "Warning" } else { "Normal" }, self.reason, self.action)
    }
}
