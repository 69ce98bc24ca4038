//! The facts of a cluster against which requirements are checked, made from the responses of its API.
//!
//! This module parses the responses. The caller makes the requests and handles their errors.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::values::{
    text::{printable, printable_to},
    version::Version,
};

/// A fact, or the reason why it is unknown. A reason is the end of a sentence and may contain text from outside:
/// make it printable before you display it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    /// The fact is known.
    Known(T),
    /// The fact was not requested or does not exist. Requirements on it pass with a warning.
    Skipped(String),
    /// The fact could not be read. Requirements on it cannot be checked.
    Unreadable(String),
}

/// The facts of a cluster at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Version of the API server.
    pub kubernetes: Fact<ClusterVersion>,
    /// Version of Deckhouse. Skipped if Deckhouse reports none, as development builds do.
    pub deckhouse: Fact<ClusterVersion>,
    /// Deckhouse modules by name. A module that is absent is not enabled.
    pub modules: Fact<BTreeMap<String, ModuleState>>,
}

impl ClusterFacts {
    /// Returns facts of which none could be read, with the reason.
    pub fn unreadable(why: &str) -> Self {
        let why = || why.to_owned();
        Self {
            kubernetes: Fact::Unreadable(why()),
            deckhouse: Fact::Unreadable(why()),
            modules: Fact::Unreadable(why()),
        }
    }
}

/// A version that the cluster reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterVersion {
    raw: String,
    version: Version,
}

impl ClusterVersion {
    /// Parses a version and normalizes it for constraints: drops build metadata, and drops pre-release
    /// identifiers that do not precede a release ([`Version::is_candidate`]), such as `-eks-1-30` or `-main`.
    pub fn parse(raw: &str) -> Option<Self> {
        let version = Version::parse(raw).ok()?;
        let version = if version.is_candidate() { version.without_build() } else { version.release() };
        Some(Self { raw: raw.to_owned(), version })
    }

    /// Returns the version as the cluster reports it.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Returns the normalized version for constraints.
    pub fn version(&self) -> &Version {
        &self.version
    }
}

impl Fact<ClusterVersion> {
    /// Makes the fact from `gitVersion` of the API server's `/version`.
    pub fn kubernetes(git_version: &str) -> Self {
        ClusterVersion::parse(git_version).map_or_else(
            || {
                Self::Unreadable(format!(
                    "the cluster reports `{}`, which is not a version",
                    printable_to(git_version, 64)
                ))
            },
            Self::Known,
        )
    }

    /// Makes the fact from annotation `core.deckhouse.io/version` of Deployment `d8-system/deckhouse`.
    /// Development builds have no annotation, or one that is not a version.
    pub fn deckhouse(annotation: Option<&str>) -> Self {
        match annotation.unwrap_or_default() {
            "" => Self::Skipped("Deckhouse in the cluster reports no version".to_owned()),
            raw => ClusterVersion::parse(raw).map_or_else(
                || {
                    Self::Skipped(format!(
                        "Deckhouse in the cluster reports `{}`, which is not a release",
                        printable_to(raw, 64)
                    ))
                },
                Self::Known,
            ),
        }
    }

    /// Returns the reported version in printable form, or `None` if it is unknown.
    pub fn printable(&self) -> Option<String> {
        match self {
            Self::Known(known) => Some(printable(known.raw()).into_owned()),
            Self::Skipped(_) | Self::Unreadable(_) => None,
        }
    }
}

/// State of a Deckhouse module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleState {
    /// Whether condition `EnabledByModuleManager` or `EnabledByModuleConfig` is `True`. One of them is enough,
    /// so that a module counts as enabled while the other one is not updated yet.
    pub enabled: bool,
    /// Value of `properties.version`. Many modules have none.
    pub version: Option<String>,
}

impl ModuleState {
    /// Returns the name and the state of a v1alpha1 object of `modules.deckhouse.io`, or `None` if it has no
    /// name.
    pub fn from_object(object: &Value) -> Option<(String, Self)> {
        let name = object.pointer("/metadata/name")?.as_str()?.to_owned();
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let enabled = conditions.into_iter().flatten().any(|condition| {
            matches!(condition["type"].as_str(), Some("EnabledByModuleManager" | "EnabledByModuleConfig"))
                && condition["status"] == "True"
        });
        let version = object.pointer("/properties/version").and_then(Value::as_str);
        Some((name, Self { enabled, version: version.filter(|text| !text.is_empty()).map(str::to_owned) }))
    }

    /// Returns the version of the module if it is valid.
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
        for (raw, normalized) in [
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
                (normalized, "", raw)
            );
        }
    }

    #[test]
    fn unknown_versions_have_a_reason() {
        assert_eq!(Fact::kubernetes("v1.33.4").printable().as_deref(), Some("v1.33.4"));
        assert_eq!(Fact::deckhouse(Some("v1.72.1")).printable().as_deref(), Some("v1.72.1"));
        for (fact, expected) in [
            (
                Fact::kubernetes("unknown\u{1b}"),
                Fact::Unreadable(r"the cluster reports `unknown\u{1b}`, which is not a version".into()),
            ),
            (Fact::kubernetes(""), Fact::Unreadable("the cluster reports ``, which is not a version".into())),
            (Fact::deckhouse(None), Fact::Skipped("Deckhouse in the cluster reports no version".into())),
            (Fact::deckhouse(Some("")), Fact::Skipped("Deckhouse in the cluster reports no version".into())),
            (
                Fact::deckhouse(Some("dev")),
                Fact::Skipped("Deckhouse in the cluster reports `dev`, which is not a release".into()),
            ),
        ] {
            assert_eq!(fact, expected);
            assert_eq!(fact.printable(), None);
        }
    }

    #[test]
    fn modules_are_parsed() {
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
            assert_eq!(ModuleState::from_object(&object), Some(expected), "{object}");
        }
        for (properties, version) in [
            (json!({"version": "v1.2.3"}), Some("v1.2.3")),
            (json!({"version": ""}), None),
            (json!({"version": 1.2}), None),
            (json!(null), None),
        ] {
            let object = json!({"metadata": {"name": "m"}, "properties": properties});
            assert_eq!(ModuleState::from_object(&object).unwrap().1.version.as_deref(), version, "{object}");
        }
        for nameless in [json!(null), json!([]), json!({"metadata": {}}), json!({"metadata": {"name": 7}})] {
            assert_eq!(ModuleState::from_object(&nameless), None);
        }
        let invalid = ModuleState { enabled: true, version: Some("dev".into()) };
        assert_eq!(invalid.known_version(), None);
    }
}
