//! Release channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The versions that are published, or that a policy permits.
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Releases and also pre-releases.
    Prerelease,
    /// Releases, no pre-releases.
    #[default]
    Stable,
}
