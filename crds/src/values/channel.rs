//! Release channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The versions that are published, or that a policy permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Releases only.
    #[default]
    Stable,
    /// Releases and pre-releases.
    Prerelease,
}
