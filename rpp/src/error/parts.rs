//! Values in errors, and how messages show them.

use std::{fmt, time::Duration};

use d8_crds::values::name::{Component, Tag};

/// The image that a request was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The component that the image belongs to.
    pub component: Component,
    /// Tag or digest, `None` for the repository as a whole.
    pub reference: Option<String>,
}

impl ImageReference {
    pub(crate) fn repository(component: &Component) -> Self {
        Self { component: component.clone(), reference: None }
    }

    pub(crate) fn new(component: &Component, reference: &str) -> Self {
        Self { component: component.clone(), reference: Some(reference.to_owned()) }
    }

    pub(crate) fn of_tag(component: &Component, tag: &Tag) -> Self {
        Self::new(component, tag.as_str())
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.component {
            Component::D8 => f.write_str("d8")?,
            Component::Plugin(name) => write!(f, "plugin {name}")?,
        }
        match &self.reference {
            Some(reference) => write!(f, " {reference}"),
            None => Ok(()),
        }
    }
}

/// The phase of a request that took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutPhase {
    /// The TCP and TLS handshakes.
    Connect,
    /// Headers of the response.
    Response,
    /// Next bytes of the body.
    Body,
}

impl fmt::Display for TimeoutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connection",
            Self::Response => "answer",
            Self::Body => "more data",
        })
    }
}

/// Shows the message of a server after a colon, nothing if it is empty.
pub(super) struct Suffix<'a>(pub(super) &'a str);

impl fmt::Display for Suffix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Shows a duration in seconds, or in milliseconds if it is not whole seconds.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}
