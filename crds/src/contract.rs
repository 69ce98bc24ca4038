//! The contract a plugin ships: what it is, what it reads, what it demands.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::requirements::Requirements;

/// What a plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contract {
    /// The plugin's name; missing: the one asked for.
    #[serde(default)]
    pub name: String,
    /// The version; missing: the one asked for.
    #[serde(default)]
    pub version: String,
    /// One line for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Environment variables it reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Flags it documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// What it demands.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
}

/// An environment variable a plugin reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
}

/// A flag a plugin documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flag {
    /// With its dashes.
    pub name: String,
}
