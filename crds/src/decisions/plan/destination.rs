//! Where a plan leads one component: the one rule of what the target of a host is.

use super::Outcome;
use crate::{
    decisions::verdict::{Class, Verdict},
    values::version::Version,
};

/// Where the plan for a host leads one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'o> {
    /// The version is installed now.
    Takes(&'o Version),
    /// A policy forbids the active version, and there is no version to replace it with.
    MustGo,
    /// The version is installed when its hold ends. The verdict says what holds it.
    Waits(&'o Version, &'o Verdict),
    /// The active version stays.
    Stays(&'o Version),
    /// No version is active, or it is unknown, and none can be installed.
    Nowhere,
}

impl<'o> Destination<'o> {
    /// Returns the version that is installed now, or when its hold ends, or that stays.
    pub fn target(self) -> Option<&'o Version> {
        match self {
            Self::Takes(version) | Self::Waits(version, _) | Self::Stays(version) => Some(version),
            Self::MustGo | Self::Nowhere => None,
        }
    }
}

impl Outcome {
    /// Returns where the plan leads the component. `forbidden`: a policy forbids the active version.
    pub fn destination<'o>(&'o self, active: Option<&'o Version>, forbidden: bool) -> Destination<'o> {
        match self {
            Self::Take { version, .. } => Destination::Takes(&version.version),
            _ if forbidden => Destination::MustGo,
            _ => match (self.held(), active) {
                (Some((version, verdict)), _) => Destination::Waits(version, verdict),
                (None, Some(active)) => Destination::Stays(active),
                (None, None) => Destination::Nowhere,
            },
        }
    }

    /// Returns the newest version that is held.
    fn held(&self) -> Option<(&Version, &Verdict)> {
        let unchecked = match self {
            Self::Unchecked { version, verdict, .. } => Some((version, verdict)),
            _ => None,
        };
        let tried = self.passed_over().iter().map(|(version, verdict)| (version, verdict)).chain(unchecked);
        let mut held = tried.filter(|(_, verdict)| verdict.class() == Class::Held);
        held.next().map(|(published, verdict)| (&published.version, verdict))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::decisions::{
        reason::{Cause, Reason, Subject},
        selection::{NoCandidate, PublishedVersion},
    };

    fn published(version: &str) -> PublishedVersion {
        PublishedVersion {
            tag: version.parse().unwrap(),
            registry_tag: version.parse().unwrap(),
            version: version.parse().unwrap(),
        }
    }

    fn verdict(cause: Cause) -> Verdict {
        let subject = Subject { component: "tool".parse().unwrap(), version: None, active: None, evaluated_at: None };
        Verdict::new(vec![Reason { subject: Arc::new(subject), cause }])
    }

    #[test]
    fn where_outcomes_lead() {
        let active: Version = "v1.0.0".parse().unwrap();
        let (held, other) = (verdict(Cause::PreRelease), Verdict::default());
        let passed_over = vec![(published("v1.3.0"), other), (published("v1.2.0"), held.clone())];
        let keep = |passed_over: &[_]| Outcome::Keep { forbidden: false, passed_over: passed_over.to_vec() };
        let take = Outcome::Take { version: published("v1.1.0"), passed_over: passed_over.clone() };
        let nothing = Outcome::Nothing { why: NoCandidate::AllPassedOver, major: None, passed_over: Vec::new() };
        for (outcome, active, forbidden, expected, target) in [
            (&take, Some(&active), true, Destination::Takes(&"v1.1.0".parse().unwrap()), Some("v1.1.0")),
            (&keep(&passed_over), Some(&active), true, Destination::MustGo, None),
            (
                &keep(&passed_over),
                Some(&active),
                false,
                Destination::Waits(&"v1.2.0".parse().unwrap(), &held),
                Some("v1.2.0"),
            ),
            (&keep(&passed_over[..1]), Some(&active), false, Destination::Stays(&active), Some("v1.0.0")),
            (&nothing, None, false, Destination::Nowhere, None),
        ] {
            let found = outcome.destination(active, forbidden);
            assert_eq!(found, expected, "{outcome:?}");
            assert_eq!(found.target().map(ToString::to_string).as_deref(), target);
        }
    }
}
