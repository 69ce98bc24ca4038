//! Random policies over some days, compared with the brute-force model.

use jiff::Timestamp;
use proptest::prelude::*;

use super::brute::{SimpleBlackout, SimplePolicy, SimpleWindow, Simulation};

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
    "Africa/Casablanca",
    "America/Nuuk",
    "Africa/Cairo",
    "Asia/Beirut",
    "Pacific/Chatham",
    "America/St_Johns",
];

/// Generates windows, most of them in the hours in which clocks change.
pub(super) fn window() -> impl Strategy<Value = SimpleWindow> {
    let start = prop_oneof![3 => 0..240_i64, 1 => 1380..1440_i64, 1 => 0..1440_i64];
    let duration = prop_oneof![4 => 1..180_i64, 1 => 180..1600_i64, 1 => 1600..=10_080_i64];
    let days = prop_oneof![1 => Just([false; 7]), 2 => any::<[bool; 7]>()];
    (proptest::sample::select(&ZONES[..]), days, start, duration)
        .prop_map(|(zone, days, start, duration)| SimpleWindow { zone, days, start, duration })
}

/// Generates an instant, often in the months in which most clocks change.
fn from() -> impl Strategy<Value = Timestamp> {
    let month = prop_oneof![3 => Just(3_i8), 2 => Just(10_i8), 1 => Just(4_i8), 2 => Just(9_i8), 2 => 1..=12_i8];
    (2020..2050_i16, month, 1..=28_i8, 0..1440_i64).prop_map(|(year, month, day, minute)| {
        let midnight = jiff::civil::date(year, month, day).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
        Timestamp::from_second(midnight.as_second() + minute * 60).unwrap()
    })
}

/// Zone of a blackout, its beginning from the beginning of the simulation on, and its length.
type RandomBlackout = (&'static str, i64, i64);

fn blackout() -> impl Strategy<Value = RandomBlackout> {
    let length = prop_oneof![2 => 1..240_i64, 2 => 240..4320_i64, 1 => 4320..20_000_i64];
    (proptest::sample::select(&ZONES[..]), -2880..14_400_i64, length)
}

/// Generates up to three policies, some without windows.
fn policies() -> impl Strategy<Value = Vec<(Vec<SimpleWindow>, Vec<RandomBlackout>)>> {
    let windows = proptest::collection::vec(window(), 0..3);
    proptest::collection::vec((windows, proptest::collection::vec(blackout(), 0..3)), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn rule_10_random_policies_over_ten_days(policies in policies(), from in from()) {
        let begin = from.as_second() / 60;
        let policies: Vec<SimplePolicy> = policies
            .into_iter()
            .map(|(windows, blackouts)| {
                let blackout = |(zone, offset, length)| {
                    let from = begin + offset;
                    SimpleBlackout { zone, from, to: from + length }
                };
                SimplePolicy { windows, blackouts: blackouts.into_iter().map(blackout).collect() }
            })
            .collect();
        let windows = policies.iter().flat_map(|policy| &policy.windows).map(|window| window.zone);
        let blackouts = policies.iter().flat_map(|policy| &policy.blackouts).map(|blackout| blackout.zone);
        let mut zones: Vec<_> = windows.chain(blackouts).collect();
        zones.sort_unstable();
        zones.dedup();
        Simulation::new(from, 10, &zones).check(&policies, 61);
    }
}
