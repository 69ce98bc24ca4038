//! Reads what says when a version may come: windows, blackouts, the rollout with its waves, and emergencies.

use std::collections::BTreeMap;

use d8_crds::values::version::Version;
use jiff::{civil::DateTime, tz::TimeZone};
use serde_json::Value;

use super::values::{Defect, list, one_of, selects, text};
use crate::{
    clock::{self, SECOND},
    windows::{Blackout, Window},
};

/// The rollout of a policy.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) over: i128,
    /// Whether `canarySelector` selects the host.
    pub(crate) selected_canary: bool,
    /// Percentage of hosts that are canaries by their bucket.
    pub(crate) canary_percent: i128,
    /// Whether `since` is set only after enough hosts have succeeded.
    pub(crate) needs_evidence: bool,
    /// Whether the operator has not processed the last edit.
    pub(crate) unobserved: bool,
}

/// The wave of a version in the status of a policy.
#[derive(Debug, Default)]
pub(crate) struct Wave {
    /// When the policy began to permit the version.
    pub(crate) since: Option<i128>,
    /// Whether a halt holds it that no annotation has resumed.
    pub(crate) halted: bool,
}

pub(super) fn windows(value: &Value) -> Result<Option<Vec<Window>>, Defect> {
    if value.is_null() {
        return Ok(None);
    }
    let windows = list(value)?.iter().map(window).collect::<Result<Vec<_>, _>>()?;
    // Rule 10: an empty list is invalid.
    if windows.is_empty() { Err(Defect::Invalid) } else { Ok(Some(windows)) }
}

fn window(object: &Value) -> Result<Window, Defect> {
    let mut days = Vec::new();
    for day in list(&object["days"])? {
        let known = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        days.push(one_of(day, &known)?.ok_or(Defect::Undecodable)?);
    }
    let start = object["start"].as_str().ok_or(Defect::Undecodable)?;
    let duration = object["duration"].as_str().ok_or(Defect::Undecodable)?;
    let zone = zone(object)?;
    let (hour, minute) = start.split_once(':').ok_or(Defect::Invalid)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(Defect::Invalid);
    }
    let hour: i8 = hour.parse().map_err(|_| Defect::Invalid)?;
    let minute: i8 = minute.parse().map_err(|_| Defect::Invalid)?;
    let duration = clock::duration(duration).ok_or(Defect::Invalid)?;
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || duration <= 0 {
        return Err(Defect::Invalid);
    }
    let duration = i64::try_from(duration / SECOND).map_err(|_| Defect::Invalid)?;
    Ok(Window { days, hour, minute, duration, zone })
}

/// The time zone of a window or a blackout. None: UTC.
fn zone(object: &Value) -> Result<String, Defect> {
    let zone = text(&object["timeZone"])?.unwrap_or("UTC");
    TimeZone::get(zone).map_err(|_| Defect::Invalid)?;
    Ok(zone.to_owned())
}

pub(super) fn blackouts(value: &Value) -> Result<Vec<Blackout>, Defect> {
    let blackouts = list(value)?.iter().map(blackout).collect::<Result<Vec<_>, _>>()?;
    // Rule 10: 32 at most.
    if blackouts.len() > 32 { Err(Defect::Invalid) } else { Ok(blackouts) }
}

fn blackout(object: &Value) -> Result<Blackout, Defect> {
    let from = object["from"].as_str().ok_or(Defect::Undecodable)?;
    let to = object["to"].as_str().ok_or(Defect::Undecodable)?;
    object["reason"].as_str().ok_or(Defect::Undecodable)?;
    let (from, to) = (local(from)?, local(to)?);
    // An end that is not after the start closes nothing.
    if from >= to {
        return Err(Defect::Invalid);
    }
    Ok(Blackout { from, to, zone: zone(object)? })
}

/// Reads `2026-11-23T00:00`: a local date and time, without a zone.
fn local(text: &str) -> Result<DateTime, Defect> {
    let has_form = text.len() == 16 && text.as_bytes()[10] == b'T';
    text.parse().ok().filter(|_| has_form).ok_or(Defect::Invalid)
}

pub(super) fn rollout(
    object: &Value,
    spec: &Value,
    labels: &BTreeMap<String, String>,
) -> Result<Option<Rollout>, Defect> {
    let rollout = &spec["rollout"];
    if rollout.is_null() {
        return Ok(None);
    }
    let over = rollout["over"].as_str().ok_or(Defect::Undecodable)?;
    let selected_canary = match &rollout["canarySelector"] {
        Value::Null => false,
        selector => selects(selector, labels)?,
    };
    let canary_percent = match &rollout["canaryPercent"] {
        Value::Null => 0,
        percent => i128::from(percent.as_u64().ok_or(Defect::Undecodable)?),
    };
    let needs_evidence = !rollout["requireSucceeded"].is_null();
    if needs_evidence {
        let condition = &rollout["requireSucceeded"];
        condition["hosts"].as_u64().ok_or(Defect::Undecodable)?;
        clock::duration(condition["for"].as_str().ok_or(Defect::Undecodable)?).ok_or(Defect::Invalid)?;
    }
    let has_percent = !rollout["canaryPercent"].is_null();
    let over = clock::duration(over).ok_or(Defect::Invalid)?;
    if !(60 * SECOND..=720 * clock::HOUR).contains(&over)
        || (has_percent && !(1..=50).contains(&canary_percent))
        // Rule 7: without canaries, nobody gives the evidence.
        || (needs_evidence && !has_percent && rollout["canarySelector"].is_null())
    {
        return Err(Defect::Invalid);
    }
    // Rule 8.
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let observed = object["status"]["observedGeneration"].as_i64().unwrap_or(0);
    Ok(Some(Rollout { over, selected_canary, canary_percent, needs_evidence, unobserved: observed < generation }))
}

/// The wave of a version. Rule 9: its halt binds also if the policy has no rollout.
pub(super) fn wave(object: &Value, component: &str, version: &Version) -> Wave {
    let mut out = Wave::default();
    for progress in object["status"]["components"].as_array().into_iter().flatten() {
        if progress["name"].as_str() != Some(component) {
            continue;
        }
        for wave in progress["waves"].as_array().into_iter().flatten() {
            let of_version = wave["version"].as_str().and_then(|text| Version::parse(text).ok());
            if of_version.as_ref() != Some(version) {
                continue;
            }
            out.since = wave["since"].as_str().and_then(clock::instant);
            let halted_at = wave["haltedAt"].as_str().and_then(clock::instant);
            out.halted = wave["state"] == "Halted" && !is_resumed(object, component, version, halted_at);
        }
    }
    out
}

/// Whether the annotation names this halt: `<component>/<version>@<haltedAt>`, several separated by commas.
fn is_resumed(object: &Value, component: &str, version: &Version, halted_at: Option<i128>) -> bool {
    let annotation = object["metadata"]["annotations"]["cli.deckhouse.io/resume"].as_str().unwrap_or_default();
    annotation.split(',').any(|entry| {
        let (of, at) = entry.trim().split_once('@').unwrap_or_default();
        let (name, of) = of.split_once('/').unwrap_or_default();
        name == component
            && Version::parse(of).ok().as_ref() == Some(version)
            && halted_at.is_some()
            && clock::instant(at) == halted_at
    })
}

/// Until when a policy is an emergency. Rule 6: such a policy says nothing but hostSelector, message and expedite.
pub(super) fn emergency(spec: &Value) -> Result<Option<i128>, Defect> {
    let emergency = &spec["emergency"];
    if emergency.is_null() {
        return Ok(None);
    }
    let until = emergency["until"].as_str().ok_or(Defect::Undecodable)?;
    let until = clock::instant(until).ok_or(Defect::Invalid)?;
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    let says_only = |object: &Value, known: &[&str]| {
        let mut fields = object.as_object().into_iter().flatten();
        fields.all(|(name, value)| known.contains(&name.as_str()) || !says(value))
    };
    let rules = list(&spec["rules"])?;
    let only_expedites = says_only(spec, &["hostSelector", "emergency", "rules", "cli"])
        && rules.iter().all(|rule| says_only(rule, &["plugins", "expedite", "message"]))
        && says_only(&spec["cli"], &["expedite", "message"]);
    if only_expedites { Ok(Some(until)) } else { Err(Defect::Invalid) }
}
