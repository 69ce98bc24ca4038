//! What a simulation measured, and the table of it.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    scenario::Scenario,
    shares::{Counts, Deviation},
    simulation::Settings,
    svg,
    time::{HOUR, MINUTE, Millis, SECOND, shown},
    traffic::{Kind, Load, Traffic},
};

/// A wave that was halted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The version.
    pub version: String,
    /// When the operator halted it.
    pub halted_at: Timestamp,
    /// When the status said so.
    pub at: Millis,
    /// Hosts that had tried the version by then.
    pub tried: u32,
    /// Those of them that had not finished.
    pub in_flight: u32,
    /// Hosts that began to change to the version while its wave was halted.
    pub tried_later: u32,
}

/// What a simulation measured.
#[derive(Debug)]
pub struct Report {
    /// The scenario.
    pub scenario: Scenario,
    /// How it was simulated.
    pub settings: Settings,
    pub(crate) traffic: Traffic,
    pub(crate) samples: Vec<(Millis, [Counts; 2])>,
    /// How far the share of each version was from its wave.
    pub deviations: Vec<Deviation>,
    pub(crate) exits: (usize, usize, Millis, Millis),
    /// The waves that were halted.
    pub stops: Vec<Stop>,
    /// Ticks of all hosts.
    pub ticks: u64,
    /// Ticks that planned; the others had the plan of the tick before.
    pub plans: u64,
    /// How often the operator reconciled its policies, and how long that took, by a real clock.
    pub reconciliations: u32,
    pub(crate) reconciling: Duration,
    pub(crate) largest_list: usize,
}

impl Report {
    /// Returns the load of some kinds of requests in the whole time.
    pub fn load(&self, kinds: impl Fn(Kind) -> bool) -> Load {
        self.traffic.load(kinds, 0, self.scenario.length)
    }

    /// Returns the load of some kinds of requests in the minutes after an hour of the scenario.
    pub fn load_after(&self, from: Millis, minutes: Millis, kinds: impl Fn(Kind) -> bool) -> Load {
        self.traffic.load(kinds, from, from + minutes * MINUTE)
    }

    /// Returns how many hosts had a forbidden version, and how many still have one.
    pub fn forbidden(&self) -> (usize, usize) {
        (self.exits.0, self.exits.1)
    }

    /// Returns for how long the last host had a forbidden version.
    pub fn longest_forbidden(&self) -> Millis {
        self.exits.3
    }

    /// Returns the image of the shares over time.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// Returns what a kind of request costs in a minute in which nothing happens, by arithmetic.
    pub fn expected_per_minute(&self, kind: Kind) -> Option<f64> {
        let hosts = f64::from(u32::try_from(self.settings.hosts).unwrap_or(u32::MAX));
        let minutes = |minutes: f64| Some(hosts / minutes);
        match kind {
            Kind::HostGet | Kind::PolicyList | Kind::RecordGet => minutes(15.0),
            Kind::StatusPatch => minutes(6.0 * 60.0),
            Kind::TokenPost => minutes(3.5 * 24.0 * 60.0),
            Kind::WatchOpen => minutes(261.0 / 60.0),
            Kind::TagList => Some(1.0 / 10.5),
            Kind::WatchList | Kind::ProxyFind | Kind::OperatorWrite | Kind::Download => None,
        }
    }

    fn write_loads(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head = ["request", "quiet, by arithmetic", "mean", "most", "when", "most in a second"];
        writeln!(f, "{:<34}{:>21}{:>10}{:>9}  {:<10}{:>17}", head[0], head[1], head[2], head[3], head[4], head[5])?;
        for kind in Kind::ALL {
            let expected = self.expected_per_minute(kind).map_or_else(|| "-".to_owned(), |n| format!("{n:.1}"));
            write_load(f, kind.as_str(), &expected, self.load(|other| other == kind))?;
        }
        let sum: f64 =
            Kind::ALL.into_iter().filter(|k| !k.is_to_proxy()).filter_map(|k| self.expected_per_minute(k)).sum();
        write_load(f, "API server, all", &format!("{sum:.1}"), self.load(|kind| !kind.is_to_proxy()))?;
        write_load(f, "proxy, all", "-", self.load(Kind::is_to_proxy))
    }

    fn write_steps(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{:<12}{:<44}{:>12}{:>12}{:>12}", "step", "", "API/minute", "API/second", "proxy/minute")?;
        for (at, action) in &self.scenario.steps {
            let load = self.load_after(*at, 30, |kind| !kind.is_to_proxy());
            let proxy = self.load_after(*at, 30, Kind::is_to_proxy);
            let what = format!("{action:?}").replace('"', "");
            let what: String = what.chars().take(42).collect();
            let (most, second) = (load.most_per_minute, load.most_per_second);
            writeln!(f, "{:<12}{what:<44}{most:>12}{second:>12}{:>12}", shown(*at), proxy.most_per_minute)?;
        }
        writeln!(f, "the most in the 30 minutes from each step on")
    }
}

fn write_load(f: &mut Formatter<'_>, name: &str, expected: &str, load: Load) -> fmt::Result {
    let Load { mean_per_minute, most_per_minute, at, most_per_second } = load;
    let at = shown(at);
    writeln!(f, "{name:<34}{expected:>21}{mean_per_minute:>10.1}{most_per_minute:>9}  {at:<10}{most_per_second:>17}")
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Settings { hosts, seed, over, reaction, .. } = &self.settings;
        let hours = self.scenario.length / HOUR;
        writeln!(f, "{hosts} hosts, {hours} hours, rollout over {over}, reaction {reaction:?}, seed {seed}")?;
        writeln!(f, "{} ticks, {} of them planned anew", self.ticks, self.plans)?;
        let mean = self.reconciling.checked_div(self.reconciliations).unwrap_or_default();
        writeln!(f, "{} reconciliations of the operator, each {mean:.1?}", self.reconciliations)?;
        writeln!(f, "a list of the policies has up to {} bytes\n", self.largest_list)?;
        writeln!(f, "requests per minute")?;
        self.write_loads(f)?;
        self.write_steps(f)?;
        writeln!(f, "\nshare of hosts without windows, largest difference")?;
        for Deviation { version, from_permitted, from_line, at, samples } in &self.deviations {
            let (permitted, line, at) = (from_permitted * 100.0, from_line * 100.0, shown(*at));
            writeln!(
                f,
                "  {version}: {permitted:.2} % from the hosts that the wave permits; {line:.2} % from time / over ({at}); {samples} samples"
            )?;
        }
        let (all, left, mean, longest) = self.exits;
        let (mean, longest) = (mean / SECOND, longest / SECOND);
        writeln!(f, "\non a forbidden version: {all} hosts, mean {mean} s, longest {longest} s, still {left}")?;
        for Stop { version, at, tried, in_flight, tried_later, .. } in &self.stops {
            let at = shown(*at);
            writeln!(
                f,
                "halted: {version} ({at}), tried by {tried} hosts, {in_flight} of them in flight; {tried_later} later, while halted"
            )?;
        }
        Ok(())
    }
}
