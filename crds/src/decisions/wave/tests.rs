use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn component(name: &str) -> Component {
    name.parse().unwrap()
}

fn v(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Bucket {
    /// Returns the bucket as an exact number in [0,1].
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    pub(crate) fn as_f64(self) -> f64 {
        self.0 as f64 / BUCKETS as f64
    }
}

/// The definition of rule 7, to compare [`Wave::permitted_from`] with.
impl Wave {
    /// Returns whether a host with this bucket may have the version now: f >= 1, or bucket < f, where
    /// f = (now - start) / over.
    fn permits(&self, Bucket(bucket): Bucket, now: Timestamp) -> bool {
        self.elapsed(now).is_some_and(|elapsed| {
            let over = self.over.as_nanos();
            // bucket / 2^53 < elapsed / over. `elapsed` is less than 2^70 nanoseconds, so the right side
            // does not overflow. If the left side overflows, it is larger.
            let left = u128::from(bucket).checked_mul(over);
            elapsed >= over || left.is_some_and(|left| left < elapsed * u128::from(BUCKETS))
        })
    }

    /// Returns the nanoseconds since the start, or `None` before it.
    fn elapsed(&self, now: Timestamp) -> Option<u128> {
        u128::try_from(now.as_nanosecond() - self.start?.as_nanosecond()).ok()
    }
}

fn is_reached(permitted_from: Option<Timestamp>, now: Timestamp) -> bool {
    permitted_from.is_some_and(|instant| instant <= now)
}

fn bucket(host: &str) -> Bucket {
    Bucket::of(host, &component("stronghold"), &v("v1.3.3"))
}

/// The expected bits come from another implementation of SHA-256.
#[test]
#[allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "exact by construction")]
fn rule_7_bucket_is_the_first_53_bits() {
    for (host, name, version, bits) in [
        ("bastion-1", "stronghold", "v1.3.3", 2_528_615_001_146_754),
        ("bastion-2", "stronghold", "v1.3.3", 6_632_234_949_701_565),
        ("bastion-1", "d8", "v0.13.0", 5_000_388_569_058_804),
        ("", "a", "v1.0.0-rc.1", 1_941_492_170_451_187),
    ] {
        let bucket = Bucket::of(host, &component(name), &v(version));
        assert_eq!(bucket, Bucket(bits), "{host} {name} {version}");
        assert_eq!(bucket.as_f64() * 9_007_199_254_740_992.0, bits as f64);
        assert!((0.0..1.0).contains(&bucket.as_f64()));
    }
    assert_eq!(Bucket::LAST.as_f64(), 1.0);
}

#[test]
fn rule_7_spellings_of_a_version_share_a_bucket() {
    let of = |version: &str| Bucket::of("bastion-1", &component("stronghold"), &v(version));
    for spelling in ["1.2", "v1.2", "1.2.0", "v1.2.0", "v1.2.0+build", "1.2+b"] {
        assert_eq!(of(spelling), of("v1.2.0"), "{spelling}");
    }
    for other in ["v1.2.1", "v1.2.0-rc.1", "v2.0.0"] {
        assert_ne!(of(other), of("v1.2.0"), "{other}");
    }
}

#[test]
fn rule_7_wave_starts_after_min_age_and_since() {
    let seen = "2026-11-01T00:00:00Z";
    for (min_age, since, start) in [
        (Duration::ZERO, None, Some(seen)),
        (72 * HOUR, None, Some("2026-11-04T00:00:00Z")),
        (72 * HOUR, Some("2026-11-02T00:00:00Z"), Some("2026-11-04T00:00:00Z")),
        (72 * HOUR, Some("2026-11-10T00:00:00Z"), Some("2026-11-10T00:00:00Z")),
        (Duration::MAX, Some("2026-11-10T00:00:00Z"), None),
    ] {
        let wave = Wave::new(t(seen), min_age, since.map(t), HOUR);
        assert_eq!(wave.start(), start.map(t), "{min_age:?} {since:?}");
    }
}

#[test]
fn rule_7_wave_permits_by_position_and_time() {
    let (first, half, last) = (Bucket(0), Bucket(BUCKETS / 2), Bucket::LAST);
    let wave = Wave::new(t("2026-11-01T00:00:00Z"), 24 * HOUR, None, 48 * HOUR);
    for (bucket, now, permitted) in [
        // Nobody before the start and at f = 0; then bucket < f.
        (first, "2026-11-01T23:59:59Z", false),
        (first, "2026-11-02T00:00:00Z", false),
        (first, "2026-11-02T00:00:00.000000001Z", true),
        (half, "2026-11-03T00:00:00Z", false),
        (half, "2026-11-03T00:00:00.000000001Z", true),
        // f >= 1: every host, including the last.
        (half, "2026-11-04T00:00:00Z", true),
        (last, "2026-11-03T23:59:59.999999999Z", false),
        (last, "2026-11-04T00:00:00Z", true),
        (last, "9999-12-30T22:00:00Z", true),
    ] {
        assert_eq!(wave.permits(bucket, t(now)), permitted, "{bucket:?} {now}");
        assert_eq!(is_reached(wave.permitted_from(bucket), t(now)), permitted, "{bucket:?} {now}");
    }
    assert_eq!(wave.permitted_from(last), Some(t("2026-11-04T00:00:00Z")));
}

#[test]
fn rule_7_wave_ends_after_its_duration() {
    let start = "2026-11-02T00:00:00Z";
    for (over, end) in [(Duration::ZERO, Some(start)), (48 * HOUR, Some("2026-11-04T00:00:00Z")), (Duration::MAX, None)]
    {
        assert_eq!(Wave::new(t(start), Duration::ZERO, None, over).end(), end.map(t), "{over:?}");
    }
    assert_eq!(Wave::new(t(start), Duration::MAX, None, HOUR).end(), None);
}

#[test]
fn rule_7_extreme_times_do_not_overflow() {
    let late = Timestamp::MAX;
    for (seen, min_age, over, at_the_end) in [
        (Timestamp::MIN, Duration::ZERO, Duration::ZERO, true),
        (Timestamp::MIN, Duration::ZERO, Duration::MAX, false),
        (Timestamp::MIN, Duration::MAX, Duration::ZERO, false),
        (late, Duration::ZERO, Duration::ZERO, true),
        (late, Duration::from_nanos(1), Duration::ZERO, false),
        (late, Duration::ZERO, Duration::from_nanos(1), false),
        (late, Duration::MAX, Duration::MAX, false),
    ] {
        let wave = Wave::new(seen, min_age, None, over);
        for bucket in [Bucket::LAST, Bucket(BUCKETS - 1)] {
            assert_eq!(wave.permits(bucket, late), at_the_end, "{seen} {min_age:?} {over:?}");
            assert_eq!(is_reached(wave.permitted_from(bucket), late), at_the_end, "{seen} {min_age:?} {over:?}");
        }
    }
}

/// Hosts with consecutive names are spread evenly: a chi-squared test of 32 cells stays under its 99.9th
/// percentile. Each version spreads them independently.
#[test]
fn rule_7_hosts_are_spread_evenly_for_each_version() {
    let hosts: Vec<_> = (0..10_000).map(|i| format!("bastion-{i}")).collect();
    let position = |host: &String, version: &str| Bucket::of(host, &component("stronghold"), &v(version)).as_f64();
    for version in ["v1.3.3", "v1.3.4", "v2.0.0-rc.1"] {
        let mut cells = [0_u32; 32];
        for host in &hosts {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 31")]
            let cell = (position(host, version) * 32.0) as usize;
            cells[cell] += 1;
        }
        let expected = 10_000.0 / 32.0;
        let chi_squared: f64 = cells.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        assert!(chi_squared < 61.1, "{version}: {chi_squared} {cells:?}");
    }
    let early = |version| hosts.iter().filter(move |host| position(host, version) < 0.1);
    let twice = early("v1.3.3").filter(|host| position(host, "v1.3.4") < 0.1).count();
    // One in ten of about a thousand, within four standard deviations.
    assert!((60..=140).contains(&twice), "{twice}");
}

#[test]
fn rule_7_canaries_by_percentage() {
    for (percent, bucket, canary) in [
        (1, 0, true),
        (1, BUCKETS / 100, true),
        (1, BUCKETS / 100 + 1, false),
        (50, BUCKETS / 2 - 1, true),
        (50, BUCKETS / 2, false),
        (50, BUCKETS, false),
    ] {
        let share = CanaryShare::of_percent(percent).unwrap();
        assert_eq!(share.contains(Bucket(bucket)), canary, "{percent} {bucket}");
    }
    assert_eq!([0, 51, 100, u32::MAX].map(CanaryShare::of_percent), [None; 4]);
}

fn any_instant() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    prop_oneof![
        range.prop_map(|n| Timestamp::from_nanosecond(n).unwrap()),
        (1_790_000_000_i64..1_800_000_000, 0..1_000_000_000_i32).prop_map(|(s, n)| Timestamp::new(s, n).unwrap()),
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
    ]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (60..=2_592_000_u64).prop_map(Duration::from_secs),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        (0..10_000_000_000_u64).prop_map(Duration::from_nanos),
        Just(Duration::ZERO),
        Just(Duration::MAX),
    ]
}

fn any_wave() -> impl Strategy<Value = Wave> {
    (any_instant(), any_duration(), proptest::option::of(any_instant()), any_duration())
        .prop_map(|(seen, min_age, since, over)| Wave::new(seen, min_age, since, over))
}

fn any_bucket() -> impl Strategy<Value = Bucket> {
    prop_oneof![
        4 => (0..BUCKETS).prop_map(Bucket),
        1 => Just(Bucket(0)),
        1 => Just(Bucket(BUCKETS - 1)),
        1 => Just(Bucket::LAST),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn permits_agrees_with_permitted_from(wave in any_wave(), bucket in any_bucket(), now in any_instant()) {
        prop_assert_eq!(wave.permits(bucket, now), is_reached(wave.permitted_from(bucket), now));
        if let Some(instant) = wave.permitted_from(bucket) {
            prop_assert!(wave.permits(bucket, instant));
            if let Ok(before) = Timestamp::from_nanosecond(instant.as_nanosecond() - 1) {
                prop_assert!(!wave.permits(bucket, before));
            }
        }
    }

    #[test]
    fn a_wave_never_shrinks(wave in any_wave(), bucket in any_bucket(), one in any_instant(), other in any_instant()) {
        let (early, late) = (one.min(other), one.max(other));
        prop_assert!(!wave.permits(bucket, early) || wave.permits(bucket, late));
    }

    #[test]
    fn the_end_permits_every_host_and_the_last_one_not_before(wave in any_wave()) {
        prop_assert_eq!(wave.permitted_from(Bucket::LAST), wave.end());
    }

    #[test]
    fn a_lower_bucket_is_permitted_first(wave in any_wave(), a in 0..=BUCKETS, b in 0..=BUCKETS, now in any_instant()) {
        let [first, second] = [a.min(b), a.max(b)].map(Bucket);
        prop_assert!(!wave.permits(second, now) || wave.permits(first, now));
    }

    /// The formula of the rule in floating point, without the ties that rounding decides.
    #[test]
    fn permits_follows_the_formula_of_the_rule(host in "[a-z0-9-]{1,20}", over in 60..=2_592_000_u32, elapsed in -100_000..3_000_000_i32) {
        let start = t("2026-11-01T00:00:00Z");
        let wave = Wave::new(start, Duration::ZERO, None, Duration::from_secs(over.into()));
        let now = Timestamp::from_second(start.as_second() + i64::from(elapsed)).unwrap();
        let f = f64::from(elapsed) / f64::from(over);
        let bucket = bucket(&host);
        prop_assume!((bucket.as_f64() - f).abs() > 1e-12);
        prop_assert_eq!(wave.permits(bucket, now), f >= 1.0 || bucket.as_f64() < f);
        prop_assert_eq!(wave.permits(Bucket::LAST, now), f >= 1.0);
    }
}
