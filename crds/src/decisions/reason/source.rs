//! Where a rule is set: the policy and the field, or the host's own file.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use crate::values::name::PluginName;

/// Place in a policy's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `rules[i]`: the rule with this index, counted from 0.
    Rule(usize),
    /// `cli`: the rule for d8 itself.
    Cli,
    /// `defaults`: the settings that a rule or `cli` leaves out.
    Defaults,
    /// A field of the spec itself, by its name.
    Spec(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(i) => write!(f, "rules[{i}]"),
            Self::Cli => f.write_str("cli"),
            Self::Defaults => f.write_str("defaults"),
            Self::Spec(field) => f.write_str(field),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Field that sets a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A field of a `PluginPolicy`.
    Policy {
        /// Name of the policy, printable.
        policy: Arc<str>,
        /// Place in its spec.
        origin: Origin,
        /// Field below `origin`; empty: `origin` is the field.
        field: &'static str,
    },
    /// A field of the host's own rules, `/etc/d8/agent.toml`.
    LocalRules {
        /// Name of the field.
        field: &'static str,
    },
}

impl Source {
    /// Name that the host's own rules have beside the names of policies.
    pub const LOCAL_RULES: &'static str = "agent.toml";

    /// Returns the name of the policy, [`Self::LOCAL_RULES`] for the host's own rules.
    pub fn policy(&self) -> &str {
        match self {
            Self::Policy { policy, .. } => policy,
            Self::LocalRules { .. } => Self::LOCAL_RULES,
        }
    }

    /// Returns the place in the policy's spec, without the field below it.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Policy { origin, .. } => *origin,
            Self::LocalRules { field } => Origin::Spec(field),
        }
    }

    /// Returns the path of the field in the policy's spec: `rules[0].access`.
    pub fn path(&self) -> String {
        match self {
            Self::Policy { origin, field: "", .. } => origin.to_string(),
            Self::Policy { origin, field, .. } => format!("{origin}.{field}"),
            Self::LocalRules { field } => (*field).to_owned(),
        }
    }
}

/// Shows it as sentences begin: `policy p, rules[0].access`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { policy, .. } => write!(f, "policy {policy}, {}", self.path()),
            Self::LocalRules { field } => write!(f, "/etc/d8/agent.toml, {field}"),
        }
    }
}

/// A plugin that must be on a host, and the rule that requires it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Required {
    /// Name of the plugin.
    pub plugin: PluginName,
    /// Field that requires it: of the first policy by name, if several do.
    pub by: Source,
}
