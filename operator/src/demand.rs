//! What policies and hosts ask of the records: which plugins are named outright, which versions are
//! pinned, which are active. Read anew whenever one of them changes, asked often. No IO.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

use d8_crds::{
    records::policy::{Pin, PluginPolicy},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};
use tokio::sync::Notify;

use crate::release::survey::Wanted;

/// Versions that one rule pins.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pins {
    /// Names, or a trailing `*`, as the rule has them.
    plugins: Vec<String>,
    versions: BTreeSet<Version>,
}

/// What all policies and hosts together ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    named: BTreeSet<String>,
    pins: Vec<Pins>,
    active: BTreeMap<String, BTreeSet<Version>>,
}

impl Asked {
    /// Reads it off the policies, valid or not, and the versions that are active on hosts.
    pub(crate) fn read<'a>(
        policies: impl IntoIterator<Item = &'a PluginPolicy>,
        active: BTreeMap<String, BTreeSet<String>>,
    ) -> Self {
        let mut asked = Self::default();
        asked.named.insert(Component::D8_NAME.to_owned());
        for policy in policies {
            for rule in &policy.spec.rules {
                asked.named.extend(rule.plugins.iter().filter(|name| has_record(name)).cloned());
                asked.pin(rule.plugins.clone(), &rule.pins);
            }
            if let Some(cli) = &policy.spec.cli {
                asked.pin(vec![Component::D8_NAME.to_owned()], &cli.pins);
            }
        }
        let versions = |texts: BTreeSet<String>| texts.iter().filter_map(|text| Version::parse(text).ok()).collect();
        asked.active = active.into_iter().map(|(name, texts)| (name, versions(texts))).collect();
        asked
    }

    fn pin(&mut self, plugins: Vec<String>, pins: &[Pin]) {
        let versions: BTreeSet<Version> = pins.iter().filter_map(|pin| Version::parse(&pin.version).ok()).collect();
        if !versions.is_empty() {
            self.pins.push(Pins { plugins, versions });
        }
    }

    /// The records there should be.
    pub(crate) fn named(&self) -> &BTreeSet<String> {
        &self.named
    }

    /// Whether anything still needs the record.
    pub(crate) fn needs(&self, name: &str) -> bool {
        self.named.contains(name) || self.active.contains_key(name)
    }

    /// The versions that a record keeps besides.
    pub(crate) fn wanted(&self, name: &str) -> Wanted {
        let names = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => name != Component::D8_NAME && name.starts_with(prefix),
            None => pattern == name,
        };
        let pinned =
            self.pins.iter().filter(|pins| pins.plugins.iter().any(names)).flat_map(|pins| pins.versions.clone());
        Wanted { pinned: pinned.collect(), active: self.active.get(name).cloned().unwrap_or_default() }
    }
}

/// Whether a record can bear the name: a plugin's that is a DNS label.
fn has_record(name: &str) -> bool {
    name.parse::<PluginName>().is_ok_and(|name| name.is_dns_label())
}

/// What is asked at the moment.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    asked: Mutex<Asked>,
    /// Policies, hosts or records changed: to be read anew.
    pub(crate) stirred: Notify,
}

impl Demand {
    /// The versions that a record keeps besides.
    pub(crate) fn wanted(&self, name: &str) -> Wanted {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).wanted(name)
    }

    /// Takes over what is asked now; returns those of `names` for which it changed.
    pub(crate) fn update(&self, asked: Asked, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut current = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == asked {
            return Vec::new();
        }
        let changed = names.into_iter().filter(|name| current.wanted(name) != asked.wanted(name)).collect();
        *current = asked;
        changed
    }
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
    fn what_is_asked() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let pin = |version: &str| json!({"version": version, "digest": digest});
        let policies = [
            policy(&json!({"hostSelector": {}, "rules": [
                {"plugins": ["stronghold", "delivery-*", "my_plugin", "../x"], "pins": [pin("v1.3.2"), pin("nonsense")]},
            ]})),
            policy(&json!({"hostSelector": {}, "cli": {"pins": [pin("0.13.0")]}, "rules": [{"plugins": ["*"]}]})),
        ];
        let active =
            [("stronghold".to_owned(), ["v1.0.0".to_owned(), "dev".to_owned()].into()), ("old".into(), [].into())];
        let asked = Asked::read(&policies, active.into());
        assert_eq!(asked.named().iter().collect::<Vec<_>>(), ["d8", "stronghold"]);
        for (name, needed, pinned, active) in [
            ("stronghold", true, &["v1.3.2"][..], &["v1.0.0"][..]),
            ("delivery-kit", false, &["1.3.2"], &[]),
            ("d8", true, &["v0.13.0"], &[]),
            ("old", true, &[], &[]),
            ("other", false, &[], &[]),
        ] {
            assert_eq!(asked.needs(name), needed, "{name}");
            let expected = Wanted { pinned: versions(pinned), active: versions(active) };
            assert_eq!(asked.wanted(name), expected, "{name}");
        }
        let demand = Demand::default();
        let names = || ["stronghold".to_owned(), "other".to_owned()];
        assert_eq!(demand.update(asked.clone(), names()), ["stronghold"]);
        assert!(demand.update(asked, names()).is_empty());
    }
}
