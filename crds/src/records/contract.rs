//! The contract a plugin ships: what it is, what it reads, what it demands.
//!
//! This file owns the contract as the rest of the project sees it, always checked; `wire` owns how it
//! travels, `yaml` how it is read from a file of its own, `check` the rules it must keep. Its texts are
//! foreign: what is shown of them goes through [`crate::values::text::printable`].

mod check;
mod wire;
mod yaml;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};

use crate::{
    records::requirements::Requirements,
    values::{
        name::{Component, Tag},
        text::{printable, printable_to},
        version::Version,
    },
};

/// Largest contract read, in bytes of JSON or YAML.
pub const MAX_CONTRACT: usize = 1 << 20;

/// The annotation's base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a plugin says of itself. Reading one checks it: constraints parse, names are names, groups of
/// modules have names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "wire::Object<wire::Contract>")]
pub struct Contract {
    /// The plugin's name; missing: the one asked for.
    pub name: String,
    /// The version; missing or another: the tag asked for.
    pub version: String,
    /// One line for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Environment variables it reads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Flags it documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<Flag>,
    /// What it demands.
    #[serde(skip_serializing_if = "Requirements::is_empty")]
    pub requirements: Requirements,
}

/// An environment variable a plugin reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
}

/// A flag a plugin documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flag {
    /// With its dashes.
    pub name: String,
}

/// Why a contract that is there can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the contract of {subject} is not valid: {problem}")]
pub struct ContractError {
    /// Whose contract: `stronghold v1.2.3`, or `stronghold` where no tag is known.
    pub subject: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a contract.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It exceeds [`MAX_CONTRACT`].
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// The annotation is no base64.
    #[error("annotation `contract`: {0}")]
    Encoding(String),
    /// It is another plugin's.
    #[error("name: it says `{said}`")]
    OtherName {
        /// The name it has, fit for a terminal.
        said: String,
    },
    /// A field has the wrong type or breaks a rule, or the JSON itself is broken there.
    #[error(transparent)]
    Field(FieldError),
}

/// A field that has the wrong type or breaks a rule. Both texts are fit for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Where, as `requirements.modules.anyOf[0].name`; `.` is the whole.
    pub field: String,
    /// The rule it breaks.
    pub why: String,
}

impl FieldError {
    pub(crate) fn new(field: &str, why: &str) -> Self {
        Self { field: printable_to(field, 128).into_owned(), why: printable(why).into_owned() }
    }
}

impl ContractError {
    /// Stable word for the kind of error.
    pub fn kind(&self) -> &'static str {
        match self.problem {
            Problem::TooLarge => "too-large",
            Problem::Encoding(_) => "encoding",
            Problem::OtherName { .. } => "other-name",
            Problem::Field(_) => "malformed",
        }
    }

    /// The field that is wrong, where one is.
    pub fn field(&self) -> Option<&str> {
        match &self.problem {
            Problem::Field(error) => Some(&error.field),
            Problem::OtherName { .. } => Some("name"),
            Problem::TooLarge | Problem::Encoding(_) => None,
        }
    }
}

/// What is odd about a contract, but no reason to refuse it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// It names another version than its tag; the tag counts.
    #[error("the contract of {component} {tag} says its version is `{said}`; the tag counts")]
    OtherVersion {
        /// The component asked for.
        component: Component,
        /// The tag asked for.
        tag: Tag,
        /// The version it has, fit for a terminal.
        said: String,
    },
}

impl Contract {
    /// The contract of an image that has none: name and version, nothing to enforce.
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

    /// Reads annotation `contract` of a manifest or index: base64 of JSON.
    pub fn from_annotation(
        annotation: &str,
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<Warning>), ContractError> {
        let fail = |problem| ContractError { subject: format!("{component} {tag}"), problem };
        if annotation.len() > MAX_CONTRACT.div_ceil(3) * 4 {
            return Err(fail(Problem::TooLarge));
        }
        let text: String = annotation.split_ascii_whitespace().collect();
        let json = BASE64.decode(text).map_err(|error| fail(Problem::Encoding(error.to_string())))?;
        Self::from_json(&json, component, tag)
    }

    /// Reads the JSON of a contract that was asked for by component and tag.
    pub fn from_json(json: &[u8], component: &Component, tag: &Tag) -> Result<(Self, Vec<Warning>), ContractError> {
        Self::of_tag(read_json(json), component, tag)
    }

    /// Reads the YAML 1.1 of a `contract.yaml`, which JSON is too. A word that YAML takes for something
    /// else than a text, where a text is meant, is an error that names the field: `version: 1.10`.
    pub fn from_yaml(text: &str, component: &Component, tag: &Tag) -> Result<(Self, Vec<Warning>), ContractError> {
        Self::of_tag(read_yaml(text), component, tag)
    }

    /// A contract that was asked for by component and tag.
    fn of_tag(
        contract: Result<Self, Problem>,
        component: &Component,
        tag: &Tag,
    ) -> Result<(Self, Vec<Warning>), ContractError> {
        let fail = |problem| ContractError { subject: format!("{component} {tag}"), problem };
        let mut contract = contract.and_then(|contract| contract.of(component)).map_err(fail)?;
        let warnings = if contract.version.is_empty() || same_version(&contract.version, tag.as_str()) {
            Vec::new()
        } else {
            let said = printable_to(&contract.version, 64).into_owned();
            vec![Warning::OtherVersion { component: component.clone(), tag: tag.clone(), said }]
        };
        tag.as_str().clone_into(&mut contract.version);
        Ok((contract, warnings))
    }

    /// Reads the JSON of a contract kept on disk, which knows its version itself; empty if it does not.
    pub fn from_cache(json: &[u8], component: &Component) -> Result<Self, ContractError> {
        let fail = |problem| ContractError { subject: component.to_string(), problem };
        read_json(json).and_then(|contract| contract.of(component)).map_err(fail)
    }

    /// Checks whose it is.
    fn of(mut self, component: &Component) -> Result<Self, Problem> {
        if self.name.is_empty() {
            component.name().clone_into(&mut self.name);
        }
        if self.name == component.name() {
            return Ok(self);
        }
        Err(Problem::OtherName { said: printable_to(&self.name, 64).into_owned() })
    }

    /// As JSON on one line.
    pub fn to_json(&self) -> String {
        // Strings, lists and structs only: nothing that JSON could refuse.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As the value of annotation `contract`.
    pub fn to_annotation(&self) -> String {
        general_purpose::STANDARD.encode(self.to_json())
    }

    /// Whether it asks for this environment variable.
    pub fn reads_env(&self, name: &str) -> bool {
        self.env.iter().any(|env| env.name == name)
    }
}

fn read_json(json: &[u8]) -> Result<Contract, Problem> {
    if json.len() > MAX_CONTRACT {
        return Err(Problem::TooLarge);
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let wire: wire::Object<wire::Contract> = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Problem::Field(FieldError::new(&field_at(error.path()), &error.inner().to_string())))?;
    reader.end().map_err(|error| Problem::Field(FieldError::new(".", &error.to_string())))?;
    Contract::try_from(wire).map_err(Problem::Field)
}

/// A path in words: `env[1].name`, `.` for the whole. What ended in the middle of a key has no name.
fn field_at(path: &Path) -> String {
    let named = path.iter().take_while(|segment| !matches!(segment, Segment::Unknown));
    let field = named.fold(String::new(), |field, segment| match segment {
        Segment::Map { .. } if !field.is_empty() => format!("{field}.{segment}"),
        _ => format!("{field}{segment}"),
    });
    if field.is_empty() { ".".to_owned() } else { field }
}

fn read_yaml(text: &str) -> Result<Contract, Problem> {
    if text.len() > MAX_CONTRACT {
        return Err(Problem::TooLarge);
    }
    yaml::read(text).and_then(Contract::try_from).map_err(Problem::Field)
}

fn same_version(said: &str, tag: &str) -> bool {
    match (Version::parse(said), Version::parse(tag)) {
        (Ok(said), Ok(tag)) => said == tag,
        _ => said == tag,
    }
}

#[cfg(test)]
mod tests;
