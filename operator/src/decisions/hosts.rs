//! Hosts, reduced to one compact row each as the watch delivers them. With 10,000 hosts the whole objects would
//! not fit into the operator's memory. Labels and lists of versions that several hosts share are stored once.

mod interner;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use d8_crds::{
    decisions::{
        agent_report::DUPLICATE_IDENTITY,
        wave::{FailedChange, UpToDate},
    },
    records::{
        host::{CliHost, ComponentState, HostComponent},
        policy::HostCounts,
    },
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::watcher::Event};

pub(crate) use self::interner::Labels;
use self::interner::{ActiveVersions, Interner};

/// What is kept of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HostRow {
    labels: Arc<Labels>,
    state: HostState,
    active: Arc<ActiveVersions>,
    /// For each of `active`: since when the host reports it as up to date, by the host's clock.
    up_to_date_since: Box<[Option<Timestamp>]>,
    /// When the host last reported, by its clock.
    last_seen: Option<Timestamp>,
    /// Empty on most hosts.
    failures: Box<[HostFailure]>,
    /// Two machines report as this host.
    is_duplicate: bool,
}

impl HostRow {
    /// Returns whether something else than the time of the report differs, which changes all the time.
    fn differs(&self, other: &Self) -> bool {
        Self { last_seen: None, ..self.clone() } != Self { last_seen: None, ..other.clone() }
    }
}

/// What one host reports of the versions on it, for policies that require evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostReport {
    /// Name of the host.
    pub(crate) name: String,
    /// Whether the policy's `canarySelector` matches it.
    pub(crate) is_canary: bool,
    active: Arc<ActiveVersions>,
    up_to_date_since: Box<[Option<Timestamp>]>,
    last_seen: Option<Timestamp>,
}

impl HostReport {
    /// Returns the versions that the host reports as up to date: name of the component, version, and for which time.
    pub(crate) fn up_to_date(&self) -> impl Iterator<Item = (&str, &str, UpToDate)> {
        let versions = self.active.iter().zip(&self.up_to_date_since);
        versions.filter_map(|((name, active), since)| {
            let since = (*since)?;
            Some((&**name, &**active, UpToDate::new(since, self.last_seen)))
        })
    }
}

/// The state of a host: the worst state of its components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HostState {
    /// The host has reported no component yet.
    Unreported,
    UpToDate,
    Held,
    Failed,
}

impl HostState {
    fn of(components: &[HostComponent]) -> Self {
        if components.is_empty() {
            Self::Unreported
        } else if components.iter().any(|c| c.state == ComponentState::Failed) {
            Self::Failed
        } else if components.iter().any(|c| c.state != ComponentState::UpToDate) {
            Self::Held
        } else {
            Self::UpToDate
        }
    }
}

/// A change on one host that failed or has not finished.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostFailure {
    /// Name of the component.
    pub(crate) component: Arc<str>,
    /// The version the host was changing to.
    pub(crate) version: Arc<str>,
    /// When the change began, by the host's clock; absent: the change failed.
    pub(crate) switching_since: Option<Timestamp>,
}

/// The oldest and the newest version of a component that is active on hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionSpan {
    pub(crate) oldest: Version,
    pub(crate) newest: Version,
}

impl VersionSpan {
    fn extend(&mut self, version: Version) {
        if version < self.oldest {
            self.oldest = version;
        } else if version > self.newest {
            self.newest = version;
        }
    }
}

/// Summary of the hosts that one policy selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MatchedHosts {
    /// Number of hosts, in all and by state.
    pub(crate) counts: HostCounts,
    /// The versions that are active on them, by component.
    pub(crate) active: BTreeMap<String, VersionSpan>,
    /// All versions that are active on them.
    pub(crate) versions: BTreeMap<Component, BTreeSet<Version>>,
    /// How many of them the policy's `canarySelector` matches; absent: it has none.
    pub(crate) canaries: Option<u32>,
    /// The labels of all hosts, if a selector of the policy matches none: the values of each key.
    pub(crate) labels: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Their failed and unfinished changes. Each host is listed once for a component and version.
    pub(crate) failures: Vec<HostFailure>,
    /// What each of them reports; empty if the policy requires no evidence.
    pub(crate) reports: Vec<HostReport>,
}

/// All hosts of the cluster.
#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    rows: HashMap<String, HostRow>,
    interner: Interner,
    /// Names in the listing that is in progress. A host that is missing at its end was deleted.
    listing: Option<BTreeSet<String>>,
    /// Counts changes of labels, and hosts that are added or removed.
    labels_revision: u64,
    /// Hosts that began to report a second machine, for [`HostIndex::take_duplicates`].
    new_duplicates: BTreeMap<String, Option<String>>,
}

impl HostIndex {
    /// Applies an event of the watch. Returns whether a row changed.
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
                let uid = host.uid();
                let row = row(host, &mut self.interner);
                let before = self.rows.get(&name);
                let changed = before.is_none_or(|before| before.differs(&row));
                self.labels_revision += u64::from(before.is_none_or(|before| before.labels != row.labels));
                if row.is_duplicate && !before.is_some_and(|before| before.is_duplicate) {
                    self.new_duplicates.insert(name.clone(), uid);
                }
                self.rows.insert(name, row);
                self.interner.prune_if_grown();
                changed
            }
            Event::InitDone => {
                let before = self.rows.len();
                if let Some(listing) = self.listing.take() {
                    self.rows.retain(|name, _| listing.contains(name));
                }
                self.interner.prune();
                let changed = self.rows.len() != before;
                self.labels_revision += u64::from(changed);
                changed
            }
            Event::Delete(host) => {
                let changed = self.rows.remove(&host.name_any()).is_some();
                self.labels_revision += u64::from(changed);
                changed
            }
        }
    }

    /// Returns the hosts of which two machines began to report since the last call, with their UIDs.
    pub(crate) fn take_duplicates(&mut self) -> BTreeMap<String, Option<String>> {
        std::mem::take(&mut self.new_duplicates)
    }

    /// Returns a number that changes with [`HostIndex::labels`].
    pub(crate) fn labels_revision(&self) -> u64 {
        self.labels_revision
    }

    /// Returns the labels of all hosts, each with the number of hosts that have exactly these.
    pub(crate) fn labels(&self) -> Vec<(Arc<Labels>, u32)> {
        let mut all: HashMap<*const Labels, (Arc<Labels>, u32)> = HashMap::new();
        for row in self.rows.values() {
            // Interned labels have one address each.
            let (_, hosts) = all.entry(Arc::as_ptr(&row.labels)).or_insert_with(|| (row.labels.clone(), 0));
            *hosts = hosts.saturating_add(1);
        }
        all.into_values().collect()
    }

    /// Returns what each host reports whose labels `selects` accepts, by name. Labels that `is_canary` accepts make it a
    /// canary.
    pub(crate) fn reports(
        &self,
        selects: impl Fn(&Labels) -> bool,
        is_canary: impl Fn(&Labels) -> bool,
    ) -> Vec<HostReport> {
        let selected = self.rows.iter().filter(|(_, row)| selects(&row.labels));
        let report = |(name, row): (&String, &HostRow)| HostReport {
            name: name.clone(),
            is_canary: is_canary(&row.labels),
            active: row.active.clone(),
            up_to_date_since: row.up_to_date_since.clone(),
            last_seen: row.last_seen,
        };
        let mut reports: Vec<_> = selected.map(report).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    /// Sums up the hosts whose labels `selects` accepts.
    pub(crate) fn matching(&self, selects: impl Fn(&Labels) -> bool) -> MatchedHosts {
        let mut matched = MatchedHosts::default();
        // Interned labels and lists of versions have one address each: each is evaluated once.
        let mut selected: HashMap<*const Labels, bool> = HashMap::new();
        let mut active: HashMap<*const (), &ActiveVersions> = HashMap::new();
        for row in self.rows.values() {
            if !*selected.entry(Arc::as_ptr(&row.labels)).or_insert_with(|| selects(&row.labels)) {
                continue;
            }
            let counts = &mut matched.counts;
            counts.matched += 1;
            match row.state {
                HostState::Unreported => {}
                HostState::UpToDate => counts.up_to_date += 1,
                HostState::Held => counts.held += 1,
                HostState::Failed => counts.failed += 1,
            }
            active.insert(Arc::as_ptr(&row.active).cast(), &row.active);
            matched.failures.extend(row.failures.iter().cloned());
        }
        let pairs: BTreeSet<&(Arc<str>, Arc<str>)> = active.into_values().flatten().collect();
        for (component, text) in pairs {
            let Ok(version) = Version::parse(text) else { continue };
            if let Ok(component) = component.parse() {
                matched.versions.entry(component).or_default().insert(version.clone());
            }
            if let Some(span) = matched.active.get_mut(&**component) {
                span.extend(version);
            } else {
                let span = VersionSpan { oldest: version.clone(), newest: version };
                matched.active.insert(component.to_string(), span);
            }
        }
        matched.failures.sort();
        matched
    }

    /// Counts the selected hosts that report themselves as up to date while `forbids` says of one of their versions that
    /// it must be replaced: since an edit that they have not followed yet.
    pub(crate) fn must_change(
        &self,
        selects: impl Fn(&Labels) -> bool,
        forbids: impl Fn(&Component, &Version) -> bool,
    ) -> u32 {
        // Many hosts have the same versions: each list is evaluated once.
        let mut known: HashMap<*const (), bool> = HashMap::new();
        let must = |active: &ActiveVersions| {
            active.iter().any(|(component, version)| {
                let parsed = component.parse().ok().zip(Version::parse(version).ok());
                parsed.is_some_and(|(component, version)| forbids(&component, &version))
            })
        };
        let rows = self.rows.values().filter(|row| row.state == HostState::UpToDate && selects(&row.labels));
        let count =
            rows.filter(|row| *known.entry(Arc::as_ptr(&row.active).cast()).or_insert_with(|| must(&row.active)));
        u32::try_from(count.count()).unwrap_or(u32::MAX)
    }

    /// Returns the labels of all hosts: the values of each key.
    pub(crate) fn label_values(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (labels, _) in self.labels() {
            for (key, value) in labels.iter() {
                values.entry(key.clone()).or_default().insert(value.clone());
            }
        }
        values
    }

    /// Returns the versions that are active on at least one host, by component.
    pub(crate) fn active_versions(&self) -> BTreeMap<String, BTreeSet<String>> {
        let distinct: HashMap<*const (), &ActiveVersions> =
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

/// Reduces a host to its row.
fn row(host: CliHost, interner: &mut Interner) -> HostRow {
    let status = host.status.unwrap_or_default();
    let last_seen = status.last_seen.map(|time| time.0);
    let is_duplicate = status.conditions.iter().any(|c| c.type_ == DUPLICATE_IDENTITY && c.status == "True");
    let components = status.components;
    let state = HostState::of(&components);
    let mut failures: Vec<_> = components.iter().filter_map(|c| failure(c, last_seen, interner)).collect();
    failures.sort();
    // A host counts once for a version, even if its status lists the component twice.
    failures.dedup_by(|b, a| (&a.component, &a.version) == (&b.component, &b.version));
    let active = components.into_iter().filter_map(|c| {
        let since = c.last_change.filter(|_| c.state == ComponentState::UpToDate).map(|time| time.0);
        Some(((interner.text(&c.name), interner.text(&c.active?)), since))
    });
    let mut active: Vec<_> = active.collect();
    active.sort();
    let (active, up_to_date_since): (Vec<_>, Vec<_>) = active.into_iter().unzip();
    let (active, up_to_date_since) = (interner.active(active), up_to_date_since.into());
    let labels = interner.labels(host.metadata.labels.unwrap_or_default());
    HostRow { labels, state, active, up_to_date_since, last_seen, failures: failures.into(), is_duplicate }
}

/// Returns the failed or unfinished change of a component.
fn failure(component: &HostComponent, last_seen: Option<Timestamp>, interner: &mut Interner) -> Option<HostFailure> {
    let FailedChange { version, switching_since } = FailedChange::reported(component, last_seen)?;
    let version = interner.text(&version.to_string());
    Some(HostFailure { component: interner.text(&component.name), version, switching_since })
}

#[cfg(test)]
mod tests;
