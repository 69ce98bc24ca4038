//! What the re-executed program does: limits, namespaces, another uid, then the executable.

/// Plays the sandbox: call it first thing in `main` when the first argument is [`super::CHILD_ARG`].
/// Returns the status to exit with.
pub fn child_main() -> i32 {
    1
}
