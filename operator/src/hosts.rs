//! Hosts, folded to one compact row each as they come by on the watch: with 10,000 of them the whole
//! objects would not fit in the operator's memory. What many hosts share (labels, the versions they run)
//! is kept once. No IO, no clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
    sync::Arc,
};

use d8_crds::{
    records::{
        host::{CliHost, ComponentState, HostComponent},
        policy::HostCounts,
    },
    values::version::Version,
};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::watcher::Event};

type Labels = BTreeMap<String, String>;
/// Component and active version, in order.
type Active = [(Arc<str>, Arc<str>)];

/// What is kept of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    labels: Arc<Labels>,
    standing: Standing,
    active: Arc<Active>,
    /// Empty on most hosts.
    troubles: Box<[Trouble]>,
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

/// A change on one host that failed, or has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trouble {
    /// The component.
    pub(crate) component: Arc<str>,
    /// The version it was to change to.
    pub(crate) version: Arc<str>,
    /// Since when it switches, as the host says; absent: it failed.
    pub(crate) switching_since: Option<Timestamp>,
}

/// The oldest and the newest version of a component that is active on hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// The oldest.
    pub(crate) oldest: Version,
    /// The newest.
    pub(crate) newest: Version,
}

/// What the hosts of one policy add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    /// How many there are, and where they stand.
    pub(crate) counts: HostCounts,
    /// What they run, by component.
    pub(crate) active: BTreeMap<String, Span>,
    /// What went wrong on them; of one host each component and version once.
    pub(crate) troubles: Vec<Trouble>,
}

/// All hosts.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    rows: HashMap<String, Row>,
    shared: Shared,
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
                let row = self.shared.row(host);
                let changed = self.rows.get(&name) != Some(&row);
                self.rows.insert(name, row);
                self.shared.prune_if_grown();
                changed
            }
            Event::InitDone => {
                let before = self.rows.len();
                if let Some(listing) = self.listing.take() {
                    self.rows.retain(|name, _| listing.contains(name));
                }
                self.shared.prune();
                self.rows.len() != before
            }
            Event::Delete(host) => self.rows.remove(&host.name_any()).is_some(),
        }
    }

    /// The hosts that a policy selects.
    pub(crate) fn matched(&self, selects: impl Fn(&Labels) -> bool) -> Matched {
        let mut matched = Matched::default();
        // Many hosts share their labels and their versions: each is looked at once.
        let mut selected: HashMap<*const Labels, bool> = HashMap::new();
        let mut running: HashMap<*const (), &Active> = HashMap::new();
        for row in self.rows.values() {
            if !*selected.entry(Arc::as_ptr(&row.labels)).or_insert_with(|| selects(&row.labels)) {
                continue;
            }
            let counts = &mut matched.counts;
            counts.matched += 1;
            match row.standing {
                Standing::Silent => {}
                Standing::UpToDate => counts.up_to_date += 1,
                Standing::Held => counts.held += 1,
                Standing::Failed => counts.failed += 1,
            }
            running.insert(Arc::as_ptr(&row.active).cast(), &row.active);
            matched.troubles.extend(row.troubles.iter().cloned());
        }
        let pairs: BTreeSet<&(Arc<str>, Arc<str>)> = running.into_values().flatten().collect();
        for (component, text) in pairs {
            let Ok(version) = Version::parse(text) else { continue };
            match matched.active.get_mut(&**component) {
                None => {
                    let span = Span { oldest: version.clone(), newest: version };
                    matched.active.insert(component.to_string(), span);
                }
                Some(span) if version < span.oldest => span.oldest = version,
                Some(span) if version > span.newest => span.newest = version,
                Some(_) => {}
            }
        }
        matched.troubles.sort();
        matched
    }

    /// The versions that are active on some host, by component.
    pub(crate) fn active(&self) -> BTreeMap<String, BTreeSet<String>> {
        let distinct: HashMap<*const (), &Active> =
            self.rows.values().map(|row| (Arc::as_ptr(&row.active).cast(), &*row.active)).collect();
        let mut active: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (component, version) in distinct.into_values().flatten() {
            let versions = active.entry(component.to_string()).or_default();
            if !versions.contains(&**version) {
                versions.insert(version.to_string());
            }
        }
        active
    }
}

/// What rows share, each once.
#[derive(Debug, Default)]
struct Shared {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Arc<Labels>>,
    active: HashSet<Arc<Active>>,
    /// How much there was when unused ones were dropped last.
    left: usize,
}

impl Shared {
    fn row(&mut self, host: CliHost) -> Row {
        let status = host.status.unwrap_or_default();
        let seen = status.last_seen.map(|time| time.0);
        let components = status.components;
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
        let mut troubles: Vec<Trouble> = components.iter().filter_map(|c| self.trouble(c, seen)).collect();
        troubles.sort();
        // A host counts once, whatever it lists.
        troubles.dedup_by(|b, a| (&a.component, &a.version) == (&b.component, &b.version));
        let mut active: Vec<(Arc<str>, Arc<str>)> =
            components.into_iter().filter_map(|c| Some((self.text(&c.name), self.text(&c.active?)))).collect();
        active.sort();
        let active = shared(&mut self.active, active.into());
        let labels = shared(&mut self.labels, Arc::new(host.metadata.labels.unwrap_or_default()));
        Row { labels, standing, active, troubles: troubles.into() }
    }

    /// What went wrong with the component. A host that names no target speaks of what it runs. One that
    /// does not say since when it switches did not begin after its report.
    fn trouble(&mut self, component: &HostComponent, seen: Option<Timestamp>) -> Option<Trouble> {
        let switching_since = match component.state {
            ComponentState::Failed => None,
            ComponentState::Switching => Some(component.last_change.as_ref().map(|time| time.0).or(seen)?),
            _ => return None,
        };
        let version = component.target.as_deref().or(component.active.as_deref())?;
        // Spelt in one way, or a host could count twice.
        let version = Version::parse(version).ok()?.without_build().to_string();
        Some(Trouble { component: self.text(&component.name), version: self.text(&version), switching_since })
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        match self.texts.get(text) {
            Some(known) => known.clone(),
            None => shared(&mut self.texts, text.into()),
        }
    }

    /// Drops what no row has any more, once that may be half of it.
    fn prune_if_grown(&mut self) {
        const SLACK: usize = 1024;
        if self.len() > 2 * self.left + SLACK {
            self.prune();
        }
    }

    fn prune(&mut self) {
        self.active.retain(|known| Arc::strong_count(known) > 1);
        self.labels.retain(|known| Arc::strong_count(known) > 1);
        self.texts.retain(|known| Arc::strong_count(known) > 1);
        self.left = self.len();
    }

    fn len(&self) -> usize {
        self.texts.len() + self.labels.len() + self.active.len()
    }
}

fn shared<T: Eq + Hash + ?Sized>(known: &mut HashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(known) = known.get(&value) {
        return known.clone();
    }
    known.insert(value.clone());
    value
}

#[cfg(test)]
mod tests {
    use d8_crds::records::host::{CliHostSpec, CliHostStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

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
        let bastions = hosts.matched(|labels| labels["role"] == "bastion").counts;
        assert_eq!(bastions, HostCounts { matched: 4, up_to_date: 1, held: 1, failed: 1 });
        assert_eq!(hosts.matched(|_| true).counts.matched, 5);
        assert_eq!(hosts.active()["p1"], ["v1.0.0".to_owned()].into());
    }

    #[test]
    fn a_new_listing_drops_what_it_lacks_and_not_before_its_end() {
        let mut hosts = Hosts::default();
        hosts.apply(Event::Apply(host("a", "x", &[])));
        hosts.apply(Event::Apply(host("b", "x", &[])));
        assert!(!hosts.apply(Event::Init));
        assert!(!hosts.apply(Event::InitApply(host("b", "x", &[]))));
        assert_eq!(hosts.matched(|_| true).counts.matched, 2);
        assert!(hosts.apply(Event::InitDone));
        assert_eq!(hosts.matched(|_| true).counts.matched, 1);
        assert!(hosts.apply(Event::Delete(host("b", "x", &[]))));
        assert_eq!(hosts.matched(|_| true).counts.matched, 0);
    }

    #[test]
    fn what_hosts_run_and_what_failed_there() {
        use ComponentState::{Failed, Pending, Switching, UpToDate};
        let time = |second| Time(Timestamp::from_second(second).unwrap());
        let component = |name: &str, active: Option<&str>, target: Option<&str>, state, change: Option<i64>| {
            let (active, target) = (active.map(str::to_owned), target.map(str::to_owned));
            let last_change = change.map(time);
            let (name, rest) = (name.to_owned(), (None, None, None));
            let (reason, message, until) = rest;
            HostComponent { name, active, digest: None, target, state, reason, message, until, last_change }
        };
        let host = |name: &str, seen: Option<i64>, components| {
            let mut host = CliHost::new(name, CliHostSpec::default());
            let status = CliHostStatus { components, last_seen: seen.map(time), ..CliHostStatus::default() };
            host.status = Some(status);
            host
        };
        let trouble = |version: &str, since: Option<i64>| Trouble {
            component: "p".into(),
            version: version.into(),
            switching_since: since.map(|second| time(second).0),
        };
        for (components, seen, expected) in [
            (vec![component("p", Some("v1.0.0"), Some("v1.1.0"), Failed, None)], None, vec![trouble("v1.1.0", None)]),
            (vec![component("p", Some("1.0.0"), None, Failed, None)], None, vec![trouble("v1.0.0", None)]),
            (vec![component("p", None, Some("dev"), Failed, None)], None, vec![]),
            (vec![component("p", None, Some("v1.1.0"), Switching, Some(5))], Some(9), vec![trouble("v1.1.0", Some(5))]),
            (vec![component("p", None, Some("v1.1.0"), Switching, None)], Some(9), vec![trouble("v1.1.0", Some(9))]),
            (vec![component("p", None, Some("v1.1.0"), Switching, None)], None, vec![]),
            (vec![component("p", None, Some("v1.1.0"), Pending, None)], None, vec![]),
            // Listed again and again, it is still one host.
            (
                vec![
                    component("p", None, Some("v1.1.0"), Failed, None),
                    component("p", None, Some("1.1.0"), Failed, None),
                    component("p", None, Some("v1.1.0"), Switching, Some(5)),
                ],
                None,
                vec![trouble("v1.1.0", None)],
            ),
        ] {
            let mut hosts = Hosts::default();
            hosts.apply(Event::Apply(host("a", seen, components.clone())));
            assert_eq!(hosts.matched(|_| true).troubles, expected, "{components:?}");
            assert_eq!(hosts.matched(|_| false), Matched::default());
        }

        let mut hosts = Hosts::default();
        for (name, version) in [("a", "v1.9.0"), ("b", "v1.10.0"), ("c", "v1.2.0"), ("d", "nonsense"), ("e", "v1.9.0")]
        {
            hosts.apply(Event::Apply(host(name, None, vec![component("p", Some(version), None, UpToDate, None)])));
        }
        let version = |text| Version::parse(text).unwrap();
        let span = Span { oldest: version("v1.2.0"), newest: version("v1.10.0") };
        assert_eq!(hosts.matched(|_| true).active, [("p".to_owned(), span)].into());
        assert_eq!(hosts.active()["p"].len(), 4);
    }

    #[test]
    fn what_no_row_has_is_dropped() {
        let mut hosts = Hosts::default();
        for n in 0..5000 {
            let mut changed = host("a", "x", &[ComponentState::UpToDate]);
            changed.metadata.labels = Some([("n".to_owned(), n.to_string())].into());
            hosts.apply(Event::Apply(changed));
        }
        assert!(hosts.shared.len() < 1100, "{}", hosts.shared.len());
    }
}
