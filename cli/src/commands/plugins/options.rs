//! What `install` and `update` may change, and what happens after a failure.

/// Options of an execution.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command, or says which command it is")]
pub(in crate::commands) struct ExecuteOptions {
    /// Reinstall versions that are already active.
    pub(in crate::commands) force: bool,
    /// Compare the active executables with their receipts.
    pub(in crate::commands) verify: bool,
    /// Report the changes without making them.
    pub(in crate::commands) dry_run: bool,
    /// Refuse changes of plugins that were not requested.
    pub(in crate::commands) no_dependencies: bool,
    /// The command is `update`: what is installed may stay, and a failure does not stop the other changes. Otherwise a
    /// request that is refused prevents all changes.
    pub(in crate::commands) is_update: bool,
    /// The command is `update all`.
    pub(in crate::commands) is_all: bool,
}
