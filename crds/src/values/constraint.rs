//! Version constraints of contracts, policies and records.
//!
//! They have the meaning that Go's Masterminds/semver v3.3.1 gives them, with all its quirks, because
//! existing contracts are written and tested against that library. The one deviation: the empty text means
//! any version.
//!
//! `grammar` splits a constraint into terms, `comparator` defines what one term matches, `satisfiable` finds constraints
//! that no version meets, and `lint` finds terms that people may misunderstand.

mod comparator;
mod grammar;
mod lint;
mod satisfiable;

use std::{fmt, str::FromStr};

use crate::values::{
    channel::Channel,
    limits,
    text::{printable, printable_to},
    version::Version,
};
use comparator::Comparator;
pub(crate) use satisfiable::representatives;
pub use satisfiable::satisfiable;

/// A version constraint: one of its alternatives must match, and an alternative matches if all its
/// comparators do.
#[derive(Debug, Clone)]
pub struct Constraint {
    text: String,
    /// `None` matches any version.
    alternatives: Option<Vec<Vec<Comparator>>>,
}

/// A text that is not a version constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a version constraint: {why}")]
pub struct ConstraintError {
    /// The given text, printable.
    pub text: String,
    /// The rule that the text breaks.
    pub why: &'static str,
}

impl Constraint {
    /// Parses a constraint. The empty text means any version; a text of spaces is an error.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let alternatives = if text.is_empty() {
            None
        } else {
            let alternatives = parse_alternatives(text)
                .map_err(|why| ConstraintError { text: printable_to(text, limits::REFUSED_TEXT).into_owned(), why })?;
            Some(alternatives)
        };
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// Returns whether a version meets the constraint. A comparator refuses every pre-release unless the
    /// version in the comparator is a pre-release, too. The exception is `!=` with a full version.
    pub fn matches(&self, version: &Version) -> bool {
        self.all_hold(|comparator| comparator.matches(version))
    }

    /// Returns whether a policy or a record with this constraint permits a version on a channel
    /// (`docs/policies.md`, rule 11).
    ///
    /// On [`Channel::Stable`] the result is that of [`Constraint::matches`]. On [`Channel::Prerelease`] a
    /// pre-release is compared as its release: `<2` excludes `2.0.0-rc.1`, and `>=1.2` includes
    /// `1.2.0-rc.1`. Only `=` and `!=` with a full version compare the pre-release itself: `=1.2.3` excludes
    /// `1.2.3-rc.1`. The same holds for bounds that are pre-releases: `>=1.2.3-rc.2` includes `1.2.3-rc.1`,
    /// and [`Constraint::lint`] warns about it.
    pub fn permits(&self, version: &Version, channel: Channel) -> bool {
        if channel == Channel::Stable || !version.is_prerelease() {
            return self.matches(version);
        }
        let release = version.release();
        self.all_hold(|comparator| comparator.matches(if comparator.is_exact() { version } else { &release }))
    }

    /// Returns whether a `block` with this constraint takes a version (`docs/policies.md`, rule 6). Pre-releases are
    /// ordered as all versions are: `<1.4` covers `1.4.0-rc.1`, and `1.3.x` covers `1.3.0-rc.1`.
    pub fn covers(&self, version: &Version) -> bool {
        self.all_hold(|comparator| comparator.covers(version))
    }

    /// Returns whether no version at all meets the constraint on a channel, as [`Constraint::permits`] reads it. An
    /// example is `>=2 <1`.
    pub fn is_unsatisfiable(&self, channel: Channel) -> bool {
        !satisfiable(&[(self, channel)])
    }

    /// Returns whether a `block` with this constraint takes no version at all, as [`Constraint::covers`] reads it.
    pub fn covers_nothing(&self) -> bool {
        !representatives(std::iter::once(self)).iter().any(|version| self.covers(version))
    }

    /// Returns whether a version does not meet the constraint only because it is a pre-release: the constraint covers
    /// releases only.
    pub fn excludes_as_prerelease(&self, version: &Version) -> bool {
        version.is_prerelease() && !self.matches(version) && self.matches(&version.release())
    }

    fn all_hold(&self, holds: impl Fn(&Comparator) -> bool) -> bool {
        self.alternatives.as_ref().is_none_or(|alternatives| alternatives.iter().any(|all| all.iter().all(&holds)))
    }

    /// Returns one sentence about the terms that people may misunderstand, or `None` if there are none.
    /// The sentence is printable and has at most [`limits::CONSTRAINT_HINTS`] hints.
    pub fn lint(&self) -> Option<String> {
        lint::lint(&self.text)
    }

    /// Returns whether the constraint was given as the empty text.
    pub fn is_any(&self) -> bool {
        self.alternatives.is_none()
    }

    /// Returns the text as it was given. Pass it through [`crate::values::text::printable`] before you
    /// print it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Constraints are equal if they are written in the same way.
impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Constraint {}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        Self::parse(text)
    }
}

/// Writes the constraint in printable form, and `any` for the empty one.
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(if self.is_any() { "any" } else { self.text.trim() }))
    }
}

fn parse_alternatives(text: &str) -> Result<Vec<Vec<Comparator>>, &'static str> {
    grammar::without_ranges(text)
        .split("||")
        .map(|alternative| grammar::terms(alternative)?.iter().map(Comparator::new).collect())
        .collect()
}

#[cfg(test)]
mod tests;
