//! The contract of a plugin: its name and version, the variables and flags it reads, its requirements.
//!
//! A [`Contract`] is always checked. Its texts come from outside: print them only through
//! [`crate::values::text::printable`]. `wire` has the unchecked form, `yaml` reads it from a file, `check`
//! turns it into the checked form.

mod check;
mod error;
mod schema;
mod wire;
mod yaml;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::wire::{RawContract, StrictObject};
pub use self::{
    error::{ContractError, ContractProblem, ContractWarning},
    schema::{UnknownKey, json_schema},
};
use crate::{
    records::requirements::Requirements,
    values::{
        field_error::FieldError,
        limits,
        name::{Component, Tag},
        text::printable_to,
        version::Version,
    },
};

/// Base64 of the annotation, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A plugin's description of itself. Deserialization checks it: constraints are valid, names are printable
/// and groups of modules have names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", try_from = "StrictObject<RawContract>")]
#[schemars(!try_from)]
pub struct Contract {
    /// Name of the plugin. Readers fill it in if the contract has none.
    pub name: String,
    /// Version of the plugin. Readers replace it by the tag.
    pub version: String,
    /// Description of the plugin in one line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Environment variables that the plugin reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Flags that the plugin documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// Requirements on the cluster and on other plugins.
    #[serde(skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
}

/// An environment variable that a plugin reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvVar {
    /// Name of the variable.
    pub name: String,
}

/// A flag that a plugin documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flag {
    /// Name of the flag with its dashes.
    pub name: String,
}

impl Contract {
    /// Returns the contract of an image without one: name and version, no requirements.
    pub fn bare(component: &Component, tag: &Tag) -> Self {
        Self {
            name: component.name().to_owned(),
            version: tag.as_str().to_owned(),
            description: String::new(),
            env: Vec::new(),
            flags: Vec::new(),
            requirements: Requirements::default(),
        }
    }

    /// Reads a contract from annotation `contract` of a manifest or index: base64 of JSON.
    pub fn from_annotation(
        annotation: &str,
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<ContractWarning>), ContractError> {
        let fail = |problem| ContractError { subject: format!("{component} {tag}"), problem };
        if annotation.len() > limits::CONTRACT_BYTES.div_ceil(3) * 4 {
            return Err(fail(ContractProblem::TooLarge));
        }
        let text: String = annotation.split_ascii_whitespace().collect();
        let json = BASE64.decode(text).map_err(|error| fail(ContractProblem::Encoding(error.to_string())))?;
        Self::from_json(&json, component, tag)
    }

    /// Reads a contract from JSON.
    pub fn from_json(
        json: &[u8],
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<ContractWarning>), ContractError> {
        Self::for_tag(read_json(json), component, tag)
    }

    /// Reads a contract from YAML 1.1, which includes JSON. A plain scalar that YAML 1.1 does not read
    /// as a string, such as `version: 1.10`, is an error of its field if the field is a string.
    pub fn from_yaml(
        text: &str,
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<ContractWarning>), ContractError> {
        Self::for_tag(read_yaml(text), component, tag)
    }

    /// Returns the keys of a contract in YAML that nothing reads, such as mistyped ones. Returns none if the text is not
    /// YAML.
    pub fn unknown_keys(text: &str) -> Vec<UnknownKey> {
        yaml::document(text).map(|document| schema::unknown_keys(&document)).unwrap_or_default()
    }

    /// Checks that the contract belongs to the component, and sets its version to the tag.
    fn for_tag(
        contract: Result<Self, ContractProblem>,
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<ContractWarning>), ContractError> {
        let fail = |problem| ContractError { subject: format!("{component} {tag}"), problem };
        let mut contract = contract.and_then(|contract| contract.for_component(component)).map_err(fail)?;
        let warnings = if contract.version.is_empty() || same_version(&contract.version, tag.as_str()) {
            Vec::new()
        } else {
            let found = printable_to(&contract.version, 64).into_owned();
            vec![ContractWarning::OtherVersion { component: component.clone(), tag: tag.clone(), found }]
        };
        tag.as_str().clone_into(&mut contract.version);
        Ok((contract, warnings))
    }

    /// Reads a contract from JSON in the cache on disk. There is no tag, so the contract keeps its version,
    /// which may be empty.
    pub fn from_cache(json: &[u8], component: &Component) -> Result<Self, ContractError> {
        let fail = |problem| ContractError { subject: component.to_string(), problem };
        read_json(json).and_then(|contract| contract.for_component(component)).map_err(fail)
    }

    /// Checks that the contract belongs to the component. Fills in a missing name.
    fn for_component(mut self, component: &Component) -> Result<Self, ContractProblem> {
        if self.name.is_empty() {
            component.name().clone_into(&mut self.name);
        }
        if self.name == component.name() {
            return Ok(self);
        }
        Err(ContractProblem::OtherName { found: printable_to(&self.name, 64).into_owned() })
    }

    /// Returns the contract as JSON in one line.
    pub fn to_json(&self) -> String {
        // Serialization of strings, lists and structs cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the value of annotation `contract`.
    pub fn to_annotation(&self) -> String {
        general_purpose::STANDARD.encode(self.to_json())
    }
}

impl TryFrom<StrictObject<RawContract>> for Contract {
    type Error = FieldError;

    fn try_from(StrictObject(raw): StrictObject<RawContract>) -> Result<Self, FieldError> {
        Ok(Self {
            name: raw.name.unwrap_or_default(),
            version: raw.version.unwrap_or_default(),
            description: raw.description.unwrap_or_default(),
            env: check::names(raw.env, "env")?.into_iter().map(|name| EnvVar { name }).collect(),
            flags: check::names(raw.flags, "flags")?.into_iter().map(|name| Flag { name }).collect(),
            requirements: raw.requirements.map_or_else(|| Ok(Requirements::default()), check::requirements)?,
        })
    }
}

fn read_json(json: &[u8]) -> Result<Contract, ContractProblem> {
    if json.len() > limits::CONTRACT_BYTES {
        return Err(ContractProblem::TooLarge);
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let raw: StrictObject<RawContract> = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        ContractProblem::Field(FieldError::new(&wire::field_path(error.path()), &error.inner().to_string()))
    })?;
    reader.end().map_err(|error| ContractProblem::Field(FieldError::new(".", &error.to_string())))?;
    Contract::try_from(raw).map_err(ContractProblem::Field)
}

fn read_yaml(text: &str) -> Result<Contract, ContractProblem> {
    if text.len() > limits::CONTRACT_BYTES {
        return Err(ContractProblem::TooLarge);
    }
    yaml::read(text).and_then(Contract::try_from).map_err(ContractProblem::Field)
}

fn same_version(version: &str, tag: &str) -> bool {
    match (Version::parse(version), Version::parse(tag)) {
        (Ok(version), Ok(tag)) => version == tag,
        _ => version == tag,
    }
}

#[cfg(test)]
mod tests;
