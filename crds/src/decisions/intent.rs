//! Who starts a change, and whether they named a version (`docs/policies.md`, "Intents").

/// Who starts a change, and whether they named a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Intent {
    /// The agent, without a person.
    Agent,
    /// A person who names no version: `install x`, `update x`, `update all`.
    Update,
    /// A person who names a version or a major version: `--version`, `--use-major`, `use`, `rollback`.
    Explicit,
    /// A repair, which installs the same version with the same digest again: relink, `--force`.
    Repair,
}
