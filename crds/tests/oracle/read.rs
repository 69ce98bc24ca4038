//! Reads a case from JSON: the settings of each policy for the component, or why the policy cannot be used.

use std::collections::BTreeMap;

use d8_crds::values::version::Version;
use serde_json::Value;

use self::{
    fields::fields,
    values::{Findings, labels, list, one_of, selects, text},
};
use crate::{
    range::Range,
    schema,
    windows::{Blackout, Window},
};

mod fields;
mod people;
mod record;
mod timing;
mod values;

pub(crate) use self::{
    people::{Part, Person, person},
    record::{Entry, entry, layer, recorded},
    timing::{Rollout, Wave},
    values::Defect,
};

/// A policy that speaks for the host and the person.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) settings: Result<Settings, Defect>,
    /// Whether it governs the host. Rules 6 and 21: an emergency does not, nor a policy whose refusals alone count.
    pub(crate) governs: bool,
}

/// The settings of one policy for one component.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) paused: bool,
    pub(crate) access: Option<String>,
    pub(crate) versions: Option<String>,
    pub(crate) block: Vec<Range>,
    pub(crate) expedite: Vec<Version>,
    pub(crate) pins: Vec<(Version, String)>,
    pub(crate) channel: Option<String>,
    pub(crate) updates: Option<String>,
    pub(crate) major_updates: Option<String>,
    pub(crate) min_age: Option<i128>,
    pub(crate) windows: Option<Vec<Window>>,
    pub(crate) blackouts: Vec<Blackout>,
    /// Whether windows and blackouts bind people too.
    pub(crate) windows_for_everyone: bool,
    pub(crate) rollout: Option<Rollout>,
    pub(crate) wave: Wave,
    pub(crate) moved_tags: Option<String>,
    /// Until when `expedite` lifts the gates of every policy.
    pub(crate) emergency: Option<i128>,
}

/// The policies that speak for the host and the person, with their settings for `component`.
pub(crate) fn policies(case: &Value, component: &str, version: &Version, person: &Person) -> Vec<Policy> {
    let labels = labels(&case["host"]["labels"]);
    let mut out = Vec::new();
    for object in case["policies"].as_array().into_iter().flatten() {
        let spec = &object["spec"];
        // Rule 14: a policy with an invalid selector selects every host.
        if !selects(&spec["hostSelector"], &labels).unwrap_or(true) {
            continue;
        }
        let settings = settings(object, component, version, &labels);
        match people::part(spec, person) {
            None => {}
            Some(Part::All) => {
                let is_emergency = settings.as_ref().is_ok_and(|settings| settings.emergency.is_some());
                out.push(Policy { settings, governs: !is_emergency });
            }
            // Rule 21. What an invalid policy would hold is no refusal; an undecodable one may contain a Deny.
            Some(Part::Refusals) => {
                let settings = match settings {
                    Ok(Settings { access, block, .. }) => {
                        let access = access.filter(|access| access == "Deny");
                        Ok(Settings { access, block, ..Settings::default() })
                    }
                    Err(Defect::Invalid) => continue,
                    Err(Defect::Undecodable) => Err(Defect::Undecodable),
                };
                out.push(Policy { settings, governs: false });
            }
        }
    }
    out
}

fn settings(
    object: &Value,
    component: &str,
    version: &Version,
    labels: &BTreeMap<String, String>,
) -> Result<Settings, Defect> {
    let spec = object["spec"].as_object().ok_or(Defect::Undecodable)?;
    let spec = &Value::Object(spec.clone());
    let mut found = Findings(None);
    found.take(selects(&spec["hostSelector"], labels));
    found.take(people::subjects(&spec["subjects"]));
    // Rule 14.
    found.take(if schema::has_unknown_field(spec) { Err(Defect::Undecodable) } else { Ok(()) });

    // The whole policy is read, for its defects.
    let mut settings = rules(&mut found, spec, component);
    match &spec["paused"] {
        Value::Null => {}
        Value::Bool(paused) => settings.paused = *paused,
        _ => found.take(Err(Defect::Undecodable)),
    }
    found.take(one_of(&spec["missingDependencies"], &["Install", "Refuse"]));
    settings.moved_tags = found.take(one_of(&spec["integrity"]["movedTags"], &["Refuse", "Soak"]));
    found.take(one_of(&spec["integrity"]["signature"], &["Ignore"]));

    settings.windows = found.take(timing::windows(&spec["windows"]));
    settings.blackouts = found.take(timing::blackouts(&spec["blackouts"]));
    let windows_for = found.take(one_of(&spec["windowsFor"], &["Agent", "Everyone"]));
    settings.windows_for_everyone = windows_for.as_deref() == Some("Everyone");
    settings.rollout = found.take(timing::rollout(object, spec, labels));
    settings.wave = timing::wave(object, component, version);
    settings.emergency = found.take(timing::emergency(spec));
    // Rule 14: condition Accepted=False makes a policy invalid, unless it is about an earlier generation.
    for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
        let outdated = condition["observedGeneration"]
            .as_i64()
            .is_some_and(|of| object["metadata"]["generation"].as_i64() != Some(of));
        found.require(!(condition["type"] == "Accepted" && condition["status"] == "False" && !outdated));
    }
    match found.0 {
        None => Ok(settings),
        Some(defect) => Err(defect),
    }
}

/// Reads `rules`, `cli` and `defaults`: the fields of the first rule that names the component, else the defaults'.
fn rules(found: &mut Findings, spec: &Value, component: &str) -> Settings {
    let defaults = fields(found, &spec["defaults"]);
    // Require takes full names, so it cannot be a default.
    found.require(defaults.access.as_deref() != Some("Require"));
    let mut first_rule = None;
    for rule in found.take(list(&spec["rules"]).map(<[Value]>::to_vec)) {
        let fields_of_rule = fields(found, &rule);
        let plugins = found.take(list(&rule["plugins"]).map(<[Value]>::to_vec));
        found.require(!plugins.is_empty());
        let mut names_it = false;
        for plugin in &plugins {
            let Some(plugin) = found.take(text(plugin).map(|name| name.map(str::to_owned))) else { continue };
            // Rule 1: Require takes full names.
            found.require(!(fields_of_rule.access.as_deref() == Some("Require") && plugin.ends_with('*')));
            names_it |= match plugin.strip_suffix('*') {
                Some(start) => component.starts_with(start),
                None => component == plugin,
            };
        }
        // Deny with fields that have no effect is invalid.
        let has_more = fields_of_rule.versions.is_some()
            || fields_of_rule.channel.is_some()
            || fields_of_rule.updates.is_some()
            || fields_of_rule.major_updates.is_some()
            || fields_of_rule.min_age.is_some()
            || !fields_of_rule.block.is_empty()
            || !fields_of_rule.expedite.is_empty()
            || !fields_of_rule.pins.is_empty();
        found.require(!(fields_of_rule.access.as_deref() == Some("Deny") && has_more));
        // Only the first rule that matches applies.
        if names_it && first_rule.is_none() {
            first_rule = Some(fields_of_rule);
        }
    }
    let cli = fields(found, &spec["cli"]);

    let mut settings = if component == "d8" {
        // Rule 16: spec.cli is the rule for d8, without access.
        Settings { access: None, ..cli }
    } else {
        first_rule.unwrap_or_default()
    };
    // Fields that are not set come from the defaults, for d8 except access.
    if component != "d8" {
        settings.access = settings.access.or(defaults.access);
    }
    settings.channel = settings.channel.or(defaults.channel);
    settings.updates = settings.updates.or(defaults.updates);
    settings.major_updates = settings.major_updates.or(defaults.major_updates);
    settings.min_age = settings.min_age.or(defaults.min_age);
    settings
}
