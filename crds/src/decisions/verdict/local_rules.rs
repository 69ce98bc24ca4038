//! The local floor of a host, `minimumVersions` and `refuse` of `/etc/d8/agent.toml`: one more policy of
//! that host, set by whoever owns the machine. It can only make things stricter.
//!
//! Reading the file is the agent's; what its two fields mean is owned here.

use std::collections::BTreeMap;

use crate::{
    decisions::validation::Pattern,
    values::{
        name::{Component, NameError, PluginName},
        text::printable_to,
        version::{Version, VersionError},
    },
};

/// What the host's owner rules out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRules {
    minimum: BTreeMap<Component, Version>,
    refused: Vec<Pattern>,
    blocked: Vec<(Component, Version)>,
}

/// Why the host's own rules cannot be read. None of them is then in effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocalRulesError {
    /// A name that is none.
    #[error("{field}: {error}")]
    Name {
        /// `minimumVersions` or `refuse`.
        field: &'static str,
        /// Why.
        error: NameError,
    },
    /// A version that is none.
    #[error("{field}: {component}: {error}")]
    Version {
        /// `minimumVersions` or `refuse`.
        field: &'static str,
        /// Whose version it was to be.
        component: Component,
        /// Why.
        error: VersionError,
    },
    /// d8 cannot be refused as a whole.
    #[error("refuse: d8 can be refused by version only, as in `d8@v0.13.0`")]
    D8,
    /// A pattern that is no beginning of a name.
    #[error("refuse: `{0}` is no plugin name with a trailing `*`")]
    Pattern(String),
}

impl LocalRules {
    /// Reads both fields. `minimum`: component (`d8` for the command line itself) and the lowest version
    /// there may be. `refuse`: plugins (names, or a trailing `*`), or one version as `name@v1.2.3`.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn read<'a>(
        minimum: impl IntoIterator<Item = (&'a str, &'a str)>,
        refuse: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, LocalRulesError> {
        let mut local_rules = Self::default();
        for (name, version) in minimum {
            let (component, version) = one("minimumVersions", name, version)?;
            local_rules.minimum.insert(component, version);
        }
        for entry in refuse {
            if let Some((name, version)) = entry.split_once('@') {
                local_rules.blocked.push(one("refuse", name, version)?);
            } else if entry == Component::D8_NAME {
                return Err(LocalRulesError::D8);
            } else if let Some(prefix) = entry.strip_suffix('*') {
                let good = prefix.len() <= 127
                    && prefix.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_'));
                if !good {
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

    /// The lowest version of the component that may be here, if this one is below it.
    pub(super) fn below(&self, component: &Component, version: &Version) -> Option<&Version> {
        self.minimum(component).filter(|minimum| version < *minimum)
    }

    /// Whether the component is refused as a whole.
    pub(super) fn denies(&self, component: &Component) -> bool {
        match component {
            Component::D8 => false,
            Component::Plugin(name) => self.refused.iter().any(|pattern| pattern.matches(name)),
        }
    }

    /// Whether every plugin that the pattern means is refused as a whole.
    pub(super) fn denies_all(&self, plugins: &Pattern) -> bool {
        self.refused.iter().any(|pattern| pattern.covers(plugins))
    }

    /// What is refused as a whole.
    pub(super) fn refused(&self) -> &[Pattern] {
        &self.refused
    }

    /// The lowest version of the component that may be here.
    pub(super) fn minimum(&self, component: &Component) -> Option<&Version> {
        self.minimum.get(component)
    }

    /// The versions of the component that are refused.
    pub(super) fn blocked(&self, component: &Component) -> impl Iterator<Item = &Version> {
        self.blocked.iter().filter(move |(of, _)| of == component).map(|(_, version)| version)
    }

    /// The plugins it names outright; a name may come several times.
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

    /// Whether this version is refused.
    pub(super) fn blocks(&self, component: &Component, version: &Version) -> bool {
        self.blocked.iter().any(|(of, blocked)| of == component && blocked == version)
    }
}

fn one(field: &'static str, name: &str, version: &str) -> Result<(Component, Version), LocalRulesError> {
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
    fn what_a_floor_rules_out() {
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
                local_rules.blocks(&component, &version),
            );
            assert_eq!(found, (below, denied, blocked), "{component} {version}");
        }
    }

    #[test]
    fn what_is_no_floor() {
        for (minimum, refuse, start) in [
            (Some(("../x", "1.0.0")), None, "minimumVersions: plugin name \"../x\" is not valid: "),
            (Some(("stronghold", "one")), None, "minimumVersions: stronghold: `one` is not a version: "),
            (None, Some("d8"), "refuse: d8 can be refused by version only"),
            (None, Some("a\u{1b}*"), "refuse: `a\\u{1b}*` is no plugin name with a trailing `*`"),
            (None, Some("A"), "refuse: plugin name \"A\" is not valid: "),
            (None, Some("x@"), "refuse: x: `` is not a version: "),
        ] {
            let error = LocalRules::read(minimum, refuse).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}\ndoes not start with\n{start}");
        }
    }
}
