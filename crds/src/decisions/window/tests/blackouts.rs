//! Blackouts: their ends, their union with windows, and errors.

use jiff::Timestamp;

use super::{t, windows};
use crate::{
    decisions::window::{CheckedBlackout, MergedSchedule, Schedule, parse_blackouts},
    records::policy::Blackout,
    values::field_error::FieldErrors,
};

/// Makes a blackout from `2026-11-27T00:00 2026-11-30T00:00 Europe/Berlin`. `-` is no zone.
fn record(text: &str) -> Blackout {
    let [from, to, zone] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    Blackout {
        from: from.to_owned(),
        to: to.to_owned(),
        time_zone: (zone != "-").then(|| zone.to_owned()),
        reason: "freeze".to_owned(),
    }
}

fn errors(blackouts: &[Blackout]) -> String {
    let mut errors = FieldErrors::default();
    parse_blackouts(blackouts, "spec.blackouts", &mut errors);
    errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn blackouts(texts: &[&str]) -> Vec<CheckedBlackout> {
    let records: Vec<_> = texts.iter().map(|text| record(text)).collect();
    let mut errors = FieldErrors::default();
    let parsed = parse_blackouts(&records, "spec.blackouts", &mut errors);
    assert!(errors.is_empty(), "{:?}", errors.into_vec());
    parsed
}

/// Windows (none: always open) and blackouts.
fn schedule(open: &[&str], closed: &[&str]) -> Schedule {
    Schedule::new((!open.is_empty()).then(|| windows(open)), blackouts(closed))
}

#[test]
fn rule_10_the_ends_of_a_blackout_are_read_as_the_start_of_a_window() {
    for (blackout, from, to) in [
        ("2026-11-27T00:00 2026-11-30T00:00 -", "2026-11-27T00:00:00Z", "2026-11-30T00:00:00Z"),
        ("2026-11-27T00:00:30 2026-11-27T00:01 -", "2026-11-27T00:00:30Z", "2026-11-27T00:01:00Z"),
        ("2026-11-27T00:00 2026-11-30T00:00 Europe/Berlin", "2026-11-26T23:00:00Z", "2026-11-29T23:00:00Z"),
        // Gap: at the transition.
        ("2026-03-29T02:30 2026-03-29T03:30 Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"),
        ("2026-03-29T01:00 2026-03-29T02:00 Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        // Fold: the earlier one.
        ("2026-10-25T02:30 2026-10-25T03:00 Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"),
        ("2026-10-25T01:00 2026-10-25T02:30 Europe/Berlin", "2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"),
        // A whole day is skipped (Apia).
        ("2011-12-30T12:00 2011-12-31T01:00 Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T11:00:00Z"),
    ] {
        let parsed = blackouts(&[blackout]);
        assert_eq!((parsed[0].from, parsed[0].to), (t(from), t(to)), "{blackout}");
    }
}

#[test]
fn rule_10_a_blackout_includes_its_beginning_and_excludes_its_end() {
    let schedule = schedule(&[], &["2026-11-27T00:00 2026-11-30T00:00 -"]);
    for (now, open) in [
        ("2026-11-26T23:59:59.999999999Z", true),
        ("2026-11-27T00:00:00Z", false),
        ("2026-11-29T23:59:59.999999999Z", false),
        ("2026-11-30T00:00:00Z", true),
    ] {
        assert_eq!(schedule.open_at(t(now)), open, "{now}");
        assert_eq!(schedule.blackouts_at(t(now)).count(), usize::from(!open), "{now}");
        assert!(schedule.windows_open_at(t(now)));
    }
}

#[test]
fn rule_10_a_switch_may_begin_when_windows_are_open_and_no_blackout_lasts() {
    let nights = &["* 02:00 3h -"][..];
    for (policies, now, opening, closing) in [
        (vec![schedule(&[], &[])], "2026-11-27T12:00:00Z", Some("2026-11-27T12:00:00Z"), None),
        // The window is open, a blackout lasts; the next night is outside it.
        (
            vec![schedule(nights, &["2026-11-27T00:00 2026-11-30T00:00 -"])],
            "2026-11-27T02:30:00Z",
            Some("2026-11-30T02:00:00Z"),
            Some("2026-11-27T02:30:00Z"),
        ),
        // The blackout ends within a window.
        (
            vec![schedule(nights, &["2026-11-27T00:00 2026-11-30T03:00 -"])],
            "2026-11-27T12:00:00Z",
            Some("2026-11-30T03:00:00Z"),
            Some("2026-11-27T12:00:00Z"),
        ),
        // Blackouts of several policies unite; adjacent, overlapping and nested ones leave no time between them.
        (
            vec![
                schedule(&[], &["2026-11-27T00:00 2026-11-28T00:00 -", "2026-11-28T00:00 2026-11-29T00:00 -"]),
                schedule(&[], &["2026-11-28T12:00 2026-11-30T00:00 -", "2026-11-27T06:00 2026-11-27T07:00 -"]),
            ],
            "2026-11-27T12:00:00Z",
            Some("2026-11-30T00:00:00Z"),
            Some("2026-11-27T12:00:00Z"),
        ),
        // The blackout of one policy closes the window of another.
        (
            vec![schedule(nights, &[]), schedule(&[], &["2026-11-27T00:00 2026-11-28T02:01 -"])],
            "2026-11-26T12:00:00Z",
            Some("2026-11-28T02:01:00Z"),
            Some("2026-11-26T12:00:00Z"),
        ),
        // One that is over, and one that is ahead.
        (
            vec![schedule(&[], &["2026-11-01T00:00 2026-11-02T00:00 -", "2026-12-24T00:00 2027-01-02T00:00 -"])],
            "2026-11-27T12:00:00Z",
            Some("2026-11-27T12:00:00Z"),
            Some("2026-12-24T00:00:00Z"),
        ),
        // Longer than 400 days, by a second.
        (
            vec![schedule(&[], &["2026-11-27T00:00 2028-01-01T00:00 -"])],
            "2026-11-27T00:00:00Z",
            Some("2028-01-01T00:00:00Z"),
            Some("2026-11-27T00:00:00Z"),
        ),
        (
            vec![schedule(&[], &["2026-11-27T00:00 2028-01-01T00:00:01 -"])],
            "2026-11-27T00:00:00Z",
            None,
            Some("2026-11-27T00:00:00Z"),
        ),
        (
            vec![schedule(nights, &["2026-11-27T00:00 2030-01-01T00:00 -"])],
            "2026-11-27T00:00:00Z",
            None,
            Some("2026-11-27T00:00:00Z"),
        ),
    ] {
        let merged: MergedSchedule<'_> = policies.iter().collect();
        let shown = |instant: Option<Timestamp>| instant.map(|instant| instant.to_string());
        let found = (shown(merged.next_opening(t(now))), shown(merged.open_until(t(now))));
        assert_eq!((found.0.as_deref(), found.1.as_deref()), (opening, closing), "{policies:?} at {now}");
        assert_eq!(merged.open_at(t(now)), opening == Some(now), "{policies:?}");
    }
}

#[test]
fn an_expedited_version_waits_for_blackouts_only() {
    let both = schedule(&["* 02:00 3h -"], &["2026-11-27T00:00 2026-11-30T00:00 -"]);
    let mut merged = MergedSchedule::default();
    merged.add_blackouts(&both);
    assert_eq!(merged.next_opening(t("2026-11-27T12:00:00Z")), Some(t("2026-11-30T00:00:00Z")));
    assert!(merged.open_at(t("2026-11-26T12:00:00Z")));
}

#[test]
fn an_entry_that_is_listed_twice_counts_once() {
    let twice = blackouts(&["2026-11-27T00:00 2026-11-30T00:00 -", "2026-11-27T00:00:00 2026-11-30T00:00 UTC"]);
    assert_eq!(twice.len(), 1, "{twice:?}");
}

#[test]
fn a_blackout_that_one_change_of_the_clock_skips_closes_nothing() {
    let skipped = ["2026-03-29T02:10 2026-03-29T02:50 Europe/Berlin"];
    assert_eq!(blackouts(&skipped), []);
    assert!(schedule(&[], &skipped).open_at(t("2026-03-29T01:00:00Z")));
}

#[test]
fn rule_10_errors_of_blackouts_name_the_field() {
    let no_date = |text: &str| {
        format!("spec.blackouts[0].from: {text:?} is not a local date and time such as `2026-11-27T00:00`")
    };
    let long = "2026-11-27T00:00 2026-11-30T00:00 -";
    for text in [
        "2026-11-27",
        "2026-11-27T00",
        "2026-02-29T00:00",
        "2026-11-27T24:00",
        "2026-11-27T23:59:60",
        "2026-11-27T00:00Z",
        "2026-11-27t00:00",
        "20261127T0000:00",
        "-002026-11-27T00",
        "2026-11-27T00:00:00.5",
        "tomorrow",
        "",
    ] {
        let found = errors(&[Blackout { from: text.to_owned(), ..record(long) }]);
        assert!(found.starts_with(&no_date(text)), "{found}");
    }
    for (blackout, expected) in [
        (record("2026-11-30T00:00 2026-11-27T00:00 -"), "spec.blackouts[0].to: must be later than `from`"),
        (record("2026-11-30T00:00 2026-11-30T00:00:00 -"), "spec.blackouts[0].to: must be later than `from`"),
        (record("2026-11-27T00:00 9999-12-31T00:00 -"), "spec.blackouts[0].to: 9999-12-31T00:00:00 is out of range"),
        (
            record("2026-11-27T00:00 2026-11-30T00:00 Mars/Base"),
            "spec.blackouts[0].timeZone: \"Mars/Base\" is not an IANA time zone such as `Europe/Berlin`",
        ),
        (
            Blackout { reason: " ".to_owned(), ..record(long) },
            "spec.blackouts[0].reason: must not be empty: people who are held see it",
        ),
    ] {
        assert_eq!(errors(&[blackout]), expected);
    }
    let many = errors(&vec![record(long); 33]);
    assert_eq!(many, "spec.blackouts: has 33 entries, at most 32 are allowed");
}

/// The largest policies that the schema allows never permit a switch; the search is bounded by 400 days.
#[test]
fn rule_10_search_among_many_blackouts_ends() {
    let policy = |i: usize| {
        let spans: Vec<_> = (0..32)
            .map(|day| {
                format!(
                    "20{:02}-{:02}-01T00:00 20{:02}-{:02}-28T00:00 -",
                    26 + day / 12,
                    1 + day % 12,
                    26 + day / 12,
                    1 + day % 12
                )
            })
            .collect();
        let night = format!("* {:02}:00 1h -", i % 2);
        schedule(&[&night], &spans.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let policies: Vec<_> = (0..100).map(policy).collect();
    let merged: MergedSchedule<'_> = policies.iter().collect();
    assert_eq!(merged.next_opening(t("2026-11-23T12:00:00Z")), None);
}
