//! What the API server has, and the operator that writes it.

use std::{cell::Cell, collections::BTreeMap, rc::Rc, sync::Arc};

use d8_agent::watched_policies::fingerprint;
use d8_crds::{
    decisions::{
        plan::{Dependencies, KnownFacts, VersionFacts},
        requirements::Findings,
        selection::TagList,
        validation::CheckedPolicy,
        verdict::PolicySet,
        window::MergedSchedule,
    },
    records::{
        host::CliHost,
        policy::{PluginPolicy, PluginPolicyStatus, WaveState},
        release::{CliRelease, CliReleaseSpec, CliReleaseStatus, Fit, ReleaseVersion},
    },
    values::{digest::Digest, name::Component, platform::Platform, version::Version},
};
use d8_operator::offline::PolicyController;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use crate::{
    scenario::{FIRST, FLEET, NIGHTS, Scenario, TOOL},
    time::{HOUR, Millis, millis, whole_second},
};

/// The platform of all hosts.
const PLATFORM: &str = "linux-amd64";

/// The objects of the cluster, and the operator.
pub(crate) struct Cluster {
    pub(crate) component: Component,
    pub(crate) platform: Platform,
    policies: Vec<PluginPolicy>,
    record: CliRelease,
    controller: PolicyController,
    view: Rc<View>,
    fingerprints: BTreeMap<String, Value>,
    /// Most bytes of a list of the policies, as JSON without managed fields.
    pub(crate) largest_list: usize,
}

/// What a tick reads: policies and record, with what follows from them for all hosts.
pub(crate) struct View {
    /// Increases when something changes on which a plan depends.
    pub(crate) revision: u32,
    pub(crate) policies: PolicySet,
    pub(crate) records: BTreeMap<String, CliRelease>,
    pub(crate) known: KnownFacts,
    /// Generation of each policy.
    pub(crate) generations: BTreeMap<String, i64>,
    /// Number of hosts that each policy selects, by its status.
    pub(crate) matched: BTreeMap<String, u32>,
    checked: Vec<CheckedPolicy>,
    /// From when until when no schedule changes.
    steady: Cell<Option<(Timestamp, Timestamp)>>,
    content: Value,
}

/// What a reconciliation of all policies did.
#[derive(Debug, Default)]
pub(crate) struct Reconciled {
    /// Requests that write something.
    pub(crate) writes: u32,
    /// Whether agents tick for what was written.
    pub(crate) is_noticed: bool,
    /// When to reconcile again.
    pub(crate) next: Option<Millis>,
}

/// The wave of a version, by the status of policy `fleet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaveOfFleet {
    pub(crate) since: Option<Timestamp>,
    pub(crate) halted_at: Option<Timestamp>,
}

impl Cluster {
    /// Makes a cluster in which the first version is published and both policies are new.
    pub(crate) fn new(scenario: &Scenario, over: &str, hosts: usize) -> Self {
        let component: Component = TOOL.parse().unwrap_or_else(|error| panic!("{error}"));
        let platform: Platform = PLATFORM.parse().unwrap_or_else(|error| panic!("{error}"));
        let policies = vec![policy(FLEET, &scenario.fleet(over, hosts)), policy(NIGHTS, &Scenario::nights())];
        let mut record = CliRelease::new(TOOL, CliReleaseSpec::default());
        record.status = Some(CliReleaseStatus::default());
        let view = View::new(0, &component, &platform, &policies, &record);
        let mut cluster = Self {
            component,
            platform,
            policies,
            record,
            controller: PolicyController::default(),
            view: Rc::new(view),
            fingerprints: BTreeMap::new(),
            largest_list: 0,
        };
        cluster.publish(FIRST, -30 * 24 * HOUR);
        cluster.sync(0);
        cluster
    }

    /// Returns what a tick reads now.
    pub(crate) fn view(&self) -> Rc<View> {
        self.view.clone()
    }

    /// Adds a version to the record, which the operator found at this time.
    pub(crate) fn publish(&mut self, version: &str, at: Millis) {
        let layer = layer(version);
        let entry = ReleaseVersion {
            fit: Fit::Fits,
            first_seen: Some(Time(whole_second(at))),
            ..serde_json::from_value(json!({
                "version": version, "digest": layer.to_string(), "fit": "Fits",
                "artifacts": [{"platform": PLATFORM, "manifest": layer.to_string(), "layer": layer.to_string(),
                    "sizeBytes": 20_000_000}],
            }))
            .unwrap_or_else(|error| panic!("{error}"))
        };
        self.record.status.get_or_insert_default().versions.insert(0, entry);
        self.renew();
    }

    /// Notes that the proxy answered the operator.
    pub(crate) fn sync(&mut self, at: Millis) {
        self.record.status.get_or_insert_default().last_sync_time = Some(Time(whole_second(at)));
        self.renew();
    }

    /// Replaces fields of the only rule of policy `fleet`.
    pub(crate) fn edit_rule(&mut self, fields: &Value) {
        let fleet = &mut self.policies[0];
        let mut spec = serde_json::to_value(&fleet.spec).unwrap_or_default();
        if let (Some(rule), Some(fields)) = (spec["rules"][0].as_object_mut(), fields.as_object()) {
            rule.extend(fields.clone());
        }
        fleet.spec = serde_json::from_value(spec).unwrap_or_else(|error| panic!("{error}"));
        fleet.metadata.generation = fleet.metadata.generation.map(|generation| generation + 1);
        self.renew();
    }

    /// Sets the annotation that resumes the halted waves of policy `fleet`.
    pub(crate) fn resume(&mut self) {
        let fleet = &mut self.policies[0];
        let waves = fleet.status.iter().flat_map(|status| &status.components).flat_map(|component| &component.waves);
        let halted = waves.filter(|wave| wave.state == Some(WaveState::Halted));
        let halts = halted.filter_map(|wave| Some(format!("{TOOL}/{}@{}", wave.version, wave.halted_at.as_ref()?.0)));
        let halts: Vec<_> = halts.collect();
        let annotation = (d8_crds::decisions::validation::RESUME.to_owned(), halts.join(","));
        fleet.metadata.annotations.get_or_insert_default().extend([annotation]);
        self.renew();
    }

    /// Takes a host into the index of the operator. Returns whether policies must be reconciled.
    pub(crate) fn observe(&mut self, host: CliHost) -> bool {
        self.controller.observe(host)
    }

    /// Reconciles all policies.
    pub(crate) fn reconcile(&mut self, at: Millis) -> Reconciled {
        let (now, releases) = (whole_second(at), [Arc::new(self.record.clone())]);
        let mut done = Reconciled::default();
        for policy in &mut self.policies {
            let reconciled = self.controller.reconcile(policy, &releases, now);
            done.writes += u32::from(reconciled.writes_ledger) + u32::from(reconciled.status.is_some());
            policy.status = reconciled.status.or(policy.status.take());
            let next = reconciled.next.map(millis).map(|next| next.max(at + 1000));
            done.next = [done.next, next].into_iter().flatten().min();
        }
        if done.writes > 0 {
            self.renew();
        }
        done.is_noticed = self.is_noticed();
        done
    }

    /// Returns whether agents tick for what has changed since the last call.
    pub(crate) fn is_noticed(&mut self) -> bool {
        let objects: Vec<Value> = self.policies.iter().filter_map(|policy| serde_json::to_value(policy).ok()).collect();
        self.largest_list = self.largest_list.max(objects.iter().map(|object| object.to_string().len()).sum());
        let now: BTreeMap<_, _> = objects.iter().map(fingerprint).collect();
        let before = std::mem::replace(&mut self.fingerprints, now);
        before != self.fingerprints
    }

    /// Returns the wave of a version in policy `fleet`, as its status has it.
    pub(crate) fn wave(&self, version: &str) -> Option<WaveOfFleet> {
        let status = self.policies[0].status.as_ref()?;
        let wave =
            status.components.iter().flat_map(|component| &component.waves).find(|wave| wave.version == version)?;
        let at = |time: &Option<Time>| time.as_ref().map(|time| time.0);
        Some(WaveOfFleet { since: at(&wave.since), halted_at: at(&wave.halted_at) })
    }

    /// Returns policy `fleet`.
    pub(crate) fn fleet(&self) -> &PluginPolicy {
        &self.policies[0]
    }

    /// Makes the view again. Its revision increases only if a plan may differ: neither counts of hosts, conditions nor
    /// the time of the last poll matter to one, as long as that is less than a day ago.
    fn renew(&mut self) {
        let next = View::new(self.view.revision + 1, &self.component, &self.platform, &self.policies, &self.record);
        let revision = if next.content == self.view.content { self.view.revision } else { next.revision };
        self.view = Rc::new(View { revision, ..next });
    }
}

impl View {
    fn new(
        revision: u32,
        component: &Component,
        platform: &Platform,
        policies: &[PluginPolicy],
        record: &CliRelease,
    ) -> Self {
        let named = |policy: &PluginPolicy| policy.metadata.name.clone().unwrap_or_default();
        let matched = |policy: &PluginPolicy| Some(policy.status.as_ref()?.hosts.as_ref()?.matched);
        Self {
            revision,
            policies: PolicySet::new(policies),
            records: BTreeMap::from([(TOOL.to_owned(), record.clone())]),
            known: known_facts(component, platform, record),
            generations: policies.iter().map(|p| (named(p), p.metadata.generation.unwrap_or_default())).collect(),
            matched: policies.iter().map(|p| (named(p), matched(p).unwrap_or_default())).collect(),
            checked: policies.iter().filter_map(|policy| CheckedPolicy::new(policy).ok()).collect(),
            steady: Cell::new(None),
            content: json!([policies.iter().map(content).collect::<Vec<_>>(), versions(record)]),
        }
    }

    /// Returns the next time at which a window opens or closes, or a blackout begins or ends, in any of the policies.
    pub(crate) fn next_change_of_schedules(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some((_, to)) = self.steady.get().filter(|(from, to)| (*from..*to).contains(&now)) {
            return Some(to);
        }
        let of = |policy: &CheckedPolicy| {
            let merged: MergedSchedule<'_> = [&policy.schedule].into_iter().collect();
            let ends = policy.schedule.blackouts().iter().flat_map(|blackout| [blackout.from, blackout.to]);
            let windows = policy.schedule.windows();
            let of_windows = windows.and_then(|w| if w.open_at(now) { w.open_until(now) } else { w.next_opening(now) });
            let of_both = [merged.next_opening(now), of_windows].into_iter().flatten();
            ends.chain(of_both).filter(|at| *at > now).min()
        };
        let next = self.checked.iter().filter_map(of).min();
        self.steady.set(next.map(|next| (now, next)));
        next
    }
}

/// Returns what the record says of each version, as the planner needs it.
fn known_facts(component: &Component, platform: &Platform, record: &CliRelease) -> KnownFacts {
    let mut known = KnownFacts::default();
    known.insert_tags(component.clone(), Ok(TagList::of_record(component, record, Some(platform))));
    for recorded in record.status.iter().flat_map(|status| &status.versions) {
        let dependencies = Dependencies::read(&recorded.requirements.plugins).map_err(|error| error.to_string());
        let findings = Findings::recorded(recorded, Some(platform));
        let facts = dependencies.map(|dependencies| VersionFacts { findings, dependencies });
        if let Ok(version) = Version::parse(&recorded.version) {
            known.insert_version(component.clone(), version, facts);
        }
    }
    known
}

/// Returns what a plan depends on in a policy.
fn content(policy: &PluginPolicy) -> Value {
    let status = policy.status.clone().unwrap_or_default();
    let status = PluginPolicyStatus { hosts: None, conditions: Vec::new(), next_window: None, ..status };
    json!([policy.metadata.generation, policy.metadata.annotations, policy.spec, status])
}

fn versions(record: &CliRelease) -> Value {
    let versions = record.status.iter().flat_map(|status| &status.versions);
    versions.map(|version| json!([version.version, version.first_seen])).collect()
}

fn policy(name: &str, spec: &Value) -> PluginPolicy {
    let policy = json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "spec": spec,
        "metadata": {"name": name, "uid": name, "generation": 1, "creationTimestamp": whole_second(0)},
    });
    serde_json::from_value(policy).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the digest of the layer of a version.
pub(crate) fn layer(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}
