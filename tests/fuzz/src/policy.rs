//! Policies and records with arbitrary content, and windows.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        intent::Intent,
        validation::{
            CheckedPolicy,
            warnings::{PolicyContext, warnings},
        },
        verdict::{Candidate, Class, Host, Person, PolicySet, Reason, UserInfo},
        window::{CheckedBlackout, MergedSchedule, Schedule, Windows},
    },
    records::{
        policy::{Day, PluginPolicy, Window},
        release::CliRelease,
    },
    values::{name::Component, version::Version},
};
use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::Value;

use crate::input::{Input, assert_printable};

const INTENTS: [Intent; 4] = [Intent::Agent, Intent::Update, Intent::Explicit, Intent::Repair];

fn assert_reasons<'a>(reasons: impl IntoIterator<Item = &'a Reason>) {
    for reason in reasons {
        assert_printable(&explain::to_person(reason));
        if let Some(policy) = reason.policy() {
            assert_printable(policy);
        }
    }
}

/// A row of the example `verdicts` in which any field may be missing or invalid.
pub(crate) fn policy(data: &[u8]) {
    let Ok(row) = serde_json::from_slice::<Value>(data) else { return };
    let objects: Vec<Value> = row["policies"].as_array().cloned().unwrap_or_default();
    for object in &objects {
        match PluginPolicy::deserialize(object).map(|policy| CheckedPolicy::new(&policy)) {
            Ok(Ok(checked)) => {
                for warning in warnings(&checked, PolicyContext::default()) {
                    assert_printable(&warning);
                }
            }
            Ok(Err(rejected)) => rejected.errors.iter().for_each(|error| assert_printable(&error.to_string())),
            Err(_) => {}
        }
    }
    let set = PolicySet::from_json(&objects);
    let reversed = PolicySet::from_json(objects.iter().rev());
    let release = CliRelease::deserialize(&row["release"]).ok();
    let labels = BTreeMap::deserialize(&row["host"]["labels"]).unwrap_or_default();
    let user = UserInfo::deserialize(&row["person"]).ok();
    let host = Host {
        id: row["host"]["id"].as_str().unwrap_or("bastion-1"),
        labels: &labels,
        platform: None,
        new_root: false,
        person: if row["person"].is_null() { Person::Nobody } else { Person::from(user.as_ref()) },
        local_rules: None,
    };
    let time = |field: &str| row[field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
    let now = time("now").unwrap_or(Timestamp::UNIX_EPOCH);
    let version = |field: &str| row[field].as_str().and_then(|text| Version::parse(text).ok());
    let (Some(wanted), active) = (version("version"), version("active")) else { return };
    let named = row["component"].as_str().and_then(|name| name.parse().ok());
    let component = named.unwrap_or(Component::D8);

    let (policies, reversed) = (set.for_host(host), reversed.for_host(host));
    for intent in INTENTS {
        let case = Candidate::new(host, &component, &wanted, intent, now)
            .server_time(time("server"))
            .confirmed(time("confirmed"))
            .active(active.as_ref())
            .release(release.as_ref());
        let judgement = policies.evaluate(&case);
        assert_reasons(judgement.reasons());
        assert_reasons(judgement.notes());
        assert_eq!(judgement.is_eligible(), judgement.reasons().is_empty());
        let strongest = judgement.reasons().iter().map(Reason::class).max().unwrap_or(Class::Eligible);
        assert_eq!(judgement.class(), strongest);
        let other = reversed.evaluate(&case);
        assert_eq!(
            (other.class(), other.until()),
            (judgement.class(), judgement.until()),
            "the order of policies must not matter"
        );
    }
    if let Some(active) = &active {
        assert_reasons(policies.run_allowed(&component, active).err().as_deref());
        policies.guidance(&component, Some(active));
    }
    assert_reasons(policies.denied(&component).iter());
    if let Component::Plugin(name) = &component {
        assert_reasons(policies.remove_allowed(name).err().as_deref());
    }
    policies.required();
    policies.missing_dependencies_refused();
    let record = |wanted: &Component| release.as_ref().filter(|_| *wanted == component);
    let conflicts = policies.conflicts(record);
    assert_eq!(conflicts, reversed.conflicts(record), "the order of policies must not matter");
    for conflict in &conflicts {
        assert_printable(&explain::policy_conflict(conflict));
    }
}

/// The windows and blackouts of two policies and an instant.
pub(crate) fn window(data: &[u8]) {
    const ZONES: &[&str] = &[
        "UTC",
        "Europe/Berlin",
        "America/Nuuk",
        "Pacific/Apia",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "Asia/Kathmandu",
    ];
    const DAYS: [Day; 7] = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    let mut input = Input::new(data);
    let mut policies = Vec::new();
    for _ in 0..2 {
        let count = 1 + input.number(3);
        let records: Vec<Window> = (0..count)
            .map(|_| Window {
                days: input.once_in(3).then(|| (0..=input.number(3)).map(|_| *input.pick(&DAYS)).collect()),
                start: match input.number(16) {
                    0 => input.text(),
                    hour => format!("{:02}:{:02}", (hour - 1) * 23 / 14, input.number(60)),
                },
                duration: match input.number(16) {
                    0 => input.text(),
                    hours => format!("{}h{}m", hours * hours - 1, input.number(60)),
                },
                time_zone: match input.number(8) {
                    0 => None,
                    1 => Some(input.text()),
                    _ => Some((*input.pick(ZONES)).to_owned()),
                },
            })
            .collect();
        match Windows::parse(&records, "spec.windows") {
            Ok(windows) => policies.push(windows),
            Err(errors) => return errors.iter().for_each(|error| assert_printable(&error.to_string())),
        }
    }
    let span = Timestamp::MAX.as_second().abs_diff(Timestamp::MIN.as_second());
    let offset = if input.once_in(4) { input.long() % span } else { input.long() % (80 * 366 * 86_400) };
    let from = if offset < 80 * 366 * 86_400 { 0 } else { Timestamp::MIN.as_second() };
    let now = Timestamp::from_second(from.saturating_add_unsigned(offset)).expect("within the span");
    let mut openings = Vec::new();
    for windows in &policies {
        let opening = windows.next_opening(now);
        assert_eq!(windows.open_at(now), opening == Some(now));
        if let Some(opening) = opening {
            assert!(opening >= now && windows.open_at(opening));
            assert!(windows.open_until(opening).is_none_or(|closes| closes > opening && !windows.open_at(closes)));
        }
        openings.push(opening);
    }
    let schedules: Vec<Schedule> =
        policies.into_iter().map(|windows| Schedule::new(Some(windows), blackouts(&mut input, now))).collect();
    let merged: MergedSchedule<'_> = schedules.iter().collect();
    match merged.next_opening(now) {
        Some(opening) => {
            assert!(openings.iter().all(|single| single.is_some_and(|single| single <= opening)));
            assert!(merged.open_at(opening) && schedules.iter().all(|schedule| schedule.open_at(opening)));
        }
        None => assert!(!merged.open_at(now)),
    }
    if let Some(closes) = merged.open_until(now) {
        assert!(closes >= now && !merged.open_at(closes));
    }
}

/// Up to two blackouts around an instant.
fn blackouts(input: &mut Input<'_>, now: Timestamp) -> Vec<CheckedBlackout> {
    let count = input.number(3);
    let blackouts = (0..count).filter_map(|_| {
        let [back, length] = [(); 2].map(|()| i64::try_from(input.long() % (500 * 86_400)).unwrap_or_default());
        let from = Timestamp::from_second(now.as_second().checked_sub(back - 250 * 86_400)?).ok()?;
        let to = Timestamp::from_second(from.as_second().checked_add(1 + length)?).ok()?;
        Some(CheckedBlackout { from, to, reason: "a freeze".into() })
    });
    blackouts.collect()
}
