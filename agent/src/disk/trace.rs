//! Records the order of barriers, renames and unlinks, for tests.

use std::{cell::RefCell, path::Path};

thread_local! {
    static TRACE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Begins to record this thread's barriers, renames and unlinks.
pub fn trace() {
    TRACE.set(Some(Vec::new()));
}

/// What was recorded, as `rename <path>`, in order.
pub fn take_trace() -> Vec<String> {
    TRACE.take().unwrap_or_default()
}

pub(crate) fn note(what: &str, path: &Path) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            trace.push(format!("{what} {}", path.display()));
        }
    });
}
