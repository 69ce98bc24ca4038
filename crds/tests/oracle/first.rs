//! The one place that knows the first implementation, as its example answers.

use serde_json::Value;

#[path = "../../examples/verdicts.rs"]
#[allow(dead_code, reason = "a program of its own, of which one function is asked")]
mod example;

/// Its answer to a case.
pub(crate) fn answer(case: &Value) -> Result<Value, String> {
    let mut out = Vec::new();
    example::support::evaluate_lines::<example::Question>(case.to_string().as_bytes(), &mut out)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&out).map_err(|error| error.to_string())
}
