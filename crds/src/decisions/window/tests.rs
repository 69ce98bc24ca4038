mod blackouts;
mod brute;
mod decade;
mod random;

use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;

use super::*;

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Makes the window of a policy from `Sat,Sun 02:00 3h Europe/Berlin`. `*` is every day, `-` is no zone.
fn record(text: &str) -> Window {
    let words: Vec<_> = text.split(' ').collect();
    let [days, start, duration, zone] = words[..] else { panic!("{text}") };
    let day = |day: &str| serde_json::from_value(day.into()).unwrap();
    Window {
        days: (days != "*").then(|| days.split(',').map(day).collect()),
        start: start.to_owned(),
        duration: duration.to_owned(),
        time_zone: (zone != "-").then(|| zone.to_owned()),
    }
}

fn windows(texts: &[&str]) -> Windows {
    let records: Vec<_> = texts.iter().map(|text| record(text)).collect();
    Windows::parse(&records, "spec.windows").unwrap()
}

fn schedules(policies: &[Windows]) -> Vec<Schedule> {
    policies.iter().map(|windows| Schedule::new(Some(windows.clone()), Vec::new())).collect()
}

/// Returns the first spans in which a window is open from an instant on.
fn occurrences(windows: &Windows, from: &str, count: usize) -> Vec<(String, String)> {
    let mut occurrences = Vec::new();
    let mut now = t(from);
    while occurrences.len() < count {
        let opens = windows.next_opening(now).unwrap();
        let closes = windows.open_until(opens).unwrap();
        occurrences.push((opens.to_string(), closes.to_string()));
        now = closes;
    }
    occurrences
}

#[test]
fn rule_10_windows_open_and_close() {
    for (window, from, expected) in [
        // Listed days are local days: Saturday in Berlin begins on Friday in UTC.
        ("Sat 00:30 1h Europe/Berlin", "2026-11-23T00:00:00Z", ("2026-11-27T23:30:00Z", "2026-11-28T00:30:00Z")),
        ("Mon 23:00 1h America/New_York", "2026-11-23T00:00:00Z", ("2026-11-24T04:00:00Z", "2026-11-24T05:00:00Z")),
        ("* 05:45 1h Asia/Kathmandu", "2026-11-23T00:00:00Z", ("2026-11-23T00:00:00Z", "2026-11-23T01:00:00Z")),
        // No zone is UTC.
        ("* 02:00 3h -", "2026-11-23T05:00:00Z", ("2026-11-24T02:00:00Z", "2026-11-24T05:00:00Z")),
        // It stays open past midnight on a day that is not listed.
        ("Sat 23:00 2h UTC", "2026-11-28T00:00:00Z", ("2026-11-28T23:00:00Z", "2026-11-29T01:00:00Z")),
        // Gap: it opens at the transition and stays open for the whole duration.
        ("* 02:30 1h Europe/Berlin", "2026-03-29T00:00:00Z", ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")),
        ("* 02:00 1h Europe/Berlin", "2026-03-29T00:00:00Z", ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")),
        ("* 03:00 1h Europe/Berlin", "2026-03-29T00:00:00Z", ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")),
        // Elapsed time: from 01:30 to 04:30 by the clock.
        ("* 01:30 2h Europe/Berlin", "2026-03-29T00:00:00Z", ("2026-03-29T00:30:00Z", "2026-03-29T02:30:00Z")),
        // Fold: it opens the first time only.
        ("* 02:30 15m Europe/Berlin", "2026-10-25T00:00:00Z", ("2026-10-25T00:30:00Z", "2026-10-25T00:45:00Z")),
        ("* 02:30 15m Europe/Berlin", "2026-10-25T00:45:00Z", ("2026-10-26T01:30:00Z", "2026-10-26T01:45:00Z")),
        // A fold and a gap of half an hour (Lord Howe).
        ("* 01:45 1h Australia/Lord_Howe", "2026-04-04T00:00:00Z", ("2026-04-04T14:45:00Z", "2026-04-04T15:45:00Z")),
        ("* 02:15 1h Australia/Lord_Howe", "2026-10-03T00:00:00Z", ("2026-10-03T15:30:00Z", "2026-10-03T16:30:00Z")),
        // Midnight is skipped (Santiago): the day begins at 01:00.
        ("Sun 00:00 1h America/Santiago", "2026-09-05T00:00:00Z", ("2026-09-06T04:00:00Z", "2026-09-06T05:00:00Z")),
        // The clock skips from 23:00 to midnight (Nuuk): the start of Saturday is reached as Sunday begins.
        ("Sat 23:30 1h America/Nuuk", "2026-03-28T00:00:00Z", ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")),
        // The clock shows Saturday 23:30 twice (Santiago), and Sunday begins after both.
        ("Sat 23:30 5m America/Santiago", "2026-04-04T00:00:00Z", ("2026-04-05T02:30:00Z", "2026-04-05T02:35:00Z")),
        ("Sun 00:00 5m America/Santiago", "2026-04-04T00:00:00Z", ("2026-04-05T04:00:00Z", "2026-04-05T04:05:00Z")),
        // A whole day is skipped (Apia): its window opens as the next day begins.
        ("Fri 12:00 1h Pacific/Apia", "2011-12-30T00:00:00Z", ("2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z")),
        // Transitions around Ramadan (Casablanca).
        ("* 02:30 1h Africa/Casablanca", "2026-03-22T00:00:00Z", ("2026-03-22T02:00:00Z", "2026-03-22T03:00:00Z")),
        // 24h every day is closed for the extra hour when the clocks go back.
        ("* 02:00 24h Europe/Berlin", "2026-10-26T00:59:59Z", ("2026-10-26T01:00:00Z", "2027-11-01T00:00:00Z")),
    ] {
        let (opens, closes) = expected;
        let found = occurrences(&windows(&[window]), from, 1);
        assert_eq!(found, [(opens.to_owned(), closes.to_owned())], "{window} from {from}");
    }
}

#[test]
fn rule_10_start_is_inclusive_and_end_is_exclusive() {
    let windows = windows(&["Sat 02:00 3h -"]);
    for (now, open) in [
        ("2026-11-28T01:59:59.999999999Z", false),
        ("2026-11-28T02:00:00Z", true),
        ("2026-11-28T04:59:59.999999999Z", true),
        ("2026-11-28T05:00:00Z", false),
        ("2026-11-29T02:00:00Z", false),
    ] {
        assert_eq!(windows.open_at(t(now)), open, "{now}");
    }
    let inside = t("2026-11-28T03:00:00Z");
    assert_eq!(windows.next_opening(inside), Some(inside));
    assert_eq!(windows.open_until(t("2026-11-28T05:00:00Z")), Some(t("2026-11-28T05:00:00Z")));
}

#[test]
fn rule_10_overlapping_windows_unite() {
    for (list, expected) in [
        // Overlapping, adjacent, nested, and one that is still open at its own next start.
        (&["* 02:00 2h -", "* 03:00 2h -"][..], ("2026-11-23T02:00:00Z", "2026-11-23T05:00:00Z")),
        (&["* 04:00 1h -", "* 02:00 2h -"], ("2026-11-23T02:00:00Z", "2026-11-23T05:00:00Z")),
        (&["* 02:00 4h -", "* 03:00 1m -"], ("2026-11-23T02:00:00Z", "2026-11-23T06:00:00Z")),
        (&["Mon,Tue 02:00 30h -"], ("2026-11-23T02:00:00Z", "2026-11-25T08:00:00Z")),
        (&["* 03:00 2h Europe/Berlin", "* 02:30 2h -"], ("2026-11-23T02:00:00Z", "2026-11-23T04:30:00Z")),
    ] {
        let (opens, closes) = expected;
        let found = occurrences(&windows(list), "2026-11-23T00:00:00Z", 1);
        assert_eq!(found, [(opens.to_owned(), closes.to_owned())], "{list:?}");
    }
    let always = windows(&["* 00:00 24h -"]);
    let now = t("2026-11-23T12:34:56Z");
    assert!(always.open_at(now));
    assert_eq!((always.next_opening(now), always.open_until(now)), (Some(now), None));
}

#[test]
fn rule_10_merged_windows_open_when_all_are_open() {
    let now = "2026-11-23T00:00:00Z";
    for (policies, opening) in [
        // No policy has windows: always open.
        (&[][..], Some(now)),
        (&[&["* 02:00 3h -"][..]], Some("2026-11-23T02:00:00Z")),
        (&[&["* 02:00 3h -"], &["* 04:00 3h -"]], Some("2026-11-23T04:00:00Z")),
        (&[&["* 02:00 3h -", "Wed 12:00 1h -"], &["Wed 10:00 3h -"]], Some("2026-11-25T12:00:00Z")),
        // One closes as the other opens.
        (&[&["* 02:00 2h -"], &["* 04:00 2h -"]], None),
        (&[&["Sat 00:00 24h -"], &["Sun 00:00 24h -"]], None),
        // Each two of them meet, but never all three.
        (&[&["* 01:00 2h -"], &["* 02:00 2h -"], &["* 01:00 1h -", "* 03:00 1h -"]], None),
        // Only while New York is on daylight saving time and Berlin is not.
        (&[&["* 14:00 30m Europe/Berlin"], &["* 09:00 30m America/New_York"]], Some("2027-03-14T13:00:00Z")),
        // Only on the day on which Berlin skips 02:30.
        (&[&["* 02:30 15m Europe/Berlin"], &["* 03:00 15m Europe/Berlin"]], Some("2027-03-28T01:00:00Z")),
        // Half an hour of a Sunday in October, on Lord Howe.
        (&[&["* 02:00 15m Australia/Lord_Howe"], &["* 02:29 1m Australia/Lord_Howe"]], Some("2027-10-02T15:30:00Z")),
    ] {
        let policies: Vec<_> = policies.iter().map(|list| windows(list)).collect();
        let schedules = schedules(&policies);
        let merged: MergedSchedule<'_> = schedules.iter().collect();
        let found = merged.next_opening(t(now)).map(|opening| opening.to_string());
        assert_eq!(found.as_deref(), opening, "{policies:?}");
        assert_eq!(merged.open_at(t(now)), opening == Some(now), "{policies:?}");
        if let Some(opening) = opening {
            assert!(merged.open_at(t(opening)), "{policies:?}");
        }
    }
    assert_eq!(MergedSchedule::default().open_until(t(now)), None);
}

#[test]
fn rule_10_search_ends_after_400_days() {
    // They meet only on 2027-03-28; 400 days before is 2026-02-21.
    let policies = schedules(&[windows(&["* 02:30 15m Europe/Berlin"]), windows(&["* 03:00 15m Europe/Berlin"])]);
    let merged: MergedSchedule<'_> = policies.iter().collect();
    let meeting = t("2027-03-28T01:00:00Z");
    let earliest = instant::before_or_first(meeting, HORIZON);
    let before = t("2026-03-29T01:15:00Z");
    assert!(earliest < before, "the meeting of the year before is within the horizon");
    assert_eq!(merged.next_opening(before), Some(meeting));
    // These never meet: Kathmandu has no daylight saving time.
    let policies = schedules(&[windows(&["* 02:30 15m Asia/Kathmandu"]), windows(&["* 03:00 15m Asia/Kathmandu"])]);
    assert_eq!(policies.iter().collect::<MergedSchedule<'_>>().next_opening(before), None);
}

#[test]
fn rule_10_errors_name_the_field() {
    for (list, expected) in [
        (&[][..], "spec.windows: an empty list never opens; remove the field if switches may begin at any time"),
        (&["* 2:00 1h -"], "spec.windows[0].start: \"2:00\" is not a time of day such as `02:00`: write `02:00`"),
        (&["* 24:00 1h -"], "spec.windows[0].start: \"24:00\" is not a time of day such as `02:00`"),
        (&["* 02:60 1h -"], "spec.windows[0].start: \"02:60\" is not a time of day such as `02:00`"),
        (&["* +2:-0 1h -"], "spec.windows[0].start: \"+2:-0\" is not a time of day such as `02:00`"),
        (
            &["* 02:00:00 1h -"],
            "spec.windows[0].start: \"02:00:00\" is not a time of day such as `02:00`: write `02:00`",
        ),
        (
            &["* 02:00 1h -", "* 02:00 30s -"],
            "spec.windows[1].duration: 30s is out of range: the duration must be from 1m to 168h",
        ),
        (&["* 02:00 169h -"], "spec.windows[0].duration: 169h is out of range: the duration must be from 1m to 168h"),
        (
            &["* 02:00 1h Mars/Base"],
            "spec.windows[0].timeZone: \"Mars/Base\" is not an IANA time zone such as `Europe/Berlin`",
        ),
        (
            &["* 02:00 1h Etc/Unknown"],
            "spec.windows[0].timeZone: \"Etc/Unknown\" is not an IANA time zone such as `Europe/Berlin`",
        ),
        (&["* 02:00 1h Local"], "spec.windows[0].timeZone: \"Local\" is not an IANA time zone such as `Europe/Berlin`"),
        (&["* 02:00 1h europe/berlin"], "spec.windows[0].timeZone: \"europe/berlin\" must be written `Europe/Berlin`"),
        (&["* 02:00 1h utc"], "spec.windows[0].timeZone: \"utc\" must be written `UTC`"),
        (
            &["* 02:00 1h +02:00"],
            "spec.windows[0].timeZone: \"+02:00\" is not an IANA time zone such as `Europe/Berlin`",
        ),
        (
            &["* x 0s ../etc/passwd"],
            "spec.windows[0].start: \"x\" is not a time of day such as `02:00`; \
             spec.windows[0].duration: 0s is out of range: the duration must be from 1m to 168h; \
             spec.windows[0].timeZone: \"../etc/passwd\" is not an IANA time zone such as `Europe/Berlin`",
        ),
    ] {
        let records: Vec<_> = list.iter().map(|text| record(text)).collect();
        let errors = Windows::parse(&records, "spec.windows").unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert_eq!(text, expected);
    }
    let no_days = Window { days: Some(Vec::new()), ..record("* 02:00 1h -") };
    let errors = Windows::parse(&[no_days], "spec.windows").unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "spec.windows[0].days: an empty list never opens; remove the field for every day"
    );
}

#[test]
fn every_zone_of_the_database_is_known() {
    let database = TimeZoneDatabase::bundled();
    let zones: Vec<_> = database.available().collect();
    assert!(zones.len() > 500, "{}", zones.len());
    let now = t("2026-11-23T12:00:00Z");
    for name in zones {
        let opening = windows(&[&format!("* 02:00 1h {name}")]).next_opening(now).unwrap();
        assert!(opening < instant::after_or_last(now, std::time::Duration::from_hours(24)), "{name}");
    }
}

/// The largest policies that the schema allows never meet; the search is bounded by 400 days.
#[test]
fn rule_10_search_of_large_policies_ends() {
    let policy = |minute: usize| {
        let list: Vec<_> = (0..32).map(|i| format!("* {:02}:{:02} 1m UTC", i % 24, minute + i / 24)).collect();
        windows(&list.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let policies = schedules(&(0..4).map(|i| policy(2 * i)).collect::<Vec<_>>());
    let merged: MergedSchedule<'_> = policies.iter().collect();
    assert_eq!(merged.next_opening(t("2026-11-23T12:00:00Z")), None);
}

fn any_instant() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    let week = 604_800_000_000_000_i128;
    prop_oneof![
        range.clone(),
        *range.start()..range.start() + week,
        range.end() - week..=*range.end(),
        Just(*range.start()),
        Just(*range.end()),
    ]
    .prop_map(|n| Timestamp::from_nanosecond(n).unwrap())
}

proptest! {
    #[test]
    fn rule_10_extreme_times_do_not_overflow(list in proptest::collection::vec(random::window(), 1..4), now in any_instant()) {
        let texts: Vec<_> = list.iter().map(ToString::to_string).collect();
        let windows = windows(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let schedule = Schedule::new(Some(windows.clone()), Vec::new());
        let merged: MergedSchedule<'_> = [&schedule, &schedule].into_iter().collect();
        match windows.next_opening(now) {
            Some(opening) => {
                prop_assert!(opening >= now && windows.open_at(opening));
                prop_assert_eq!(windows.open_at(now), opening == now);
                if let Some(closes) = windows.open_until(opening) {
                    prop_assert!(closes > opening && !windows.open_at(closes));
                }
            }
            None => prop_assert!(now > t("9999-12-01T00:00:00Z"), "{}", now),
        }
        prop_assert_eq!(merged.next_opening(now), windows.next_opening(now));
        prop_assert_eq!(merged.open_at(now), windows.open_at(now));
        prop_assert_eq!(merged.open_until(now), windows.open_until(now));
    }
}
