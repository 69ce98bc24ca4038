//! What errors are made of, and how it is shown.

use std::{fmt, time::Duration};

use d8_crds::values::name::{Component, Tag};

/// What a question to the proxy was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The component.
    pub component: Component,
    /// Its tag or digest; none for the tag list.
    pub reference: Option<String>,
}

impl ImageReference {
    pub(crate) fn tags(component: &Component) -> Self {
        Self { component: component.clone(), reference: None }
    }

    pub(crate) fn reference(component: &Component, reference: &str) -> Self {
        Self { component: component.clone(), reference: Some(reference.to_owned()) }
    }

    pub(crate) fn tag(component: &Component, tag: &Tag) -> Self {
        Self::reference(component, tag.as_str())
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

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutPhase {
    /// TCP and TLS.
    Connection,
    /// The answer's headers.
    Answer,
    /// More of the body.
    Data,
}

impl fmt::Display for TimeoutPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Answer => "answer",
            Self::Data => "more data",
        })
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateProblem {
    /// Signed by none that is trusted.
    UnknownIssuer,
    /// Made for other names.
    OtherHost {
        /// The names it was made for.
        presented: Vec<String>,
        /// The host asked for is an IP address, and the certificate names none.
        no_ip_names: bool,
    },
    /// Its time has passed, or is yet to come.
    Expired,
    /// Anything else.
    Other(String),
}

impl fmt::Display for CertificateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIssuer => f.write_str("signed by an authority that is not trusted here"),
            Self::OtherHost { presented, .. } if presented.is_empty() => f.write_str("made for another host"),
            Self::OtherHost { presented, .. } => write!(f, "made for {}", presented.join(", ")),
            Self::Expired => f.write_str("not valid at this time"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// A server's words behind a colon; nothing if it said nothing.
pub(super) struct Words<'a>(pub(super) &'a str);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// What stands in the executable's place.
pub(super) struct Instead(pub(super) Option<&'static str>);

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |found| write!(f, " (what bears that name is {found})"))
    }
}

/// A duration as people read it.
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
