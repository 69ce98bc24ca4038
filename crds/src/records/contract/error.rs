//! Errors and warnings of contracts.

use crate::values::{
    field_error::FieldError,
    name::{Component, Tag},
};

/// A contract that exists but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the contract of {subject} is not valid: {problem}")]
pub struct ContractError {
    /// The component and tag of the contract, for example `stronghold v1.2.3`. Only the component if the
    /// tag is unknown.
    pub subject: String,
    /// What is wrong with the contract.
    pub problem: ContractProblem,
}

/// The reason why a contract cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractProblem {
    /// The contract exceeds [`crate::values::limits::CONTRACT_BYTES`].
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// The annotation is not base64.
    #[error("annotation `contract`: {0}")]
    Encoding(String),
    /// The contract belongs to another component.
    #[error("name: the contract belongs to `{found}`")]
    OtherName {
        /// The name in the contract, printable.
        found: String,
    },
    /// A field has the wrong type or breaks a rule, or the syntax is broken at that field.
    #[error(transparent)]
    Field(FieldError),
}

impl ContractError {
    /// Returns a stable word for the kind of the error.
    pub fn kind(&self) -> &'static str {
        match self.problem {
            ContractProblem::TooLarge => "too-large",
            ContractProblem::Encoding(_) => "encoding",
            ContractProblem::OtherName { .. } => "other-name",
            ContractProblem::Field(_) => "malformed",
        }
    }

    /// Returns the path of the invalid field, if the error is about one.
    pub fn field(&self) -> Option<&str> {
        match &self.problem {
            ContractProblem::Field(error) => Some(&error.field),
            ContractProblem::OtherName { .. } => Some("name"),
            ContractProblem::TooLarge | ContractProblem::Encoding(_) => None,
        }
    }
}

/// An inconsistency of a contract that does not make it invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractWarning {
    /// The contract names another version than its tag.
    #[error("the contract of {component} {tag} names version `{found}`; the tag is used")]
    OtherVersion {
        /// Component of the contract.
        component: Component,
        /// Tag of the contract.
        tag: Tag,
        /// The version in the contract, printable.
        found: String,
    },
}
