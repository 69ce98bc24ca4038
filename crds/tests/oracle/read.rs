//! Reads a case from JSON: the settings of each policy for the component, or why the policy cannot be used.

use std::collections::BTreeMap;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::Value;

use crate::{
    clock::{self, SECOND},
    range::Range,
    schema,
    windows::Window,
};

/// Why a policy cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A client cannot decode it: a field is unknown, has another type, or a value that the schema does not have.
    Undecodable,
    /// It can be decoded, and a value violates another rule of the schema.
    Invalid,
}

/// A policy that selects the host.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) settings: Result<Settings, Defect>,
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
    pub(crate) rollout: Option<Rollout>,
    pub(crate) moved_tags: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) over: i128,
    /// Whether the host is a canary.
    pub(crate) canary: bool,
    /// Whether the operator has not processed the last edit.
    pub(crate) unobserved: bool,
    /// When the policy began to permit the version.
    pub(crate) since: Option<i128>,
    pub(crate) halted: bool,
}

/// The entry of one version in the record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) first_seen: Option<i128>,
    pub(crate) fit: String,
    pub(crate) moved: bool,
    /// Digests of the index or manifest, and of the manifest and layer of each artifact.
    pub(crate) digests: Vec<String>,
}

/// The policies that select the host, with their settings for `component`.
pub(crate) fn policies(case: &Value, component: &str, version: &Version) -> Vec<Policy> {
    let labels = labels(&case["host"]["labels"]);
    let mut out = Vec::new();
    for object in case["policies"].as_array().into_iter().flatten() {
        // Rule 14: a policy with an invalid selector selects every host.
        if selects(&object["spec"]["hostSelector"], &labels).unwrap_or(true) {
            out.push(Policy { settings: settings(object, component, version, &labels) });
        }
    }
    out
}

/// Finds the entry of a version in the record, by the value of the version.
pub(crate) fn entry(release: &Value, version: &Version) -> Option<Entry> {
    for object in list(&release["status"]["versions"]).ok()? {
        if Version::parse(object["version"].as_str()?).ok().as_ref() != Some(version) {
            continue;
        }
        let mut digests = vec![object["digest"].as_str()?.to_owned()];
        for artifact in list(&object["artifacts"]).ok()? {
            digests.push(artifact["manifest"].as_str()?.to_owned());
            digests.push(artifact["layer"].as_str()?.to_owned());
        }
        return Some(Entry {
            first_seen: object["firstSeen"].as_str().and_then(clock::instant),
            fit: object["fit"].as_str()?.to_owned(),
            moved: !object["moved"].is_null(),
            digests,
        });
    }
    None
}

/// The versions in the record, by value.
pub(crate) fn recorded(case: &Value) -> Vec<Version> {
    let objects = case["release"]["status"]["versions"].as_array().into_iter().flatten();
    objects.filter_map(|object| Version::parse_full(object["version"].as_str()?).ok()).collect()
}

/// The layers of a version by platform: for the host's platform, or for all platforms if the case names none. Rule 6:
/// none for a moved tag.
pub(crate) fn layers(case: &Value, component: &str, version: &Version) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    // A plugin whose name is not a DNS label cannot have a record.
    if component.contains('_') {
        return out;
    }
    let host = &case["host"];
    let (os, arch) = (&host["labels"]["kubernetes.io/os"], &host["labels"]["kubernetes.io/arch"]);
    let platform = match (host["platform"].as_str(), os.as_str(), arch.as_str()) {
        (Some(platform), ..) => Some(platform.to_owned()),
        (None, Some(os), Some(arch)) => Some(format!("{os}-{arch}")),
        _ => None,
    };
    for object in case["release"]["status"]["versions"].as_array().into_iter().flatten() {
        let of = Version::parse_full(object["version"].as_str().unwrap_or_default());
        if of.ok().as_ref() != Some(version) || !object["moved"].is_null() {
            continue;
        }
        let artifacts = || object["artifacts"].as_array().into_iter().flatten();
        let has_own = artifacts().any(|artifact| artifact["platform"].as_str() == platform.as_deref());
        for artifact in artifacts() {
            let Some(layer) = artifact["layer"].as_str().filter(|layer| !layer.is_empty()) else { continue };
            let of = artifact["platform"].as_str();
            match &platform {
                None => drop(out.insert(of.unwrap_or_default().to_owned(), layer.to_owned())),
                // The platform's own artifact, else the one that is for every platform.
                Some(platform) if of == Some(platform) || (of.is_none() && !has_own) => {
                    out.insert(String::new(), layer.to_owned());
                }
                Some(_) => {}
            }
        }
        break;
    }
    out
}

fn labels(object: &Value) -> BTreeMap<String, String> {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Evaluates a Kubernetes label selector: all of its parts must match.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> Result<bool, Defect> {
    if !selector.is_object() {
        return Err(Defect::Undecodable);
    }
    let mut all = true;
    if !selector["matchLabels"].is_null() {
        for (key, value) in selector["matchLabels"].as_object().ok_or(Defect::Undecodable)? {
            let value = value.as_str().ok_or(Defect::Undecodable)?;
            all &= labels.get(key).is_some_and(|has| has == value);
        }
    }
    for expression in list(&selector["matchExpressions"])? {
        let key = expression["key"].as_str().ok_or(Defect::Undecodable)?;
        let operator = expression["operator"].as_str().ok_or(Defect::Undecodable)?;
        let mut values = Vec::new();
        for value in list(&expression["values"])? {
            values.push(value.as_str().ok_or(Defect::Undecodable)?);
        }
        let has = labels.get(key).map(String::as_str);
        // In and NotIn need values, the other operators take none.
        let wants_values = operator == "In" || operator == "NotIn";
        if wants_values == values.is_empty() {
            return Err(Defect::Invalid);
        }
        all &= match operator {
            "In" => has.is_some_and(|has| values.contains(&has)),
            "NotIn" => !has.is_some_and(|has| values.contains(&has)),
            "Exists" => has.is_some(),
            "DoesNotExist" => has.is_none(),
            _ => return Err(Defect::Invalid),
        };
    }
    Ok(all)
}

/// Reads a list. A missing list is empty.
fn list(value: &Value) -> Result<&[Value], Defect> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(Defect::Undecodable),
    }
}

/// Reads a text. `None`: it is missing.
fn text(value: &Value) -> Result<Option<&str>, Defect> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Defect::Undecodable),
    }
}

/// Reads a value of an enumeration.
fn one_of(value: &Value, known: &[&str]) -> Result<Option<String>, Defect> {
    match text(value)? {
        None => Ok(None),
        Some(value) if known.contains(&value) => Ok(Some(value.to_owned())),
        // A value of a later schema.
        Some(_) => Err(Defect::Undecodable),
    }
}

/// The worst defect so far: a policy that cannot be decoded is not called invalid.
struct Findings(Option<Defect>);

impl Findings {
    /// Returns the value, or its default and remembers the defect.
    fn take<T: Default>(&mut self, found: Result<T, Defect>) -> T {
        match found {
            Ok(value) => value,
            Err(defect) => {
                if self.0 != Some(Defect::Undecodable) {
                    self.0 = Some(defect);
                }
                T::default()
            }
        }
    }

    fn require(&mut self, holds: bool) {
        self.take(if holds { Ok(()) } else { Err(Defect::Invalid) });
    }
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
    // Rule 14.
    found.take(if schema::has_unknown_field(spec) { Err(Defect::Undecodable) } else { Ok(()) });

    // The whole policy is read, for its defects.
    let defaults = fields(&mut found, &spec["defaults"]);
    // Require takes full names, so it cannot be a default.
    found.require(defaults.access.as_deref() != Some("Require"));
    let mut first_rule = None;
    for rule in found.take(list(&spec["rules"]).map(<[Value]>::to_vec)) {
        let fields_of_rule = fields(&mut found, &rule);
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
    let cli = fields(&mut found, &spec["cli"]);

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

    match &spec["paused"] {
        Value::Null => {}
        Value::Bool(paused) => settings.paused = *paused,
        _ => found.take(Err(Defect::Undecodable)),
    }
    found.take(one_of(&spec["missingDependencies"], &["Install", "Refuse"]));
    settings.moved_tags = found.take(one_of(&spec["integrity"]["movedTags"], &["Refuse", "Soak"]));
    found.take(one_of(&spec["integrity"]["signature"], &["Ignore"]));

    if !spec["windows"].is_null() {
        let mut windows = Vec::new();
        for window in found.take(list(&spec["windows"]).map(<[Value]>::to_vec)) {
            if let Some(window) = found.take(window_of(&window).map(Some)) {
                windows.push(window);
            }
        }
        // Rule 10.
        found.require(!windows.is_empty());
        settings.windows = Some(windows);
    }
    if !spec["rollout"].is_null() {
        settings.rollout = found.take(rollout(object, spec, component, version, labels).map(Some));
    }
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

/// Reads the fields of a rule, of `cli` or of `defaults`.
fn fields(found: &mut Findings, object: &Value) -> Settings {
    let mut settings = Settings {
        access: found.take(one_of(&object["access"], &["Allow", "Deny", "Require"])),
        channel: found.take(one_of(&object["channel"], &["Stable", "Prerelease"])),
        updates: found.take(one_of(&object["updates"], &["Auto", "Manual", "Frozen"])),
        major_updates: found.take(one_of(&object["majorUpdates"], &["Stay", "Cross"])),
        versions: found.take(text(&object["versions"]).map(|text| text.map(str::to_owned))),
        ..Settings::default()
    };
    if let Some(versions) = &settings.versions {
        found.require(Constraint::parse(versions).is_ok());
    }
    if let Some(age) = found.take(text(&object["minAge"]).map(|text| text.map(str::to_owned))) {
        settings.min_age = clock::duration(&age);
        found.require(settings.min_age.is_some());
    }
    for entry in found.take(list(&object["block"]).map(<[Value]>::to_vec)) {
        let range =
            entry.as_str().ok_or(Defect::Undecodable).and_then(|text| Range::parse(text).ok_or(Defect::Invalid));
        settings.block.extend(found.take(range.map(Some)));
    }
    for version in found.take(list(&object["expedite"]).map(<[Value]>::to_vec)) {
        settings.expedite.extend(found.take(full_version(&version).map(Some)));
    }
    for pin in found.take(list(&object["pins"]).map(<[Value]>::to_vec)) {
        let version = found.take(full_version(&pin["version"]).map(Some));
        let digest = found.take(pin["digest"].as_str().ok_or(Defect::Undecodable).map(str::to_owned));
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        found.require(hex.len() == 64 && hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)));
        settings.pins.extend(version.map(|version| (version, digest)));
    }
    settings
}

/// Reads a version with three numbers (rule 6).
fn full_version(value: &Value) -> Result<Version, Defect> {
    let text = value.as_str().ok_or(Defect::Undecodable)?;
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    if numbers.split('.').count() != 3 {
        return Err(Defect::Invalid);
    }
    Version::parse(text).map_err(|_| Defect::Invalid)
}

fn window_of(object: &Value) -> Result<Window, Defect> {
    let mut days = Vec::new();
    for day in list(&object["days"])? {
        let known = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        days.push(one_of(day, &known)?.ok_or(Defect::Undecodable)?);
    }
    let start = object["start"].as_str().ok_or(Defect::Undecodable)?;
    let duration = object["duration"].as_str().ok_or(Defect::Undecodable)?;
    let zone = text(&object["timeZone"])?.unwrap_or("UTC").to_owned();
    let (hour, minute) = start.split_once(':').ok_or(Defect::Invalid)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(Defect::Invalid);
    }
    let hour: i8 = hour.parse().map_err(|_| Defect::Invalid)?;
    let minute: i8 = minute.parse().map_err(|_| Defect::Invalid)?;
    let duration = clock::duration(duration).ok_or(Defect::Invalid)?;
    let zone_is_known = jiff::tz::TimeZone::get(&zone).is_ok();
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || duration <= 0 || !zone_is_known {
        return Err(Defect::Invalid);
    }
    let duration = i64::try_from(duration / SECOND).map_err(|_| Defect::Invalid)?;
    Ok(Window { days, hour, minute, duration, zone })
}

fn rollout(
    object: &Value,
    spec: &Value,
    component: &str,
    version: &Version,
    labels: &BTreeMap<String, String>,
) -> Result<Rollout, Defect> {
    let rollout = &spec["rollout"];
    let over = rollout["over"].as_str().ok_or(Defect::Undecodable)?;
    let canary = match &rollout["canarySelector"] {
        Value::Null => false,
        selector => selects(selector, labels)?,
    };
    let over = clock::duration(over).ok_or(Defect::Invalid)?;
    if !(60 * SECOND..=720 * clock::HOUR).contains(&over) {
        return Err(Defect::Invalid);
    }
    // Rule 8.
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let observed = object["status"]["observedGeneration"].as_i64().unwrap_or(0);
    let mut out = Rollout { over, canary, unobserved: observed < generation, since: None, halted: false };
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
            // Rule 9: the annotation resumes the halt that it names.
            let halted_at = wave["haltedAt"].as_str().and_then(clock::instant);
            let resume = object["metadata"]["annotations"]["cli.deckhouse.io/resume"].as_str().unwrap_or_default();
            let (resumed, resumed_at) = resume.split_once('@').unwrap_or_default();
            let is_resumed = Version::parse(resumed).ok().as_ref() == Some(version)
                && halted_at.is_some()
                && clock::instant(resumed_at) == halted_at;
            out.halted = wave["state"] == "Halted" && !is_resumed;
        }
    }
    Ok(out)
}
