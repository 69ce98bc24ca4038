//! A contract as it travels: every field may be missing or null, whatever is an object must be one,
//! unknown fields are ignored.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What stands in the error when something else was found.
pub(super) trait Shape {
    const EXPECTED: &'static str;
}

/// An object. Serde's derived structs would take a list too, field by field.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de> + Shape> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OnlyMaps<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Shape> Visitor<'de> for OnlyMaps<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OnlyMaps(PhantomData))
    }
}

/// Declares objects whose fields are all optional, with what an error says was expected.
macro_rules! shapes {
    ($($name:ident, $expected:literal { $($(#[$attribute:meta])* $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub(super) struct $name {
            $($(#[$attribute])* pub(super) $field: Option<$type>,)*
        }

        impl Shape for $name {
            const EXPECTED: &'static str = $expected;
        }
    )*};
}

shapes! {
    Contract, "an object with the contract's fields" {
        name: String,
        version: String,
        description: String,
        env: Vec<Object<Named>>,
        flags: Vec<Object<Named>>,
        requirements: Object<Requirements>,
    }
    Named, "an object with `name`" {
        name: String,
    }
    Requirements, "an object with `kubernetes`, `deckhouse`, `modules` and `plugins`" {
        kubernetes: Object<Versioned>,
        deckhouse: Object<Versioned>,
        modules: Object<Modules>,
        plugins: Object<Plugins>,
    }
    Versioned, "an object with `constraint`" {
        constraint: String,
    }
    Modules, "an object with `mandatory`, `conditional`, `anyOf` and `noneOf`" {
        mandatory: Vec<Object<Required>>,
        conditional: Vec<Object<Required>>,
        any_of: Vec<Object<Group>>,
        none_of: Vec<Object<Group>>,
    }
    Plugins, "an object with `mandatory` and `conditional`" {
        mandatory: Vec<Object<Required>>,
        conditional: Vec<Object<Required>>,
    }
    Group, "an object with `name`, `description` and `modules`" {
        name: String,
        description: String,
        modules: Vec<Object<Required>>,
    }
    Required, "an object with `name` and `constraint`" {
        name: String,
        constraint: String,
    }
}
