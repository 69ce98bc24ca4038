//! A contract as a YAML file: what an author writes, and what generation 1 put beside the executable.
//!
//! The file is YAML 1.1, where `off` is a boolean, `010` a number and `12:30` one too. Where such a word
//! stands in place of a text it is refused by its field: whoever reads the file next may see another value.
//! Duplicate keys are refused, aliases and nesting are bounded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};
use serde_saphyr::{NonFiniteFloatPolicy, Options, Spanned, UserMessageFormatter};

use super::{FieldError, field_at, wire};
use crate::values::text::printable_to;

mod scalar;

/// How deep a document may nest; a contract takes eight.
const DEPTH: usize = 32;
/// How many nodes a document may have. The largest contract has fewer, whatever is in it.
const NODES: usize = 250_000;
/// How many events aliases may repeat: enough for a list that several groups share.
const REPEATED: usize = 100_000;

/// Reads one document.
pub(super) fn read(text: &str) -> Result<wire::Object<wire::Contract>, FieldError> {
    let node: Node = serde_saphyr::from_str_with_options(text, options())
        .map_err(|error| FieldError::new(".", &error.render_with_formatter(&UserMessageFormatter)))?;
    let value = node.value(text)?;
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = field_at(error.path());
        let said = error.inner().to_string();
        match node.at(error.path()).and_then(|node| node.odd(text)) {
            Some((raw, kind)) => FieldError::new(&field, &odd(raw, kind, &said)),
            None => FieldError::new(&field, &said),
        }
    })
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH, max_nodes: NODES, max_documents: 2 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPEATED },
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    }
}

/// What is said of a word that is no text in YAML.
fn odd(raw: &str, kind: &str, said: &str) -> String {
    let raw = printable_to(raw, 64);
    match said.rsplit_once("expected ") {
        Some((_, expected)) if kind == scalar::NULL => format!("it is empty, expected {expected}"),
        Some((_, "a string")) => format!("YAML reads `{raw}` as {kind}: write it in quotes"),
        Some((_, expected)) => format!("YAML reads `{raw}` as {kind}, expected {expected}"),
        None => said.to_owned(),
    }
}

/// A node and where it stands.
struct Node(Spanned<Kind>);

/// What a node is. Of scalars only texts are kept: the rest is read again, as YAML 1.1, from where it
/// stands.
enum Kind {
    Text(String),
    Other,
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl Node {
    /// The scalar as it was written, and whether it is a plain word: neither quoted nor a block, and not
    /// said to be a text.
    fn written<'t>(&self, text: &'t str) -> Option<(&'t str, bool)> {
        let span = self.0.defined.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let raw = text.get(start..end)?;
        let said_to_be_text = text[..start].trim_end().ends_with("!!str");
        Some((raw, !raw.starts_with(['"', '\'', '|', '>']) && !said_to_be_text))
    }

    /// If it is a scalar that is no text in YAML 1.1: as it was written, and what it is.
    fn odd<'t>(&self, text: &'t str) -> Option<(&'t str, &'static str)> {
        let (raw, is_plain) = self.written(text)?;
        let kind = match &self.0.value {
            Kind::List(_) | Kind::Map(_) => None,
            _ if is_plain => scalar::kind(raw),
            Kind::Text(_) => None,
            Kind::Other => Some(scalar::NUMBER),
        };
        kind.map(|kind| (raw, kind))
    }

    /// The same as JSON, where a word that is no text becomes one that is none either.
    fn value(&self, text: &str) -> Result<Value, FieldError> {
        Ok(match &self.0.value {
            Kind::Text(said) => match self.odd(text) {
                Some((_, kind)) => scalar::stand_in(kind),
                None => Value::String(said.clone()),
            },
            Kind::Other => match (self.odd(text), self.written(text)) {
                (Some((_, kind)), _) => scalar::stand_in(kind),
                (None, Some((raw, _))) => Value::String(raw.to_owned()),
                (None, None) => Value::Null,
            },
            Kind::List(nodes) => nodes.iter().map(|node| node.value(text)).collect::<Result<_, _>>()?,
            Kind::Map(entries) => {
                let mut map = Map::new();
                for (key, node) in entries {
                    if map.insert(key.clone(), node.value(text)?).is_some() {
                        return Err(FieldError::new(key, "it stands there twice"));
                    }
                }
                Value::Object(map)
            }
        })
    }

    /// The node that a path leads to.
    fn at(&self, path: &Path) -> Option<&Self> {
        path.iter().try_fold(self, |node, segment| match (segment, &node.0.value) {
            (Segment::Seq { index }, Kind::List(nodes)) => nodes.get(*index),
            (Segment::Map { key }, Kind::Map(entries)) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
            }
            _ => None,
        })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Kind, E> {
                Ok(Kind::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Kind, E> {
                Ok(Kind::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kind, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = seq.next_element()? {
                    nodes.push(node);
                }
                Ok(Kind::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Kind::Map(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
