//! The host's own rules: `minimumVersions` and `refuse` of `/etc/d8/agent.toml`. The owner of the machine
//! writes them. They act as one more policy of that host, so they can only forbid.
//!
//! Owns the meaning of the two fields. The agent reads the file.

use std::collections::BTreeMap;

use crate::{
    decisions::validation::Pattern,
    values::{
        name::{Component, NameError, PluginName},
        text::printable_to,
        version::{Version, VersionError},
    },
};

/// Versions and plugins that the owner of a host forbids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRules {
    minimum: BTreeMap<Component, Version>,
    refused: Vec<Pattern>,
    blocked: Vec<(Component, Version)>,
}

/// Why the host's own rules cannot be read. None of them is then in effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalRulesError {
    /// The name of a component is malformed.
    #[error("{field}: {error}")]
    Name {
        /// Name of the field: `minimumVersions` or `refuse`.
        field: &'static str,
        /// What is wrong with the name.
        error: NameError,
    },
    /// A version is malformed.
    #[error("{field}: {component}: {error}")]
    Version {
        /// Name of the field: `minimumVersions` or `refuse`.
        field: &'static str,
        /// The component of the entry.
        component: Component,
        /// What is wrong with the version.
        error: VersionError,
    },
    /// `refuse` has d8 without a version.
    #[error("refuse: d8 cannot be refused as a whole; refuse one version, such as `d8@v0.13.0`")]
    D8,
    /// A pattern is malformed.
    #[error("refuse: `{0}` is not a pattern; write the prefix of a plugin name and a trailing `*`")]
    Pattern(String),
}

impl LocalRules {
    /// Parses both fields. `minimum` has components (`d8` for the command line itself) and their lowest permitted
    /// versions. `refuse` has plugins, patterns with a trailing `*`, and single versions such as `name@v1.2.3`.
    ///
    /// # Errors
    /// The first malformed entry.
    pub fn read<'a>(
        minimum: impl IntoIterator<Item = (&'a str, &'a str)>,
        refuse: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, LocalRulesError> {
        let mut local_rules = Self::default();
        for (name, version) in minimum {
            let (component, version) = parse("minimumVersions", name, version)?;
            local_rules.minimum.insert(component, version);
        }
        for entry in refuse {
            if let Some((name, version)) = entry.split_once('@') {
                local_rules.blocked.push(parse("refuse", name, version)?);
            } else if entry == Component::D8_NAME {
                return Err(LocalRulesError::D8);
            } else if let Some(prefix) = entry.strip_suffix('*') {
                let is_valid = prefix.len() <= 127
                    && prefix.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'));
                if !is_valid {
                    return Err(LocalRulesError::Pattern(printable_to(entry, 128).into_owned()));
                }
                local_rules.refused.push(Pattern::Prefix(prefix.to_owned()));
            } else {
                let name: PluginName =
                    entry.parse().map_err(|error| LocalRulesError::Name { field: "refuse", error })?;
                local_rules.refused.push(Pattern::Name(name));
            }
        }
        Ok(local_rules)
    }

    /// Returns the lowest permitted version of the component, if `version` is below it.
    pub(super) fn below(&self, component: &Component, version: &Version) -> Option<&Version> {
        self.minimum(component).filter(|minimum| version < *minimum)
    }

    /// Returns whether the component is refused as a whole.
    pub(super) fn denies(&self, component: &Component) -> bool {
        match component {
            Component::D8 => false,
            Component::Plugin(name) => self.refused.iter().any(|pattern| pattern.matches(name)),
        }
    }

    /// Returns whether every plugin that matches the pattern is refused as a whole.
    pub(super) fn denies_all(&self, plugins: &Pattern) -> bool {
        self.refused.iter().any(|pattern| pattern.covers(plugins))
    }

    /// Returns the plugins that are refused as a whole.
    pub(super) fn refused(&self) -> &[Pattern] {
        &self.refused
    }

    /// Returns the lowest permitted version of the component.
    pub(super) fn minimum(&self, component: &Component) -> Option<&Version> {
        self.minimum.get(component)
    }

    /// Returns the versions of the component that are refused.
    pub(super) fn blocked<'s>(&'s self, component: &'s Component) -> impl Iterator<Item = &'s Version> + Clone {
        self.blocked.iter().filter(move |(of, _)| of == component).map(|(_, version)| version)
    }

    /// Returns the plugins that are named in full, with duplicates.
    pub(super) fn named_plugins(&self) -> impl Iterator<Item = &PluginName> {
        let components = self.minimum.keys().chain(self.blocked.iter().map(|(component, _)| component));
        let by_version = components.filter_map(|component| match component {
            Component::Plugin(name) => Some(name),
            Component::D8 => None,
        });
        let as_a_whole = self.refused.iter().filter_map(|pattern| match pattern {
            Pattern::Name(name) => Some(name),
            Pattern::Prefix(_) => None,
        });
        by_version.chain(as_a_whole)
    }
}

fn parse(field: &'static str, name: &str, version: &str) -> Result<(Component, Version), LocalRulesError> {
    let component: Component = name.parse().map_err(|error| LocalRulesError::Name { field, error })?;
    match Version::parse(version) {
        Ok(version) => Ok((component, version)),
        Err(error) => Err(LocalRulesError::Version { field, component, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_components_and_versions() {
        let local_rules = LocalRules::read(
            [("stronghold", "1.2"), ("d8", "v0.13.0")],
            ["evil", "delivery-*", "stronghold@v1.3.1", "d8@0.13.5"],
        )
        .unwrap();
        for (component, version, below, denied, blocked) in [
            ("stronghold", "v1.1.9", true, false, false),
            ("stronghold", "v1.2.0-rc.1", true, false, false),
            ("stronghold", "v1.2.0", false, false, false),
            ("stronghold", "v1.3.0-rc.1", false, false, false),
            ("stronghold", "v1.3.1+b", false, false, true),
            ("d8", "v0.12.0", true, false, false),
            ("d8", "v0.13.5", false, false, true),
            ("delivery-kit", "v1.0.0", false, true, false),
            ("evil", "v1.0.0", false, true, false),
            ("devil", "v1.0.0", false, false, false),
        ] {
            let (component, version): (Component, Version) = (component.parse().unwrap(), version.parse().unwrap());
            let found = (
                local_rules.below(&component, &version).is_some(),
                local_rules.denies(&component),
                local_rules.blocked(&component).any(|blocked| *blocked == version),
            );
            assert_eq!(found, (below, denied, blocked), "{component} {version}");
        }
    }

    #[test]
    fn malformed_entries_are_rejected() {
        for (minimum, refuse, start) in [
            (Some(("../x", "1.0.0")), None, "minimumVersions: plugin name \"../x\" is not valid: "),
            (Some(("stronghold", "one")), None, "minimumVersions: stronghold: `one` is not a version: "),
            (None, Some("d8"), "refuse: d8 cannot be refused as a whole"),
            (None, Some("a\u{1b}*"), "refuse: `a\\u{1b}*` is not a pattern"),
            (None, Some("A"), "refuse: plugin name \"A\" is not valid: "),
            (None, Some("x@"), "refuse: x: `` is not a version: "),
        ] {
            let error = LocalRules::read(minimum, refuse).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}\ndoes not start with\n{start}");
        }
    }
}
