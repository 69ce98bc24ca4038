//! What policies and hosts retain: which records must exist, and which versions a record keeps whatever its spec
//! says.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    records::policy::{Pin, PluginPolicy},
    values::{
        constraint::Constraint,
        name::{Component, PluginName},
        version::Version,
        version_set::VersionSet,
    },
};

/// Versions that a record keeps whatever its channel, range and history say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RetainedVersions {
    /// Pinned by a policy: their manifests are read again at every poll.
    pub(crate) pinned: BTreeSet<Version>,
    /// Blocked by a policy: a block holds for other versions with the same layer, so the record must have it.
    pub(crate) blocked: BTreeSet<Version>,
    /// Ranges that a policy blocks; as `blocked`, but only the newest versions are kept.
    pub(crate) blocked_ranges: Vec<Constraint>,
    /// Active on at least one host.
    pub(crate) active: BTreeSet<Version>,
}

impl RetainedVersions {
    /// Returns whether the version is in a range that a policy blocks.
    pub(crate) fn is_in_blocked_range(&self, version: &Version) -> bool {
        self.blocked_ranges.iter().any(|range| range.covers(version))
    }

    /// Returns whether the version is pinned, blocked by its number, or active.
    pub(crate) fn contains(&self, version: &Version) -> bool {
        [&self.pinned, &self.blocked, &self.active].into_iter().any(|versions| versions.contains(version))
    }
}

/// The versions that one rule of a policy names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedVersions {
    /// Names of plugins, or a prefix and `*`, as in the rule.
    plugins: Vec<String>,
    pinned: BTreeSet<Version>,
    blocked: BTreeSet<Version>,
    blocked_ranges: Vec<Constraint>,
}

/// What all policies and hosts retain together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Retention {
    named: BTreeSet<String>,
    versions: Vec<NamedVersions>,
    active: BTreeMap<String, BTreeSet<Version>>,
}

impl Retention {
    /// Reads the policies, whether they are valid or not, and the versions that are active on hosts.
    pub(crate) fn read<'a>(
        policies: impl IntoIterator<Item = &'a PluginPolicy>,
        active: BTreeMap<String, BTreeSet<String>>,
    ) -> Self {
        let mut retention = Self::default();
        retention.named.insert(Component::D8_NAME.to_owned());
        for policy in policies {
            for rule in &policy.spec.rules {
                retention.named.extend(rule.plugins.iter().filter(|name| can_name_a_record(name)).cloned());
                retention.keep(rule.plugins.clone(), &rule.pins, &rule.block);
            }
            if let Some(cli) = &policy.spec.cli {
                retention.keep(vec![Component::D8_NAME.to_owned()], &cli.pins, &cli.block);
            }
        }
        let versions = |texts: BTreeSet<String>| texts.iter().filter_map(|text| Version::parse(text).ok()).collect();
        retention.active = active.into_iter().map(|(name, texts)| (name, versions(texts))).collect();
        retention
    }

    fn keep(&mut self, plugins: Vec<String>, pins: &[Pin], block: &[String]) {
        let pinned: BTreeSet<Version> = pins.iter().filter_map(|pin| Version::parse(&pin.version).ok()).collect();
        let (mut blocked, mut blocked_ranges) = (BTreeSet::new(), Vec::new());
        for entry in block.iter().filter_map(|entry| VersionSet::parse(entry).ok()) {
            match entry {
                VersionSet::One(version) => drop(blocked.insert(version)),
                VersionSet::Range(range) => blocked_ranges.push(range),
            }
        }
        if !pinned.is_empty() || !blocked.is_empty() || !blocked_ranges.is_empty() {
            self.versions.push(NamedVersions { plugins, pinned, blocked, blocked_ranges });
        }
    }

    /// Returns the names of the records that must exist: d8 and every plugin that a policy names without a glob.
    pub(crate) fn named(&self) -> &BTreeSet<String> {
        &self.named
    }

    /// Returns whether a policy names the component or a host runs it.
    pub(crate) fn needs(&self, name: &str) -> bool {
        self.named.contains(name) || self.active.contains_key(name)
    }

    /// Returns the versions of a component that its record keeps.
    pub(crate) fn versions(&self, name: &str) -> RetainedVersions {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name != Component::D8_NAME && name.starts_with(prefix),
            None => pattern == name,
        };
        let named = || self.versions.iter().filter(|named| named.plugins.iter().any(matches));
        RetainedVersions {
            pinned: named().flat_map(|named| named.pinned.clone()).collect(),
            blocked: named().flat_map(|named| named.blocked.clone()).collect(),
            blocked_ranges: named().flat_map(|named| named.blocked_ranges.clone()).collect(),
            active: self.active.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// A record's name is the name of a plugin and a DNS label.
fn can_name_a_record(name: &str) -> bool {
    name.parse::<PluginName>().is_ok_and(|name| name.is_dns_label())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: &serde_json::Value) -> PluginPolicy {
        let object = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
            "metadata": {"name": "p"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn versions(texts: &[&str]) -> BTreeSet<Version> {
        texts.iter().map(|text| Version::parse(text).unwrap()).collect()
    }

    #[test]
    fn policies_and_hosts_retain_records_and_versions() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let pin = |version: &str| json!({"version": version, "digest": digest});
        let policies = [
            policy(&json!({"hostSelector": {}, "rules": [
                {"plugins": ["stronghold", "delivery-*", "my_plugin", "../x"], "pins": [pin("v1.3.2"), pin("nonsense")]},
                {"plugins": ["stronghold"], "block": ["1.4.0", "1.2.x", "x1"]},
            ]})),
            policy(&json!({"hostSelector": {}, "cli": {"pins": [pin("0.13.0")]}, "rules": [{"plugins": ["*"]}]})),
        ];
        let active =
            [("stronghold".to_owned(), ["v1.0.0".to_owned(), "dev".to_owned()].into()), ("old".into(), [].into())];
        let retention = Retention::read(&policies, active.into());
        assert_eq!(retention.named().iter().collect::<Vec<_>>(), ["d8", "stronghold"]);
        for (name, needed, pinned, blocked, active) in [
            ("stronghold", true, &["v1.3.2"][..], &["v1.4.0"][..], &["v1.0.0"][..]),
            ("delivery-kit", false, &["1.3.2"], &[], &[]),
            ("d8", true, &["v0.13.0"], &[], &[]),
            ("old", true, &[], &[], &[]),
            ("other", false, &[], &[], &[]),
        ] {
            assert_eq!(retention.needs(name), needed, "{name}");
            let ranges = if name == "stronghold" { vec!["1.2.x".parse().unwrap()] } else { Vec::new() };
            let expected = RetainedVersions {
                pinned: versions(pinned),
                blocked: versions(blocked),
                blocked_ranges: ranges,
                active: versions(active),
            };
            assert_eq!(retention.versions(name), expected, "{name}");
        }
        let stronghold = retention.versions("stronghold");
        let in_range = |text: &str| stronghold.is_in_blocked_range(&Version::parse(text).unwrap());
        assert!(in_range("v1.2.0-rc.1") && in_range("v1.2.9") && !in_range("v1.3.0-rc.1"));
    }
}
