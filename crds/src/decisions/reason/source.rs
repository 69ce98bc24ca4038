//! Where a rule is set: the policy and the field, or the host's own file.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use crate::values::name::PluginName;

/// Defines the fields and their names.
macro_rules! fields {
    ($($field:ident $name:literal,)*) => {
        /// Field of a policy, or of the host's own rules, that can be the source of a reason. Ordered by name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`.")] $field,)*
        }

        impl Field {
            /// Returns the name that the field has in the policy or the file.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    Access "access",
    Blackouts "blackouts",
    Block "block",
    Channel "channel",
    Expedite "expedite",
    Integrity "integrity",
    MajorUpdates "majorUpdates",
    MaxFailed "maxFailed",
    Message "message",
    MinAge "minAge",
    MinimumVersions "minimumVersions",
    MissingDependencies "missingDependencies",
    MovedTags "movedTags",
    Paused "paused",
    Pins "pins",
    Refuse "refuse",
    RequireSucceeded "requireSucceeded",
    Rollout "rollout",
    Updates "updates",
    Versions "versions",
    Windows "windows",
    WindowsFor "windowsFor",
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Place in a policy's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// `rules[i]`: the rule with this index, counted from 0.
    Rule(u16),
    /// `cli`: the rule for d8 itself.
    Cli,
    /// `defaults`: the settings that a rule or `cli` leaves out.
    Defaults,
    /// A field of the spec itself.
    Spec(Field),
}

impl Origin {
    /// Returns the place of the rule with this index. A valid policy has at most [`RULES`](crate::values::limits::RULES) rules.
    pub fn rule(index: usize) -> Self {
        Self::Rule(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(i) => write!(f, "rules[{i}]"),
            Self::Cli => f.write_str("cli"),
            Self::Defaults => f.write_str("defaults"),
            Self::Spec(field) => write!(f, "{field}"),
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
        /// Field below `origin`; `None`: `origin` is the field.
        field: Option<Field>,
    },
    /// A field of the host's own rules, `/etc/d8/agent.toml`.
    LocalRules {
        /// The field.
        field: Field,
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
            Self::LocalRules { field } => Origin::Spec(*field),
        }
    }

    /// Returns the path of the field in the policy's spec: `rules[0].access`.
    pub fn path(&self) -> String {
        match self {
            Self::Policy { origin, field: None, .. } => origin.to_string(),
            Self::Policy { origin, field: Some(field), .. } => format!("{origin}.{field}"),
            Self::LocalRules { field } => field.to_string(),
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
