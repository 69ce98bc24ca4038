//! The loop: takes the next event, lets a decision be made, and schedules what follows.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

use d8_crds::{
    decisions::agent_report::HostReport,
    records::host::ComponentState,
    values::{name::Component, platform::Platform, version::Version},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use crate::{
    cluster::Cluster,
    exits::Exits,
    host::{ChangeResult, Host},
    queue::{Event, Queue},
    report::{Report, Stop},
    scenario::{Action, FIRST, Scenario},
    shares::{Comparison, Counts, Shares},
    time::{HOUR, MINUTE, Millis, SECOND, of_delay, timestamp, whole_second},
    traffic::{Kind, Traffic},
    watches::Watches,
};

/// Three of ten hosts are bastions.
const BASTIONS_OF_TEN: usize = 3;
/// How long an event of a watch takes.
const LATENCY: std::ops::Range<Millis> = 20..200;
/// How long a download with its smoke test takes, and a switch to a version on disk.
const DOWNLOAD: std::ops::Range<Millis> = 4 * SECOND..12 * SECOND;
const RELINK: std::ops::Range<Millis> = 500..1500;
/// The operator collects changes for 200 ms, and waits for a second between two reconciliations of its policies.
const COLLECT: Millis = 200;
const RECONCILE_INTERVAL: Millis = 1400;
/// A report without a failure changes only counts, and evidence that takes an hour: the simulated operator may take it in
/// later, which saves most of its work.
const COUNTS_INTERVAL: Millis = 5 * MINUTE;
/// The operator polls the proxy so often, up to a tenth later.
const POLL_INTERVAL: Millis = 10 * MINUTE;
/// The share of each version is noted so often.
const SAMPLE_INTERVAL: Millis = 10 * MINUTE;
/// Longest time between two ticks, with time for a download. After an outage, all hosts have ticked by then.
const LONGEST_TICK: Millis = 17 * MINUTE;

/// When hosts tick for a change of a policy, and open a watch again that ended or failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// All at once, and after the same time.
    AtOnce,
    /// Spread by their number, and with jitter.
    Spread,
}

/// How to simulate.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of hosts.
    pub hosts: usize,
    /// Seed of everything that is random.
    pub seed: u64,
    /// Duration of the rollout, such as `48h`.
    pub over: String,
    /// How hosts react to a change of a policy.
    pub reaction: Reaction,
    /// One of so many hosts plans at each tick, to check the plans that are kept.
    pub verify_one_of: usize,
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    settings: &'a Settings,
    component: Component,
    platform: Platform,
    cluster: Cluster,
    hosts: Vec<Host>,
    queue: Queue,
    traffic: Traffic,
    watches: Watches,
    random: StdRng,
    api_down: bool,
    proxy_down: bool,
    /// Versions that are published and that the operator has not found yet.
    unseen: Vec<&'static str>,
    first_seen: BTreeMap<&'static str, Millis>,
    broken: BTreeSet<Version>,
    /// Versions that take no wave: they are expedited, or blocked.
    without_wave: BTreeSet<String>,
    forbidden: BTreeSet<Version>,
    last_sync: Millis,
    last_reconcile: Millis,
    reconcile_at: Option<Millis>,
    /// Hosts by version, without and with windows.
    counts: [Counts; 2],
    shares: Shares,
    exits: Exits,
    tried: BTreeMap<Version, u32>,
    stops: Vec<Stop>,
    ticks: u64,
    plans: u64,
    reconciliations: u32,
    reconciling: Duration,
}

/// Runs a scenario.
///
/// # Panics
/// A plan that was kept is not the one that a tick would make.
pub fn run(scenario: &Scenario, settings: &Settings) -> Report {
    let mut simulation = Simulation::new(scenario, settings);
    simulation.begin();
    while let Some((at, event)) = simulation.queue.pop() {
        if at >= scenario.length {
            break;
        }
        let Simulation { watches, traffic, random, .. } = &mut simulation;
        watches.advance(at, traffic, random);
        simulation.handle(event, at);
    }
    simulation.report()
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario, settings: &'a Settings) -> Self {
        let cluster = Cluster::new(scenario, &settings.over, settings.hosts);
        let mut random = StdRng::seed_from_u64(settings.seed);
        let watches = Watches::new(settings.hosts, settings.reaction, &mut random);
        Self {
            scenario,
            settings,
            component: cluster.component.clone(),
            platform: cluster.platform.clone(),
            cluster,
            hosts: hosts(settings.hosts),
            queue: Queue::default(),
            traffic: Traffic::new(scenario.length),
            watches,
            random,
            api_down: false,
            proxy_down: false,
            unseen: Vec::new(),
            first_seen: BTreeMap::new(),
            broken: BTreeSet::new(),
            without_wave: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            last_sync: 0,
            last_reconcile: -HOUR,
            reconcile_at: None,
            counts: Default::default(),
            shares: Shares::default(),
            exits: Exits::default(),
            tried: BTreeMap::new(),
            stops: Vec::new(),
            ticks: 0,
            plans: 0,
            reconciliations: 0,
            reconciling: Duration::ZERO,
        }
    }

    /// All hosts have reported the first version in the last hours, and have read what the operator wrote of both policies.
    fn begin(&mut self) {
        self.cluster.reconcile(0);
        let view = self.cluster.view();
        for i in 0..self.hosts.len() {
            let (planned, _) = self.hosts[i].plan(&view, (&self.component, &self.platform), timestamp(0));
            let seen = timestamp(-self.random.random_range(0..6 * HOUR));
            let issued = timestamp(-self.random.random_range(0..84 * HOUR));
            let host = &mut self.hosts[i];
            host.begin(&planned, seen, issued);
            *self.counts[usize::from(host.is_bastion)].entry(host.active.clone()).or_default() += 1;
            if let Some(object) = host.object() {
                self.cluster.observe(object);
            }
            let at = self.random.random_range(0..15 * MINUTE);
            self.schedule(i, at);
        }
        let done = self.cluster.reconcile(SECOND);
        self.request_reconcile(done.next.unwrap_or(HOUR));
        if self.settings.reaction == Reaction::Spread {
            let view = self.cluster.view();
            self.hosts.iter_mut().for_each(|host| host.note_peers(&view));
        }
        for (step, (at, _)) in self.scenario.steps.iter().enumerate() {
            self.queue.push(*at, Event::Step(step));
        }
        self.queue.push(self.random.random_range(0..POLL_INTERVAL), Event::Poll);
        self.queue.push(0, Event::Sample);
    }

    fn handle(&mut self, event: Event, at: Millis) {
        match event {
            Event::Step(step) => self.step(&self.scenario.steps[step].1, at),
            Event::Poll => self.poll(at),
            Event::Reconcile if self.reconcile_at == Some(at) => {
                self.reconcile_at = None;
                if !self.api_down {
                    self.reconcile(at);
                }
            }
            Event::Tick { host, number } if self.hosts[host].next.0 == number => self.tick(host, at),
            Event::Finish { host } => self.finish(host, at),
            Event::Sample => self.sample(at),
            Event::Reconcile | Event::Tick { .. } => {}
        }
    }

    fn step(&mut self, action: &Action, at: Millis) {
        match action {
            Action::Publish { version, broken } => {
                self.unseen.push(version);
                self.broken.extend(Version::parse(version).ok().filter(|_| *broken));
            }
            Action::EditRule(fields) => {
                self.cluster.edit_rule(fields);
                for versions in ["expedite", "block"].map(|field| fields[field].as_array().into_iter().flatten()) {
                    self.without_wave.extend(versions.filter_map(|version| version.as_str().map(str::to_owned)));
                }
                self.changed(at);
                self.find_forbidden(at);
            }
            Action::Resume => {
                self.cluster.resume();
                self.changed(at);
            }
            Action::StopProxy => self.proxy_down = true,
            Action::StartProxy => self.proxy_down = false,
            Action::StopApiServer => {
                self.api_down = true;
                let outages = self.scenario.outages();
                let end = outages.iter().find(|(from, _, is_api)| *from == at && *is_api).map_or(at, |(_, to, _)| *to);
                let opened = self.watches.interrupt(self.hosts.len(), at, end, &mut self.random);
                self.hosts.iter_mut().zip(opened).for_each(|(host, at)| host.watches_since = at);
            }
            Action::StartApiServer => {
                self.api_down = false;
                self.request_reconcile(at + SECOND);
            }
        }
    }

    /// An object of a policy has changed: agents may tick, and the operator reconciles.
    fn changed(&mut self, at: Millis) {
        if self.cluster.is_noticed() {
            self.notify(at);
        }
        self.request_reconcile((at + COLLECT).max(self.last_reconcile + RECONCILE_INTERVAL));
    }

    /// Finds the hosts whose active version the policies forbid now.
    fn find_forbidden(&mut self, at: Millis) {
        let view = self.cluster.view();
        self.forbidden.clear();
        for (i, host) in self.hosts.iter().enumerate() {
            if host.is_forbidden(&view, (&self.component, &self.platform)) {
                self.forbidden.insert(host.active.clone());
                self.exits.begin(i, at);
            }
        }
    }

    fn poll(&mut self, at: Millis) {
        if !self.proxy_down && !self.api_down {
            self.traffic.add(Kind::TagList, at, 1);
            let found = std::mem::take(&mut self.unseen);
            for version in &found {
                self.cluster.publish(version, at);
                self.first_seen.insert(version, at);
            }
            if !found.is_empty() || at - self.last_sync >= HOUR {
                self.last_sync = at;
                self.cluster.sync(at);
                self.traffic.add(Kind::OperatorWrite, at, 1);
            }
            if !found.is_empty() {
                self.changed(at);
            }
        }
        let jitter = self.random.random_range(0..POLL_INTERVAL / 10);
        self.queue.push(at + POLL_INTERVAL + jitter, Event::Poll);
    }

    fn request_reconcile(&mut self, at: Millis) {
        if self.reconcile_at.is_none_or(|due| at < due) {
            self.reconcile_at = Some(at);
            self.queue.push(at, Event::Reconcile);
        }
    }

    fn reconcile(&mut self, at: Millis) {
        self.last_reconcile = at;
        let started = Instant::now();
        let done = self.cluster.reconcile(at);
        self.reconciliations += 1;
        self.reconciling += started.elapsed();
        self.traffic.add(Kind::OperatorWrite, at, done.writes);
        if done.is_noticed {
            self.note_halts(at);
            self.notify(at);
        }
        if let Some(next) = done.next {
            self.request_reconcile(next);
        }
    }

    /// Notes the waves that are halted now and were not before.
    fn note_halts(&mut self, at: Millis) {
        for version in self.first_seen.keys().copied() {
            let Some(halted_at) = self.cluster.wave(version).and_then(|wave| wave.halted_at) else { continue };
            let is_known = |stop: &Stop| stop.version == version && stop.halted_at == halted_at;
            let Ok(parsed) = Version::parse(version) else { continue };
            if !self.stops.iter().any(is_known) {
                let changing = self.hosts.iter().filter(|host| host.changing.as_ref().is_some_and(|c| c.to == parsed));
                let tried = self.tried.get(&parsed).copied().unwrap_or_default();
                let in_flight = u32::try_from(changing.count()).unwrap_or(u32::MAX);
                self.stops.push(Stop { version: version.to_owned(), halted_at, at, tried, in_flight, tried_later: 0 });
            }
        }
    }

    /// Lets all hosts tick that have a watch.
    fn notify(&mut self, at: Millis) {
        for i in 0..self.hosts.len() {
            let spread = match self.settings.reaction {
                Reaction::AtOnce => 0,
                Reaction::Spread => of_delay(self.hosts[i].wait_after_change(self.random.random())),
            };
            let delay = self.random.random_range(LATENCY) + spread;
            let host = &mut self.hosts[i];
            let tick = at.max(host.watches_since) + delay;
            if host.changing.is_some() {
                host.was_notified = true;
            } else if tick < host.next.1 {
                self.schedule(i, tick);
            }
        }
    }

    fn schedule(&mut self, host: usize, at: Millis) {
        let number = self.hosts[host].next.0.wrapping_add(1);
        self.hosts[host].next = (number, at);
        self.queue.push(at, Event::Tick { host, number });
    }

    fn tick(&mut self, i: usize, at: Millis) {
        self.ticks += 1;
        let now = timestamp(at);
        if self.api_down {
            return self.fail(i, at);
        }
        if self.hosts[i].renew_token(now) {
            self.traffic.add(Kind::TokenPost, at, 1);
        }
        for kind in [Kind::HostGet, Kind::PolicyList, Kind::RecordGet] {
            self.traffic.add(kind, at, 1);
        }
        let (view, subject) = (self.cluster.view(), (&self.component, &self.platform));
        let (planned, is_new) = self.hosts[i].plan(&view, subject, now);
        self.plans += u64::from(is_new);
        if !is_new && i.is_multiple_of(self.settings.verify_one_of) {
            let anew = self.hosts[i].plan_anew(&view, subject, now);
            let [anew, kept] = [anew.report(), planned.report()].map(|report| (&report.components, &report.policies));
            assert_eq!(anew, kept, "the plan of {} that was kept, at {now}", self.hosts[i].name);
        }
        if self.settings.reaction == Reaction::Spread {
            self.hosts[i].note_peers(&view);
        }
        let Some((change, report)) = planned.change(&self.component) else {
            if is_new || self.hosts[i].is_silent_for_long(now) {
                self.write(i, planned.report(), at);
            }
            return self.rest(i, planned.report(), at);
        };
        self.write(i, &report, at);
        let takes = if change.downloads { DOWNLOAD } else { RELINK };
        if change.downloads {
            self.traffic.add(Kind::ProxyFind, at, 1);
            self.traffic.add(Kind::Download, at, u32::from(!self.proxy_down));
        }
        *self.tried.entry(change.to.clone()).or_default() += 1;
        let name = change.to.to_string();
        let halted = self.cluster.wave(&name).is_some_and(|wave| wave.halted_at.is_some());
        self.stops.iter_mut().filter(|stop| halted && stop.version == name).for_each(|stop| stop.tried_later += 1);
        self.hosts[i].changing = Some(change);
        let end = at + self.random.random_range(takes);
        self.queue.push(end, Event::Finish { host: i });
    }

    fn finish(&mut self, i: usize, at: Millis) {
        let Some(change) = &self.hosts[i].changing else { return };
        let result = match change {
            change if change.downloads && self.proxy_down => ChangeResult::NoProxy,
            change if self.broken.contains(&change.to) => ChangeResult::FailsTest,
            _ => ChangeResult::Works,
        };
        let before = self.hosts[i].active.clone();
        let Some(report) = self.hosts[i].end(&self.component, result, timestamp(at)) else { return };
        self.count(i, &before, at);
        if self.api_down {
            return self.fail(i, at);
        }
        self.write(i, &report, at);
        self.rest(i, &report, at);
        if std::mem::take(&mut self.hosts[i].was_notified) {
            let soon = at + self.random.random_range(LATENCY);
            self.schedule(i, soon);
        }
    }

    /// Counts the version that a host has now.
    fn count(&mut self, i: usize, before: &Version, at: Millis) {
        let host = &self.hosts[i];
        let counts = &mut self.counts[usize::from(host.is_bastion)];
        *counts.entry(before.clone()).or_default() -= 1;
        *counts.entry(host.active.clone()).or_default() += 1;
        if self.forbidden.contains(&host.active) {
            self.exits.begin(i, at);
        } else {
            self.exits.end(i, at);
        }
    }

    fn write(&mut self, i: usize, report: &HostReport, at: Millis) {
        let Some(object) = self.hosts[i].write(report, whole_second(at)) else { return };
        self.traffic.add(Kind::StatusPatch, at, 1);
        let failed = report.components.values().any(|report| report.state == ComponentState::Failed);
        if self.cluster.observe(object) {
            let soon = (at + COLLECT).max(self.last_reconcile + RECONCILE_INTERVAL);
            self.request_reconcile(if failed { soon } else { at + COUNTS_INTERVAL });
        }
    }

    /// Schedules the tick after one that reported.
    fn rest(&mut self, i: usize, report: &HostReport, at: Millis) {
        let wait = self.hosts[i].wait(report, timestamp(at), self.random.random());
        self.schedule(i, at + of_delay(wait));
    }

    /// Schedules the tick after one that failed.
    fn fail(&mut self, i: usize, at: Millis) {
        let wait = self.hosts[i].wait_after_failure(timestamp(at), self.random.random());
        self.schedule(i, at + of_delay(wait));
    }

    fn sample(&mut self, at: Millis) {
        self.shares.samples.push((at, self.counts.clone()));
        if !self.is_disturbed(at) {
            let names: Vec<&str> =
                self.hosts.iter().filter(|host| !host.is_bastion).map(|host| host.name.as_str()).collect();
            for (version, first_seen) in &self.first_seen {
                let (Some(wave), Ok(parsed)) = (self.cluster.wave(version), Version::parse(version)) else { continue };
                if self.without_wave.contains(*version)
                    || self.broken.contains(&parsed)
                    || self.forbidden.contains(&parsed)
                {
                    continue;
                }
                let comparison = Comparison {
                    policy: self.cluster.fleet(),
                    component: &self.component,
                    version,
                    wave,
                    first_seen: whole_second(*first_seen),
                    hosts: &names,
                    with_version: self.counts[0].get(&parsed).copied().unwrap_or_default(),
                };
                self.shares.compare(&comparison, at, timestamp(at));
            }
        }
        self.queue.push(at + SAMPLE_INTERVAL, Event::Sample);
    }

    /// Returns whether something holds hosts besides the wave, or did until now.
    fn is_disturbed(&self, at: Millis) -> bool {
        let (from, to) = self.scenario.blackout;
        let spans = self.scenario.outages().into_iter().map(|(from, to, _)| (from, to)).chain([(from, to)]);
        spans.into_iter().any(|(from, to)| (from..to + LONGEST_TICK).contains(&at))
    }

    fn report(self) -> Report {
        let (scenario, settings) = (self.scenario.clone(), self.settings.clone());
        let deviations = self.shares.deviations();
        Report {
            scenario,
            settings,
            traffic: self.traffic,
            samples: self.shares.samples,
            deviations,
            exits: self.exits.summary(),
            stops: self.stops,
            ticks: self.ticks,
            plans: self.plans,
            reconciliations: self.reconciliations,
            reconciling: self.reconciling,
            largest_list: self.cluster.largest_list,
        }
    }
}

fn hosts(count: usize) -> Vec<Host> {
    let labels = |role: &str| {
        let labels = [("role", role), ("cli.deckhouse.io/managed", "true")];
        Rc::new(BTreeMap::from(labels.map(|(key, value)| (key.to_owned(), value.to_owned()))))
    };
    let (bastion, ci) = (labels("bastion"), labels("ci"));
    let first = Version::parse(FIRST).unwrap_or_default();
    let host = |i: usize| {
        let (role, labels) = if i % 10 < BASTIONS_OF_TEN { ("bastion", &bastion) } else { ("ci", &ci) };
        Host::new(format!("{role}-{i}"), labels.clone(), first.clone())
    };
    (0..count).map(host).collect()
}
