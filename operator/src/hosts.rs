//! Hosts, folded to one compact row each as they come by on the watch: with 10,000 of them the whole
//! objects would not fit in the operator's memory. No IO.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use d8_crds::{
    host::{CliHost, ComponentState},
    policy::HostCounts,
};
use kube::{ResourceExt as _, runtime::watcher::Event};

/// What is kept of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    labels: BTreeMap<String, String>,
    standing: Standing,
    /// Component and active version, each text kept once for all hosts.
    active: Vec<(Arc<str>, Arc<str>)>,
}

/// Where a host stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It has not reported yet.
    Silent,
    UpToDate,
    Held,
    Failed,
}

/// All hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    rows: HashMap<String, Row>,
    /// The texts that rows share.
    texts: HashSet<Arc<str>>,
    /// Names of the listing that is under way; what it lacks at its end is gone.
    listing: Option<BTreeSet<String>>,
}

impl Hosts {
    /// Takes one event of the watch; says whether anything that is kept changed.
    pub(crate) fn apply(&mut self, event: Event<CliHost>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(BTreeSet::new());
                false
            }
            Event::InitApply(host) | Event::Apply(host) => {
                let name = host.name_any();
                if let Some(listing) = &mut self.listing {
                    listing.insert(name.clone());
                }
                let row = self.row(host);
                let changed = self.rows.get(&name) != Some(&row);
                self.rows.insert(name, row);
                changed
            }
            Event::InitDone => {
                let before = self.rows.len();
                if let Some(listing) = self.listing.take() {
                    self.rows.retain(|name, _| listing.contains(name));
                }
                self.texts.retain(|text| Arc::strong_count(text) > 1);
                self.rows.len() != before
            }
            Event::Delete(host) => self.rows.remove(&host.name_any()).is_some(),
        }
    }

    /// How many hosts a policy reaches, and where they are.
    pub(crate) fn count(&self, selects: impl Fn(&BTreeMap<String, String>) -> bool) -> HostCounts {
        let mut counts = HostCounts::default();
        for row in self.rows.values().filter(|row| selects(&row.labels)) {
            counts.matched += 1;
            match row.standing {
                Standing::Silent => {}
                Standing::UpToDate => counts.up_to_date += 1,
                Standing::Held => counts.held += 1,
                Standing::Failed => counts.failed += 1,
            }
        }
        counts
    }

    /// The versions that are active on some host, by component.
    pub(crate) fn active(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut active: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (component, version) in self.rows.values().flat_map(|row| &row.active) {
            let versions = active.entry(component.to_string()).or_default();
            if !versions.contains(&**version) {
                versions.insert(version.to_string());
            }
        }
        active
    }

    fn row(&mut self, host: CliHost) -> Row {
        let components = host.status.map(|status| status.components).unwrap_or_default();
        let any = |state: fn(ComponentState) -> bool| components.iter().any(|c| state(c.state));
        let standing = if components.is_empty() {
            Standing::Silent
        } else if any(|state| state == ComponentState::Failed) {
            Standing::Failed
        } else if any(|state| state != ComponentState::UpToDate) {
            Standing::Held
        } else {
            Standing::UpToDate
        };
        let active =
            components.into_iter().filter_map(|c| Some((self.shared(c.name), self.shared(c.active?)))).collect();
        Row { labels: host.metadata.labels.unwrap_or_default(), standing, active }
    }

    fn shared(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.texts.get(text.as_str()) {
            return known.clone();
        }
        let text: Arc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::host::{CliHostSpec, CliHostStatus, HostComponent};

    use super::*;

    fn host(name: &str, role: &str, states: &[ComponentState]) -> CliHost {
        let mut host = CliHost::new(name, CliHostSpec::default());
        host.metadata.labels = Some([("role".to_owned(), role.to_owned())].into());
        let component = |(n, state): (usize, &ComponentState)| HostComponent {
            name: format!("p{n}"),
            active: Some(format!("v{n}.0.0")),
            digest: None,
            target: None,
            state: *state,
            reason: None,
            message: None,
            until: None,
            last_change: None,
        };
        let components = states.iter().enumerate().map(component).collect();
        host.status = Some(CliHostStatus { components, ..CliHostStatus::default() });
        host
    }

    #[test]
    fn counts() {
        use ComponentState::{Failed, Forbidden, Pending, UpToDate};
        let mut hosts = Hosts::default();
        for (name, role, states) in [
            ("a", "bastion", &[UpToDate, UpToDate][..]),
            ("b", "bastion", &[UpToDate, Pending]),
            ("c", "bastion", &[Failed, Pending]),
            ("d", "bastion", &[]),
            ("e", "ci", &[Forbidden]),
        ] {
            assert!(hosts.apply(Event::Apply(host(name, role, states))));
            assert!(!hosts.apply(Event::Apply(host(name, role, states))), "the same again is no change");
        }
        let bastions = hosts.count(|labels| labels["role"] == "bastion");
        assert_eq!(bastions, HostCounts { matched: 4, up_to_date: 1, held: 1, failed: 1 });
        assert_eq!(hosts.count(|_| true).matched, 5);
        assert_eq!(hosts.active()["p1"], ["v1.0.0".to_owned()].into());
    }

    #[test]
    fn a_new_listing_drops_what_it_lacks_and_not_before_its_end() {
        let mut hosts = Hosts::default();
        hosts.apply(Event::Apply(host("a", "x", &[])));
        hosts.apply(Event::Apply(host("b", "x", &[])));
        assert!(!hosts.apply(Event::Init));
        assert!(!hosts.apply(Event::InitApply(host("b", "x", &[]))));
        assert_eq!(hosts.count(|_| true).matched, 2);
        assert!(hosts.apply(Event::InitDone));
        assert_eq!(hosts.count(|_| true).matched, 1);
        assert!(hosts.apply(Event::Delete(host("b", "x", &[]))));
        assert_eq!(hosts.count(|_| true).matched, 0);
    }
}
