//! The facts of a cluster that requirements are checked against, made from what its API answers.
//!
//! Owns how the raw answers are read; who asks, and what an error of the API means, is the caller's.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::values::{
    text::{printable, printable_to},
    version::Version,
};

/// A fact, or why there is none. The reasons complete a sentence; they are made fit for a terminal
/// where they are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// It is known.
    Known(T),
    /// It is not asked for, or there is nothing to know: what depends on it passes with a warning.
    Skipped(String),
    /// It could not be had: what depends on it can't be checked.
    Unreadable(String),
}

/// What requirements on the cluster are checked against: one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The API server's version.
    pub kubernetes: Fact<ClusterVersion>,
    /// Deckhouse's version.
    pub deckhouse: Fact<ClusterVersion>,
    /// Deckhouse's modules by name; one that is absent is not enabled.
    pub modules: Fact<BTreeMap<String, ModuleState>>,
}

impl ClusterFacts {
    /// Nothing is known, by choice.
    pub fn skipped(why: &str) -> Self {
        let why = || why.to_owned();
        Self { kubernetes: Fact::Skipped(why()), deckhouse: Fact::Skipped(why()), modules: Fact::Skipped(why()) }
    }

    /// Nothing could be read.
    pub fn unreadable(why: &str) -> Self {
        let why = || why.to_owned();
        Self {
            kubernetes: Fact::Unreadable(why()),
            deckhouse: Fact::Unreadable(why()),
            modules: Fact::Unreadable(why()),
        }
    }
}

/// A version that the cluster reports of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterVersion {
    raw: String,
    version: Version,
}

impl ClusterVersion {
    /// Reads it and normalises it for constraints: build metadata is dropped, a pre-release only if it
    /// is none on the way to a release ([`Version::is_candidate`]), as `-eks-1-30` or `-main`.
    pub fn parse(raw: &str) -> Option<Self> {
        let version = Version::parse(raw).ok()?;
        let version = if version.is_candidate() { version.without_build() } else { version.release() };
        Some(Self { raw: raw.to_owned(), version })
    }

    /// As the cluster reports it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// What constraints see.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl Fact<ClusterVersion> {
    /// From `gitVersion` of the API server's `/version`.
    pub fn kubernetes(git_version: &str) -> Self {
        ClusterVersion::parse(git_version).map_or_else(
            || {
                Self::Unreadable(format!(
                    "the cluster reports `{}`, which is no version",
                    printable_to(git_version, 64)
                ))
            },
            Self::Known,
        )
    }

    /// From annotation `core.deckhouse.io/version` of Deployment `d8-system/deckhouse`, read without
    /// error. Development builds have none or one that is no version.
    pub fn deckhouse(annotation: Option<&str>) -> Self {
        match annotation.unwrap_or_default() {
            "" => Self::Skipped("the cluster's Deckhouse does not tell its version".to_owned()),
            raw => ClusterVersion::parse(raw).map_or_else(
                || Self::Skipped(format!("the cluster's Deckhouse is `{}`, no release", printable_to(raw, 64))),
                Self::Known,
            ),
        }
    }

    /// As the cluster reports it, fit for a terminal; None if it is not known.
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Known(known) => Some(printable(known.raw()).into_owned()),
            Self::Skipped(_) | Self::Unreadable(_) => None,
        }
    }
}

/// A module of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleState {
    /// Condition `EnabledByModuleManager` or `EnabledByModuleConfig` is `True`: either, so that a
    /// module is not off while one follows the other.
    pub enabled: bool,
    /// `properties.version` as it stands there; many modules have none.
    pub version: Option<String>,
}

impl ModuleState {
    /// The name and state in a `modules.deckhouse.io` object of version v1alpha1; None if it has no name.
    pub fn of_object(object: &Value) -> Option<(String, Self)> {
        let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let enabled = conditions.into_iter().flatten().any(|condition| {
            matches!(condition["type"].as_str(), Some("EnabledByModuleManager" | "EnabledByModuleConfig"))
                && condition["status"] == "True"
        });
        let version = object.pointer("/properties/version").and_then(Value::as_str);
        Some((name, Self { enabled, version: version.filter(|text| !text.is_empty()).map(str::to_owned) }))
    }

    /// Its version, if it has one that is a version.
    pub fn known_version(&self) -> Option<ClusterVersion> {
        self.version.as_deref().and_then(ClusterVersion::parse)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn versions_are_normalised_for_constraints() {
        for (raw, seen) in [
            ("v1.33.4", "v1.33.4"),
            ("1.33", "v1.33.0"),
            ("v1.30.1-eks-1-30", "v1.30.1"),
            ("v1.72.0-main+abc", "v1.72.0"),
            ("v1.72.0+abc", "v1.72.0"),
            ("v1.72.0-rc.1+abc", "v1.72.0-rc.1"),
            ("v1.72.0-PREVIEW1", "v1.72.0-PREVIEW1"),
        ] {
            let version = ClusterVersion::parse(raw).unwrap();
            assert_eq!(
                (version.version().to_string().as_str(), version.version().build(), version.raw()),
                (seen, "", raw)
            );
        }
    }

    #[test]
    fn what_is_known_of_versions() {
        assert_eq!(Fact::kubernetes("v1.33.4").shown().as_deref(), Some("v1.33.4"));
        assert_eq!(Fact::deckhouse(Some("v1.72.1")).shown().as_deref(), Some("v1.72.1"));
        for (fact, expected) in [
            (
                Fact::kubernetes("unknown\u{1b}"),
                Fact::Unreadable(r"the cluster reports `unknown\u{1b}`, which is no version".into()),
            ),
            (Fact::kubernetes(""), Fact::Unreadable("the cluster reports ``, which is no version".into())),
            (Fact::deckhouse(None), Fact::Skipped("the cluster's Deckhouse does not tell its version".into())),
            (Fact::deckhouse(Some("")), Fact::Skipped("the cluster's Deckhouse does not tell its version".into())),
            (Fact::deckhouse(Some("dev")), Fact::Skipped("the cluster's Deckhouse is `dev`, no release".into())),
        ] {
            assert_eq!(fact, expected);
            assert_eq!(fact.shown(), None);
        }
    }

    #[test]
    fn modules() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let on = |conditions: Value| json!({"metadata": {"name": "m"}, "status": {"conditions": conditions}});
        for (object, enabled) in [
            (json!({"metadata": {"name": "m"}}), false),
            (on(json!([])), false),
            (on(json!(null)), false),
            (on(json!({"type": "EnabledByModuleManager"})), false),
            (on(json!([condition("EnabledByModuleManager", "False")])), false),
            (on(json!([condition("IsReady", "True")])), false),
            (on(json!([condition("EnabledByModuleManager", "True")])), true),
            (
                on(json!([condition("EnabledByModuleManager", "False"), condition("EnabledByModuleConfig", "True")])),
                true,
            ),
            (on(json!([7, condition("EnabledByModuleConfig", "True")])), true),
            (on(json!([{"type": "EnabledByModuleConfig", "status": true}])), false),
        ] {
            let expected = ("m".to_owned(), ModuleState { enabled, version: None });
            assert_eq!(ModuleState::of_object(&object), Some(expected), "{object}");
        }
        for (properties, version) in [
            (json!({"version": "v1.2.3"}), Some("v1.2.3")),
            (json!({"version": ""}), None),
            (json!({"version": 1.2}), None),
            (json!(null), None),
        ] {
            let object = json!({"metadata": {"name": "m"}, "properties": properties});
            assert_eq!(ModuleState::of_object(&object).unwrap().1.version.as_deref(), version, "{object}");
        }
        for nameless in [json!(null), json!([]), json!({"metadata": {}}), json!({"metadata": {"name": 7}})] {
            assert_eq!(ModuleState::of_object(&nameless), None);
        }
        let odd = ModuleState { enabled: true, version: Some("dev".into()) };
        assert_eq!(odd.known_version(), None);
    }
}
