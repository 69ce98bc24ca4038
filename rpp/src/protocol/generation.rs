//! Generations of the protocol.

/// A generation of the protocol, named by the newest route that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Generation {
    /// Layers by tag.
    One,
    /// Layers by version and platform.
    Two,
    /// Manifests.
    Three,
}
