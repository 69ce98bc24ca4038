//! Who asks for a version.

/// Who wants a version, and how outright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// The agent by itself.
    Agent,
    /// A person who names no version: `install x`, `update x`, `update all`.
    Update,
    /// A person who names one: `--version`, `--use-major`, `use`, `rollback`.
    Explicit,
    /// The same version and digest again: repair, relink, `--force`.
    Repair,
}
