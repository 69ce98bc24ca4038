//! Ten years, minute by minute, in zones that change their clocks in different ways.

use super::brute::{SimpleWindow, Simulation};

const DAYS: i64 = 3653;
const DAILY: [bool; 7] = [false; 7];
const WEEKEND: [bool; 7] = [false, false, false, false, false, true, true];
const SUNDAY: [bool; 7] = [false, false, false, false, false, false, true];
const MONDAY: [bool; 7] = [true, false, false, false, false, false, false];

fn check_windows(simulation: &Simulation, policies: &[Vec<SimpleWindow>], step: usize) {
    let policies: Vec<_> = policies.iter().cloned().map(Into::into).collect();
    simulation.check(&policies, step);
}

/// Checks windows at the transitions of a zone, across midnight, overlapping and long, and two policies that
/// meet only if the clock skips `first`.
fn check(zone: &'static str, first: i64) {
    let simulation = Simulation::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &[zone]);
    let window = |days, start, duration| SimpleWindow { zone, days, start, duration };
    check_windows(&simulation, &[vec![window(DAILY, first, 20)]], 9973);
    check_windows(&simulation, &[vec![window(SUNDAY, 23 * 60 + 30, 180)]], 9973);
    check_windows(&simulation, &[vec![window(WEEKEND, first, 90), window(DAILY, first + 45, 60)]], 9973);
    check_windows(&simulation, &[vec![window(DAILY, first, 10)], vec![window(DAILY, first + 20, 10)]], 99_991);
}

/// Checks more windows and queries.
fn check_more(zone: &'static str, starts: &[i64]) {
    let simulation = Simulation::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &[zone]);
    let window = |days, start, duration| SimpleWindow { zone, days, start, duration };
    for &start in starts {
        check_windows(&simulation, &[vec![window(DAILY, start, 20)]], 997);
        check_windows(&simulation, &[vec![window(SUNDAY, start, 7 * 24 * 60)]], 997);
        check_windows(&simulation, &[vec![window(DAILY, start, 24 * 60)]], 997);
        check_windows(&simulation, &[vec![window(DAILY, start, 61)], vec![window(SUNDAY, start + 60, 61)]], 9973);
    }
    check_windows(&simulation, &[vec![window(WEEKEND, 0, 60)], vec![window(DAILY, 60, 60)]], 99_991);
    check_windows(&simulation, &[vec![window(DAILY, starts[0], 20), window(SUNDAY, starts[0], 90)]], 7);
}

#[test]
fn rule_10_ten_years_in_berlin() {
    check("Europe/Berlin", 130);
}

#[test]
fn rule_10_ten_years_in_new_york() {
    check("America/New_York", 130);
}

#[test]
fn rule_10_ten_years_on_lord_howe() {
    check("Australia/Lord_Howe", 125);
}

#[test]
fn rule_10_ten_years_in_kathmandu() {
    check("Asia/Kathmandu", 130);
}

#[test]
fn rule_10_ten_years_in_casablanca() {
    check("Africa/Casablanca", 130);
}

#[test]
fn rule_10_ten_years_in_santiago() {
    check("America/Santiago", 10);
}

/// The difference between Berlin and New York changes for some weeks each year.
#[test]
fn rule_10_ten_years_between_two_zones() {
    let zones = ["Europe/Berlin", "America/New_York"];
    let simulation = Simulation::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &zones);
    let window = |zone, days, start, duration| SimpleWindow { zone, days, start, duration };
    let berlin = vec![window(zones[0], DAILY, 14 * 60, 30)];
    check_windows(&simulation, &[berlin.clone(), vec![window(zones[1], DAILY, 9 * 60, 30)]], 99_991);
    check_windows(&simulation, &[berlin, vec![window(zones[1], MONDAY, 9 * 60 + 15, 30)]], 99_991);
    check_windows(&simulation, &[vec![window(zones[0], DAILY, 130, 5), window(zones[1], DAILY, 130, 5)]], 9973);
}

#[test]
#[ignore = "takes a minute or more; run with --ignored after a change to windows"]
fn rule_10_ten_years_with_more_windows_and_queries() {
    for (zone, starts) in [
        ("Europe/Berlin", [130, 120, 179, 180]),
        ("America/New_York", [130, 60, 90, 180]),
        ("Australia/Lord_Howe", [125, 90, 105, 150]),
        ("Asia/Kathmandu", [130, 0, 60, 1379]),
        ("Africa/Casablanca", [130, 120, 150, 180]),
        ("America/Santiago", [10, 0, 1379, 1350]),
    ] {
        check_more(zone, &starts);
    }
}
