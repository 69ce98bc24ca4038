//! Release channels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Versions on the channel: only releases (`Stable`), or releases and pre-releases (`Prerelease`).
// Ordered by strictness: of several policies, the greatest value wins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Channel {
    /// The channel with releases and pre-releases.
    Prerelease,
    /// The channel with releases only.
    #[default]
    Stable,
}
