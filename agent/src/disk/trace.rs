//! Records the order of barriers, renames and unlinks, for tests.

use std::{cell::RefCell, path::Path};

thread_local! {
    static TRACE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Begins to record the barriers, renames and unlinks of this thread.
pub fn trace() {
    TRACE.set(Some(Vec::new()));
}

/// Returns the recorded operations in order, such as `rename <path>`.
pub fn take_trace() -> Vec<String> {
    TRACE.take().unwrap_or_default()
}

pub(crate) fn record(operation: &str, path: &Path) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            trace.push(format!("{operation} {}", path.display()));
        }
    });
}
