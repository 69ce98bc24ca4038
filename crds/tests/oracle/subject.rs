//! The implementation under test, called through its examples.

use serde_json::Value;

#[path = "../../examples/verdicts.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "a program of its own; only one function of it is called")]
mod example;

#[path = "../../examples/next.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "a program of its own; only one function of it is called")]
mod example_of_next;

/// Returns the next version of a host.
pub(crate) fn next(case: &Value) -> Result<Value, String> {
    let mut out = Vec::new();
    example_of_next::support::evaluate_lines::<example_of_next::Row>(case.to_string().as_bytes(), &mut out)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&out).map_err(|error| error.to_string())
}

/// Evaluates a case.
pub(crate) fn evaluate(case: &Value) -> Result<Value, String> {
    let mut out = Vec::new();
    example::support::evaluate_lines::<example::Row>(case.to_string().as_bytes(), &mut out)
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&out).map_err(|error| error.to_string())
}
