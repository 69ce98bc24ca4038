//! The unchecked form of a contract: every field may be missing or null, unknown fields are ignored, and an
//! object must be written as an object.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_path_to_error::{Path, Segment};

/// A type that is written as an object.
pub(super) trait ObjectType {
    /// Description of the object for errors.
    const EXPECTED: &'static str;
}

/// Deserializes an object only from a map. The structs that serde derives also accept a list of fields.
#[derive(Debug)]
pub(super) struct StrictObject<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + ObjectType> Deserialize<'de> for StrictObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + ObjectType> Visitor<'de> for MapVisitor<T> {
            type Value = StrictObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(StrictObject)
            }
        }

        deserializer.deserialize_map(MapVisitor(PhantomData))
    }
}

/// Returns the path of a field, for example `env[1].name`. `.` is the whole document. The path ends before
/// a key that the document does not complete.
pub(super) fn field_path(path: &Path) -> String {
    let known = path.iter().take_while(|segment| !matches!(segment, Segment::Unknown));
    let field = known.fold(String::new(), |field, segment| match segment {
        Segment::Map { .. } if !field.is_empty() => format!("{field}.{segment}"),
        _ => format!("{field}{segment}"),
    });
    if field.is_empty() { ".".to_owned() } else { field }
}

/// Declares structs whose fields are all optional, with the description of the object for errors.
macro_rules! raw_objects {
    ($($name:ident, $expected:literal { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $($(#[$attribute])* pub(super) $field: Option<$type>,)*
        }

        impl ObjectType for $name {
            const EXPECTED: &'static str = $expected;
        }
    )*};
}

raw_objects! {
    RawContract, "an object with the contract's fields" {
        name: String,
        version: String,
        description: String,
        env: Vec<StrictObject<RawNamed>>,
        flags: Vec<StrictObject<RawNamed>>,
        requirements: StrictObject<RawRequirements>,
    }
    RawNamed, "an object with `name`" {
        name: String,
    }
    RawRequirements, "an object with `kubernetes`, `deckhouse`, `modules` and `plugins`" {
        kubernetes: StrictObject<RawVersioned>,
        deckhouse: StrictObject<RawVersioned>,
        modules: StrictObject<RawModules>,
        plugins: StrictObject<RawPlugins>,
    }
    RawVersioned, "an object with `constraint`" {
        constraint: String,
    }
    RawModules, "an object with `mandatory`, `conditional`, `anyOf` and `noneOf`" {
        mandatory: Vec<StrictObject<RawRequired>>,
        conditional: Vec<StrictObject<RawRequired>>,
        any_of: Vec<StrictObject<RawGroup>>,
        none_of: Vec<StrictObject<RawGroup>>,
    }
    RawPlugins, "an object with `mandatory` and `conditional`" {
        mandatory: Vec<StrictObject<RawRequired>>,
        conditional: Vec<StrictObject<RawRequired>>,
    }
    RawGroup, "an object with `name`, `description` and `modules`" {
        name: String,
        description: String,
        modules: Vec<StrictObject<RawRequired>>,
    }
    RawRequired, "an object with `name` and `constraint`" {
        name: String,
        constraint: String,
    }
}
