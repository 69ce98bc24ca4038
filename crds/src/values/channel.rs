//! Release channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which versions are spoken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// Released versions only.
    #[default]
    Stable,
    /// Released versions and pre-releases.
    Prerelease,
}
