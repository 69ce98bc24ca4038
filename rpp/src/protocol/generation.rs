//! Generations of the protocol.

/// A generation of the protocol, named by the newest route that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Generation {
    /// Layers by tag, one tag per platform.
    One,
    /// Layers by version and platform.
    Two,
    /// Layers by digest, and manifests with annotations.
    Three,
}
