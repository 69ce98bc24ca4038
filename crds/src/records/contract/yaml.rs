//! Reads a contract from a YAML file: the file that an author writes, and the file that proxies of
//! generation 1 store next to the executable.
//!
//! The file is YAML 1.1, in which `off` is a boolean and `010` and `12:30` are numbers. Such a scalar is
//! refused if its field is a string, because different YAML readers return different values for it.
//! Duplicate keys are refused, and aliases and nesting are bounded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use serde_saphyr::{NonFiniteFloatPolicy, Options, Spanned, UserMessageFormatter};

use super::wire::{self, RawContract, StrictObject};
use crate::values::{field_error::FieldError, limits, text::printable_to};

mod scalar;

/// Reads the only document of a text as JSON.
pub(super) fn document(text: &str) -> Result<Value, FieldError> {
    node(text)?.to_json(text)
}

fn node(text: &str) -> Result<YamlNode, FieldError> {
    serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| FieldError::new(".", &error.render_with_formatter(&UserMessageFormatter)))
}

/// Reads the only document of a text. The error names the field that is wrong.
pub(super) fn read(text: &str) -> Result<StrictObject<RawContract>, FieldError> {
    let node = node(text)?;
    let value = node.to_json(text)?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = wire::field_path(error.path());
        let message = error.inner().to_string();
        match node.at(error.path()).and_then(|node| node.non_string(text)) {
            Some((written, kind)) => FieldError::new(&field, &describe_non_string(written, kind, &message)),
            None => FieldError::new(&field, &message),
        }
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: limits::YAML_DEPTH, max_nodes: limits::YAML_NODES, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: limits::YAML_REPLAYED_EVENTS },
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

/// Describes a scalar that YAML does not read as a string. `message` is the error of the deserializer.
fn describe_non_string(written: &str, kind: &str, message: &str) -> String {
    let written = printable_to(written, 64);
    match message.rsplit_once("expected ") {
        Some((_, expected)) if kind == scalar::NULL => format!("it is empty, expected {expected}"),
        Some((_, "a string")) => format!("YAML reads `{written}` as {kind}: write it in quotes"),
        Some((_, expected)) => format!("YAML reads `{written}` as {kind}, expected {expected}"),
        None => message.to_owned(),
    }
}

/// A node of the document with its position.
struct YamlNode(Spanned<YamlValue>);

/// Value of a node. Only strings keep their text. The other scalars are read again from their position,
/// by the rules of YAML 1.1.
enum YamlValue {
    Text(String),
    OtherScalar,
    List(Vec<YamlNode>),
    Map(Vec<(String, YamlNode)>),
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl YamlNode {
    /// Returns the scalar as written, and whether it is plain: not quoted, not a block and without the tag
    /// `!!str`.
    fn written<'t>(&self, text: &'t str) -> Option<(&'t str, bool)> {
        let span = self.0.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let written = text.get(start..end)?;
        let has_string_tag = text[..start].trim_end().ends_with("!!str");
        Some((written, !written.starts_with(['"', '\'', '|', '>']) && !has_string_tag))
    }

    /// Returns a scalar that YAML 1.1 does not read as a string, as written, and its kind.
    fn non_string<'t>(&self, text: &'t str) -> Option<(&'t str, &'static str)> {
        let (written, is_plain) = self.written(text)?;
        let kind = match &self.0.value {
            YamlValue::List(_) | YamlValue::Map(_) => None,
            _ if is_plain => scalar::kind(written),
            YamlValue::Text(_) => None,
            YamlValue::OtherScalar => Some(scalar::NUMBER),
        };
        kind.map(|kind| (written, kind))
    }

    /// Returns the node as JSON. A scalar that YAML 1.1 does not read as a string becomes a JSON value that
    /// is not a string either.
    fn to_json(&self, text: &str) -> Result<Value, FieldError> {
        Ok(match &self.0.value {
            YamlValue::Text(string) => match self.non_string(text) {
                Some((_, kind)) => scalar::json_value(kind),
                None => Value::String(string.clone()),
            },
            YamlValue::OtherScalar => match (self.non_string(text), self.written(text)) {
                (Some((_, kind)), _) => scalar::json_value(kind),
                (None, Some((written, _))) => Value::String(written.to_owned()),
                (None, None) => Value::Null,
            },
            YamlValue::List(nodes) => nodes.iter().map(|node| node.to_json(text)).collect::<Result<_, _>>()?,
            YamlValue::Map(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    if map.insert(key.clone(), node.to_json(text)?).is_some() {
                        return Err(FieldError::new(key, "the key is duplicated"));
                    }
                }
                Value::Object(map)
            }
        })
    }

    /// Returns the node at a path.
    fn at(&self, path: &Path) -> Option<&Self> {
        path.iter().try_fold(self, |node, segment| match (segment, &node.0.value) {
            (Segment::Seq { index }, YamlValue::List(nodes)) => nodes.get(*index),
            (Segment::Map { key }, YamlValue::Map(entries)) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for YamlValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct YamlVisitor;

        impl<'de> Visitor<'de> for YamlVisitor {
            type Value = YamlValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<YamlValue, E> {
                Ok(YamlValue::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_unit<E: de::Error>(self) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<YamlValue, E> {
                Ok(YamlValue::OtherScalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<YamlValue, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(YamlValue::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<YamlValue, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(YamlValue::Map(entries))
            }
        }

        deserializer.deserialize_any(YamlVisitor)
    }
}
