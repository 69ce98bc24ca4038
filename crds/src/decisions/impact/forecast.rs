//! Where the policies of a cluster lead each component of many hosts.
//!
//! As in a comparison of two sets of policies, hosts share what is the same for them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    facts::HostFacts,
    numbers::{ActiveNumber, ActiveNumbers},
    places::{HostTimes, KnownWaves, PlaceOrder},
    preview::{HostImpact, HostPreview, Side},
    published,
    related::RelatedComponents,
};
use crate::{
    decisions::{
        plan::{Actor, KnownFacts},
        verdict::{PolicyChanges, PolicySet, SelectedPolicies},
    },
    records::release::CliRelease,
    values::{name::Component, platform::Platform},
};

/// Computes where policies lead the components of managed hosts, at one time.
#[derive(Debug)]
pub struct Forecast<'a> {
    policies: &'a PolicySet,
    selection: PolicyChanges<'a>,
    records: &'a BTreeMap<String, CliRelease>,
    now: Timestamp,
    related: RelatedComponents,
    /// What records contain, by platform.
    known: BTreeMap<Option<Platform>, KnownFacts>,
    classes: HashMap<(SelectedPolicies, Option<&'a Platform>), ForecastClass<'a>>,
    numbers: ActiveNumbers<'a>,
}

/// The impacts on components that are planned together.
type Impacts = Vec<(Component, Arc<HostImpact>)>;

/// Hosts that the same policies select, that are canaries of the same policies, and that have the same platform.
#[derive(Debug)]
struct ForecastClass<'a> {
    side: Side<'a>,
    required: Arc<[Component]>,
    waves: KnownWaves,
    /// By what is active and by the order of the times at which waves reach the host, with these times.
    known: HashMap<(Vec<ActiveNumber>, PlaceOrder), (Impacts, HostTimes)>,
}

impl<'a> Forecast<'a> {
    /// `records` are by component name.
    pub fn new(policies: &'a PolicySet, records: &'a BTreeMap<String, CliRelease>, now: Timestamp) -> Self {
        Self {
            policies,
            selection: PolicyChanges::between(policies, policies),
            records,
            now,
            related: RelatedComponents::of_records(records),
            known: BTreeMap::new(),
            classes: HashMap::new(),
            numbers: ActiveNumbers::default(),
        }
    }

    /// Returns where the policies lead each component that is active on a managed host or required there, by name.
    pub fn of(&mut self, machine: &'a HostFacts) -> BTreeMap<Component, Arc<HostImpact>> {
        let Self { policies, selection, records, now, related, known, classes, numbers } = self;
        let platform = machine.platform.as_ref();
        let known = known.entry(platform.cloned()).or_insert_with(|| published::known_facts(records, platform));
        let class = classes.entry((selection.selected(&machine.as_host()), platform)).or_insert_with(|| {
            let side = Side::new(policies.for_host(machine.as_host()), *now, records);
            let required = side.evaluator.required_components().cloned().collect();
            ForecastClass { side, required, waves: KnownWaves::default(), known: HashMap::new() }
        });
        let required = Arc::clone(&class.required);
        let groups = related.split(machine, required.iter(), |_| true);
        let impacts = groups.iter().flat_map(|components| {
            let preview = HostPreview { machine, actor: Actor::Agent, components, records, now: *now };
            class.impacts(&preview, numbers.of(machine, components), known)
        });
        impacts.collect()
    }
}

impl ForecastClass<'_> {
    fn impacts(&mut self, preview: &HostPreview<'_>, numbers: Vec<ActiveNumber>, known: &mut KnownFacts) -> Impacts {
        let places = self.waves.places(&self.side, preview, &numbers);
        let is_placed = !places.is_empty();
        if is_placed && !self.side.policies().holds_only_end() {
            return self.compute(preview, known);
        }
        let ends = if is_placed { self.waves.other_ends(&self.side, preview, &numbers) } else { Vec::new() };
        let times = HostTimes::new(&places, &ends);
        let key = (numbers, times.order().clone());
        if let Some((impacts, of)) = self.known.get(&key) {
            let translate = |at| times.translate(of, at);
            let for_host = |impact: &Arc<HostImpact>| {
                if is_placed { Arc::new(impact.for_times(&translate)) } else { Arc::clone(impact) }
            };
            return impacts.iter().map(|(component, impact)| (component.clone(), for_host(impact))).collect();
        }
        let impacts = self.compute(preview, known);
        self.known.insert(key, (impacts.clone(), times));
        impacts
    }

    fn compute(&self, preview: &HostPreview<'_>, known: &mut KnownFacts) -> Impacts {
        let side = self.side.for_twin(preview.machine.as_host());
        let previews = preview.evaluate(&side, known).into_iter();
        previews.map(|(component, preview)| (component, Arc::new(preview.impact))).collect()
    }
}
