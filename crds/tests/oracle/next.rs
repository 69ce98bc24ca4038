//! Rule 23: the next version that a host takes, and when, if nothing else changes.

use d8_crds::values::version::Version;
use serde_json::{Value, json};

use crate::{
    clock::{self, SECOND},
    evaluate::{Verdict, verdict_of},
};

/// Returns `{version, at}`, or null. A case has `candidates` in place of `version`, and no `intent`.
pub(crate) fn next(case: &Value) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("not a text: {value}"));
    let parse = |text: &str| Version::parse(text).map_err(|error| error.to_string());
    let active = if case["active"].is_null() { None } else { Some(parse(&text(&case["active"])?)?) };
    let mut candidates = Vec::new();
    for candidate in case["candidates"].as_array().ok_or("candidates is not a list")? {
        let version = parse(&text(candidate)?)?;
        if active.as_ref().is_none_or(|active| version > *active) {
            candidates.push((version, text(candidate)?));
        }
    }
    candidates.sort();
    let mut at = clock::instant(&text(&case["now"])?).ok_or("now is not an instant")?;
    loop {
        // The newest one comes last.
        let mut ends = Vec::new();
        for (_, candidate) in candidates.iter().rev() {
            let verdict = at_instant(case, candidate, at)?;
            // Something else than time holds it.
            let Some(of_candidate) = verdict.ends() else { continue };
            if of_candidate.is_empty() {
                return Ok(json!({"version": candidate, "at": clock::show(at)}));
            }
            ends.extend(of_candidate);
        }
        // Each hold lasts until its end, so nothing becomes eligible before the first end.
        let Some(first) = ends.into_iter().min() else { return Ok(Value::Null) };
        // `until` is a whole second.
        at = -(-first).div_euclid(SECOND) * SECOND;
    }
}

/// The verdict on a candidate for the agent at a later instant. View and record are as old then as they are now.
pub(crate) fn at_instant(case: &Value, candidate: &str, at: i128) -> Result<Verdict, String> {
    let mut case = case.clone();
    let instant = |value: &Value| value.as_str().and_then(clock::instant);
    let later = at - instant(&case["now"]).ok_or("now is not an instant")?;
    let move_to = |value: &mut Value| {
        if let Some(before) = value.as_str().and_then(clock::instant) {
            *value = json!(clock::exact(before + later));
        }
    };
    move_to(&mut case["now"]);
    move_to(&mut case["confirmed"]);
    if let Some(synced) = case.pointer_mut("/release/status/lastSyncTime") {
        move_to(synced);
    }
    case["version"] = json!(candidate);
    case["intent"] = json!("A");
    if let Some(fields) = case.as_object_mut() {
        // The agent is no person.
        fields.remove("person");
    }
    verdict_of(&case)
}

#[cfg(test)]
mod tests;
