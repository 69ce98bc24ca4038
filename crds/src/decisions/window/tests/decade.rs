//! Ten years, minute by minute, in zones that change their clocks in different ways.

use super::brute::{Plain, Watch};

const DAYS: i64 = 3653;
const DAILY: [bool; 7] = [false; 7];
const WEEKEND: [bool; 7] = [false, false, false, false, false, true, true];
const SUNDAY: [bool; 7] = [false, false, false, false, false, false, true];
const MONDAY: [bool; 7] = [true, false, false, false, false, false, false];

/// Windows where the zone's clock does something, across midnight, overlapping, long, and two that meet
/// only where the clock skips `first`.
fn check(zone: &'static str, first: i64) {
    let watch = Watch::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &[zone]);
    let plain = |days, start, duration| Plain { zone, days, start, duration };
    watch.check(&[vec![plain(DAILY, first, 20)]], 9973);
    watch.check(&[vec![plain(SUNDAY, 23 * 60 + 30, 180)]], 9973);
    watch.check(&[vec![plain(WEEKEND, first, 90), plain(DAILY, first + 45, 60)]], 9973);
    watch.check(&[vec![plain(DAILY, first, 10)], vec![plain(DAILY, first + 20, 10)]], 99_991);
}

/// More of them.
fn check_more(zone: &'static str, starts: &[i64]) {
    let watch = Watch::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &[zone]);
    let plain = |days, start, duration| Plain { zone, days, start, duration };
    for &start in starts {
        watch.check(&[vec![plain(DAILY, start, 20)]], 997);
        watch.check(&[vec![plain(SUNDAY, start, 7 * 24 * 60)]], 997);
        watch.check(&[vec![plain(DAILY, start, 24 * 60)]], 997);
        watch.check(&[vec![plain(DAILY, start, 61)], vec![plain(SUNDAY, start + 60, 61)]], 9973);
    }
    watch.check(&[vec![plain(WEEKEND, 0, 60)], vec![plain(DAILY, 60, 60)]], 99_991);
    watch.check(&[vec![plain(DAILY, starts[0], 20), plain(SUNDAY, starts[0], 90)]], 7);
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

/// Berlin and New York keep their distance but for some weeks a year.
#[test]
fn rule_10_ten_years_between_two_zones() {
    let zones = ["Europe/Berlin", "America/New_York"];
    let watch = Watch::new("2024-01-01T00:00:00Z".parse().unwrap(), DAYS, &zones);
    let plain = |zone, days, start, duration| Plain { zone, days, start, duration };
    let berlin = vec![plain(zones[0], DAILY, 14 * 60, 30)];
    watch.check(&[berlin.clone(), vec![plain(zones[1], DAILY, 9 * 60, 30)]], 99_991);
    watch.check(&[berlin, vec![plain(zones[1], MONDAY, 9 * 60 + 15, 30)]], 99_991);
    watch.check(&[vec![plain(zones[0], DAILY, 130, 5), plain(zones[1], DAILY, 130, 5)]], 9973);
}

#[test]
#[ignore = "a minute or more; run with --ignored after a change to windows"]
fn rule_10_ten_years_with_more_windows_and_questions() {
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
