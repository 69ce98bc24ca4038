//! The one place that knows the first implementation.

use serde_json::Value;

/// Its answer to a case; none while it has no such function.
pub(crate) fn answer(_case: &Value) -> Option<Result<Value, String>> {
    None
}
