//! What must hold in a fleet, whatever chance does: a small form of `make simulate`, which prints the seed if it fails.

use d8_simulation::{Kind, Reaction, Report, Scenario, Settings, run};

const MINUTE: i64 = 60_000;
/// The longest time between two ticks.
const LONGEST_TICK: i64 = 17 * MINUTE;
const MAX_FAILED: u32 = 5;

const HOSTS: usize = 300;
/// Those without windows.
const WITHOUT_WINDOWS: f64 = 210.0;

fn simulated() -> Report {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let settings =
        Settings { hosts: HOSTS, seed, over: "12h".to_owned(), reaction: Reaction::Spread, verify_one_of: 20 };
    let report = run(&Scenario::two_days(), &settings);
    eprintln!("{report}");
    report
}

/// Waves, halts and blocks do what policies say.
fn check_policies(report: &Report) {
    assert!(!report.deviations.is_empty());
    for deviation in &report.deviations {
        assert!(deviation.from_permitted <= 0.01, "{deviation:?}");
        // Buckets are random. One of 10,000 sets of hosts exceeds this (Dvoretzky-Kiefer-Wolfowitz).
        let bound = (f64::ln(2.0 * 10_000.0) / (2.0 * WITHOUT_WINDOWS)).sqrt();
        assert!(deviation.from_line <= bound + 0.01, "{deviation:?}, {bound}");
        assert!(deviation.samples >= 20, "{deviation:?}");
    }
    // Without the proxy, downloads fail. That says nothing about the version, and halts no wave.
    let halted: Vec<&str> = report.stops.iter().map(|stop| stop.version.as_str()).collect();
    assert_eq!(halted, ["v1.2.0"]);
    let stop = &report.stops[0];
    assert!(stop.tried_later == 0 && stop.tried - stop.in_flight >= MAX_FAILED, "{stop:?}");
    // Between the report that is one too many and the halt, the operator waits for up to 1.4 s.
    assert!(stop.tried - stop.in_flight <= MAX_FAILED + 3, "{stop:?}");
    let (forbidden, left) = report.forbidden();
    assert!(forbidden > HOSTS / 2 && left == 0, "{forbidden} of {HOSTS}, {left}");
    assert!(report.longest_forbidden() <= LONGEST_TICK, "{} ms", report.longest_forbidden());
}

#[test]
fn a_fleet_follows_its_policies() {
    let report = simulated();
    check_policies(&report);
    // In quiet times, the load is what arithmetic says.
    for kind in [Kind::HostGet, Kind::PolicyList, Kind::RecordGet, Kind::WatchOpen] {
        let expected = report.expected_per_minute(kind).unwrap();
        let quiet = report.load_after(20 * 60 * MINUTE, 4 * 60, |other| other == kind).mean_per_minute;
        assert!((quiet / expected - 1.0).abs() < 0.1, "{kind:?}: {quiet} a minute, expected {expected}");
    }
    // After an hour without the API server, hosts come back within ten minutes.
    let after = report.load_after(9 * 60 * MINUTE, 10, |kind| kind == Kind::HostGet);
    assert!(after.most_per_minute <= 300 / 4, "{after:?}");
    // A change of a policy makes 100 hosts a second tick, on average, and two changes often follow each other.
    let most = report.load(|kind| kind == Kind::HostGet).most_per_second;
    assert!(most <= 250, "{most} ticks in a second");
}
