//! Reads a case from JSON: what a policy says about the component, and whether it can be read.

use std::collections::BTreeMap;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::Value;

use crate::{
    clock::{self, SECOND},
    windows::Window,
};

/// Why a policy says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    /// Its shape or one of its words is not known: a client cannot decode it.
    Undecodable,
    /// It can be decoded, and a value breaks a rule of the record.
    Invalid,
}

/// A policy that selects the host.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) says: Result<Says, Bad>,
}

/// What one policy says about one component.
#[derive(Debug, Default)]
pub(crate) struct Says {
    pub(crate) paused: bool,
    pub(crate) access: Option<String>,
    pub(crate) versions: Option<String>,
    pub(crate) block: Vec<Version>,
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
    /// The host is one of those that go first.
    pub(crate) canary: bool,
    /// The status is older than the spec.
    pub(crate) unobserved: bool,
    /// Of the version judged.
    pub(crate) since: Option<i128>,
    pub(crate) halted: bool,
}

/// What the record has on one version.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) first_seen: Option<i128>,
    pub(crate) fit: String,
    pub(crate) moved: bool,
    /// Of the index or manifest, and of every artifact's manifest and layer.
    pub(crate) digests: Vec<String>,
}

/// The policies that select the host, each with what it says about `component`.
pub(crate) fn policies(case: &Value, component: &str, version: &Version) -> Vec<Policy> {
    let labels = labels(&case["host"]["labels"]);
    let mut out = Vec::new();
    for object in case["policies"].as_array().into_iter().flatten() {
        // "All policies whose `hostSelector` matches the host"; rule 14: "for the hosts it selects (all,
        // if the selector is bad)".
        let selects = selects(&object["spec"]["hostSelector"], &labels).unwrap_or(true);
        if selects {
            out.push(Policy { says: says(object, component, version, &labels) });
        }
    }
    out
}

/// The record's entry of a version, found by value.
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

fn labels(object: &Value) -> BTreeMap<String, String> {
    let pairs = object.as_object().into_iter().flatten();
    pairs.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// A Kubernetes label selector: all of its parts must hold.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> Result<bool, Bad> {
    if !selector.is_object() {
        return Err(Bad::Undecodable);
    }
    let mut all = true;
    if !selector["matchLabels"].is_null() {
        for (key, value) in selector["matchLabels"].as_object().ok_or(Bad::Undecodable)? {
            let value = value.as_str().ok_or(Bad::Undecodable)?;
            all &= labels.get(key).is_some_and(|has| has == value);
        }
    }
    for expression in list(&selector["matchExpressions"])? {
        let key = expression["key"].as_str().ok_or(Bad::Undecodable)?;
        let operator = expression["operator"].as_str().ok_or(Bad::Undecodable)?;
        let mut values = Vec::new();
        for value in list(&expression["values"])? {
            values.push(value.as_str().ok_or(Bad::Undecodable)?);
        }
        let has = labels.get(key).map(String::as_str);
        // "selectors whose operators fit their values"
        let wants_values = operator == "In" || operator == "NotIn";
        if wants_values == values.is_empty() {
            return Err(Bad::Invalid);
        }
        all &= match operator {
            "In" => has.is_some_and(|has| values.contains(&has)),
            "NotIn" => !has.is_some_and(|has| values.contains(&has)),
            "Exists" => has.is_some(),
            "DoesNotExist" => has.is_none(),
            _ => return Err(Bad::Invalid),
        };
    }
    Ok(all)
}

/// A list; absent is empty.
fn list(value: &Value) -> Result<&[Value], Bad> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        _ => Err(Bad::Undecodable),
    }
}

/// A text; absent is none.
fn text(value: &Value) -> Result<Option<&str>, Bad> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Bad::Undecodable),
    }
}

/// A word out of a list.
fn word(value: &Value, known: &[&str]) -> Result<Option<String>, Bad> {
    match text(value)? {
        None => Ok(None),
        Some(word) if known.contains(&word) => Ok(Some(word.to_owned())),
        // A word of a later schema.
        Some(_) => Err(Bad::Undecodable),
    }
}

/// Keeps the worse of what was found: a policy that can't be decoded can't be called invalid.
struct Findings(Option<Bad>);

impl Findings {
    fn take<T: Default>(&mut self, found: Result<T, Bad>) -> T {
        match found {
            Ok(value) => value,
            Err(bad) => {
                if self.0 != Some(Bad::Undecodable) {
                    self.0 = Some(bad);
                }
                T::default()
            }
        }
    }

    fn require(&mut self, holds: bool) {
        self.take(if holds { Ok(()) } else { Err(Bad::Invalid) });
    }
}

fn says(object: &Value, component: &str, version: &Version, labels: &BTreeMap<String, String>) -> Result<Says, Bad> {
    let spec = object["spec"].as_object().ok_or(Bad::Undecodable)?;
    let spec = &Value::Object(spec.clone());
    let mut found = Findings(None);
    found.take(selects(&spec["hostSelector"], labels));

    // The whole policy is read, whatever it says about this component.
    let defaults = fields(&mut found, &spec["defaults"]);
    // From the record: names that Require takes are literal, and defaults have none.
    found.require(defaults.access.as_deref() != Some("Require"));
    let mut first_rule = None;
    for rule in found.take(list(&spec["rules"]).map(<[Value]>::to_vec)) {
        let said = fields(&mut found, &rule);
        let plugins = found.take(list(&rule["plugins"]).map(<[Value]>::to_vec));
        found.require(!plugins.is_empty());
        let mut names_it = false;
        for plugin in &plugins {
            let Some(plugin) = found.take(text(plugin).map(|name| name.map(str::to_owned))) else { continue };
            // "Require takes literal names"
            found.require(!(said.access.as_deref() == Some("Require") && plugin.ends_with('*')));
            // "names, or a trailing *"
            names_it |= match plugin.strip_suffix('*') {
                Some(start) => component.starts_with(start),
                None => component == plugin,
            };
        }
        // "Deny without fields that can't apply"
        let says_more = said.versions.is_some()
            || said.channel.is_some()
            || said.updates.is_some()
            || said.major_updates.is_some()
            || said.min_age.is_some()
            || !said.block.is_empty()
            || !said.expedite.is_empty()
            || !said.pins.is_empty();
        found.require(!(said.access.as_deref() == Some("Deny") && says_more));
        // "the first rule that names the component answers alone"
        if names_it && first_rule.is_none() {
            first_rule = Some(said);
        }
    }
    let cli = fields(&mut found, &spec["cli"]);

    let mut says = if component == "d8" {
        // "`spec.cli` is the rule for d8 itself", rule 16: "no access gate"
        Says { access: None, ..cli }
    } else {
        first_rule.unwrap_or_default()
    };
    // "fields it leaves out come from `spec.defaults`", for d8 "access excepted"
    if component != "d8" {
        says.access = says.access.or(defaults.access);
    }
    says.channel = says.channel.or(defaults.channel);
    says.updates = says.updates.or(defaults.updates);
    says.major_updates = says.major_updates.or(defaults.major_updates);
    says.min_age = says.min_age.or(defaults.min_age);

    match &spec["paused"] {
        Value::Null => {}
        Value::Bool(paused) => says.paused = *paused,
        _ => found.take(Err(Bad::Undecodable)),
    }
    found.take(word(&spec["missingDependencies"], &["Install", "Refuse"]));
    says.moved_tags = found.take(word(&spec["integrity"]["movedTags"], &["Refuse", "Soak"]));
    found.take(word(&spec["integrity"]["signature"], &["Ignore"]));

    if !spec["windows"].is_null() {
        let mut windows = Vec::new();
        for window in found.take(list(&spec["windows"]).map(<[Value]>::to_vec)) {
            if let Some(window) = found.take(window_of(&window).map(Some)) {
                windows.push(window);
            }
        }
        // Rule 10: "an empty list is invalid"
        found.require(!windows.is_empty());
        says.windows = Some(windows);
    }
    if !spec["rollout"].is_null() {
        says.rollout = found.take(rollout(object, spec, component, version, labels).map(Some));
    }
    // Rule 14: "A policy that is invalid (`Accepted=False`, naming the field)": whoever found it, unless that
    // was about an earlier spec.
    for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
        let outdated = condition["observedGeneration"]
            .as_i64()
            .is_some_and(|of| object["metadata"]["generation"].as_i64() != Some(of));
        found.require(!(condition["type"] == "Accepted" && condition["status"] == "False" && !outdated));
    }
    match found.0 {
        None => Ok(says),
        Some(bad) => Err(bad),
    }
}

/// What rules, `cli` and `defaults` have in common.
fn fields(found: &mut Findings, object: &Value) -> Says {
    let mut says = Says {
        access: found.take(word(&object["access"], &["Allow", "Deny", "Require"])),
        channel: found.take(word(&object["channel"], &["Stable", "Prerelease"])),
        updates: found.take(word(&object["updates"], &["Auto", "Manual", "Frozen"])),
        major_updates: found.take(word(&object["majorUpdates"], &["Stay", "Cross"])),
        versions: found.take(text(&object["versions"]).map(|text| text.map(str::to_owned))),
        ..Says::default()
    };
    if let Some(versions) = &says.versions {
        found.require(Constraint::parse(versions).is_ok());
    }
    if let Some(age) = found.take(text(&object["minAge"]).map(|text| text.map(str::to_owned))) {
        says.min_age = clock::duration(&age);
        found.require(says.min_age.is_some());
    }
    for version in found.take(list(&object["block"]).map(<[Value]>::to_vec)) {
        says.block.extend(found.take(full_version(&version).map(Some)));
    }
    for version in found.take(list(&object["expedite"]).map(<[Value]>::to_vec)) {
        says.expedite.extend(found.take(full_version(&version).map(Some)));
    }
    for pin in found.take(list(&object["pins"]).map(<[Value]>::to_vec)) {
        let version = found.take(full_version(&pin["version"]).map(Some));
        let digest = found.take(pin["digest"].as_str().ok_or(Bad::Undecodable).map(str::to_owned));
        let hex = digest.strip_prefix("sha256:").unwrap_or_default();
        found.require(hex.len() == 64 && hex.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)));
        says.pins.extend(version.map(|version| (version, digest)));
    }
    says
}

/// Rule 6: "`block`, `expedite`, `pins` take full versions".
fn full_version(value: &Value) -> Result<Version, Bad> {
    let text = value.as_str().ok_or(Bad::Undecodable)?;
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    if numbers.split('.').count() != 3 {
        return Err(Bad::Invalid);
    }
    Version::parse(text).map_err(|_| Bad::Invalid)
}

fn window_of(object: &Value) -> Result<Window, Bad> {
    let mut days = Vec::new();
    for day in list(&object["days"])? {
        let known = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
        days.push(word(day, &known)?.ok_or(Bad::Undecodable)?);
    }
    let start = object["start"].as_str().ok_or(Bad::Undecodable)?;
    let duration = object["duration"].as_str().ok_or(Bad::Undecodable)?;
    let zone = text(&object["timeZone"])?.unwrap_or("UTC").to_owned();
    let (hour, minute) = start.split_once(':').ok_or(Bad::Invalid)?;
    if hour.len() != 2 || minute.len() != 2 {
        return Err(Bad::Invalid);
    }
    let hour: i8 = hour.parse().map_err(|_| Bad::Invalid)?;
    let minute: i8 = minute.parse().map_err(|_| Bad::Invalid)?;
    let duration = clock::duration(duration).ok_or(Bad::Invalid)?;
    let zone_is_known = jiff::tz::TimeZone::get(&zone).is_ok();
    if !(0..24).contains(&hour) || !(0..60).contains(&minute) || duration <= 0 || !zone_is_known {
        return Err(Bad::Invalid);
    }
    let duration = i64::try_from(duration / SECOND).map_err(|_| Bad::Invalid)?;
    Ok(Window { days, hour, minute, duration, zone })
}

fn rollout(
    object: &Value,
    spec: &Value,
    component: &str,
    version: &Version,
    labels: &BTreeMap<String, String>,
) -> Result<Rollout, Bad> {
    let rollout = &spec["rollout"];
    let over = rollout["over"].as_str().ok_or(Bad::Undecodable)?;
    let canary = match &rollout["canarySelector"] {
        Value::Null => false,
        selector => selects(selector, labels)?,
    };
    // Rule 7: "`over` is 1m to 720h"
    let over = clock::duration(over).ok_or(Bad::Invalid)?;
    if !(60 * SECOND..=720 * clock::HOUR).contains(&over) {
        return Err(Bad::Invalid);
    }
    // Rule 8: "whose observedGeneration lags its generation"
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
            // Rule 9: "annotation `cli.deckhouse.io/resume: <version>@<haltedAt>` resumes, that halt only"
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
