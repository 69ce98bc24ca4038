//! Errors of a record or a document, each with the path of its field.

use std::fmt;

use crate::values::{limits, text::printable_to};

/// A field that breaks a rule. Both texts are printable (see [`printable_to`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Path from the root of the object, for example `spec.rules[1].versions`. `.` is the object itself.
    pub field: String,
    /// The rule that the field breaks.
    pub why: String,
}

impl FieldError {
    /// Makes an error of two texts, which may come from outside: they are made printable.
    pub(crate) fn new(field: &str, why: &str) -> Self {
        Self {
            field: printable_to(field, limits::FIELD_PATH).into_owned(),
            why: printable_to(why, limits::FIELD_ERROR).into_owned(),
        }
    }
}

/// Collects the errors of a record while its fields are read, at most [`limits::FIELD_ERRORS`].
#[derive(Debug, Default)]
pub(crate) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds an error. Does nothing once the list is full.
    pub(crate) fn add(&mut self, field: impl AsRef<str>, why: impl fmt::Display) {
        if self.0.len() < limits::FIELD_ERRORS {
            self.0.push(FieldError::new(field.as_ref(), &why.to_string()));
        }
    }

    /// Adds an error if a list has more entries than its field allows.
    pub(crate) fn check_length(&mut self, field: &str, length: usize, max: usize) {
        if length > max {
            self.add(field, format!("has {length} entries, at most {max} are allowed"));
        }
    }

    /// Returns the value, or adds the error and returns nothing.
    pub(crate) fn ok<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// Adds errors that another reader collected.
    pub(crate) fn extend(&mut self, errors: Vec<FieldError>) {
        let free = limits::FIELD_ERRORS.saturating_sub(self.0.len());
        self.0.extend(errors.into_iter().take(free));
    }

    /// Returns the number of errors so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no error so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the errors in the order in which they were added.
    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }
}
