//! Who acts on a host. Policies with `subjects` depend on it (rule 21 in `docs/policies.md`).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Who acts on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Person<'a> {
    /// No person acts: the agent works by itself.
    #[default]
    Nobody,
    /// A person acts, and it is not known who.
    Unknown,
    /// A person acts whom the API server knows.
    Known(&'a UserInfo),
}

/// A person as the API server authenticates them (`UserInfo` of group authentication.k8s.io).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Name of the user.
    pub username: String,
    /// Groups that the user is a member of.
    #[serde(default)]
    pub groups: BTreeSet<String>,
}

impl<'a> From<Option<&'a UserInfo>> for Person<'a> {
    /// Returns a person who acts: the one that is known, else an unknown one.
    fn from(known: Option<&'a UserInfo>) -> Self {
        known.map_or(Self::Unknown, Self::Known)
    }
}
