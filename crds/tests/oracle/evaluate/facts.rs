//! The facts of a case.

use d8_crds::values::version::Version;
use serde_json::Value;

use crate::{
    clock,
    read::{self, Entry, Policy, Settings},
};

/// The facts of a case, and the policies that speak.
#[allow(clippy::struct_excessive_bools, reason = "each intent is a column of the table")]
pub(super) struct Facts<'a> {
    pub(super) case: &'a Value,
    pub(super) component: String,
    pub(super) version: Version,
    pub(super) active: Option<Version>,
    /// The columns of the table.
    pub(super) a: bool,
    pub(super) u: bool,
    pub(super) x: bool,
    pub(super) r: bool,
    pub(super) now: i128,
    pub(super) confirmed: i128,
    pub(super) host_id: String,
    pub(super) new_root: bool,
    pub(super) policies: Vec<Policy>,
    /// Rule 15: a plugin whose name is not a DNS label cannot have a record.
    pub(super) is_label: bool,
    pub(super) entry: Option<Entry>,
    pub(super) active_entry: Option<Entry>,
}

impl<'a> Facts<'a> {
    pub(super) fn read(case: &'a Value) -> Result<Self, String> {
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("not a text: {value}"));
        let version_of = |value: &Value| Version::parse(&text(value)?).map_err(|e| e.to_string());
        let instant_of =
            |value: &Value| clock::instant(&text(value)?).ok_or_else(|| format!("not an instant: {value}"));
        let component = text(&case["component"])?;
        let version = version_of(&case["version"])?;
        let active = if case["active"].is_null() { None } else { Some(version_of(&case["active"])?) };
        let intent = text(&case["intent"])?;
        if !["A", "U", "X", "R"].contains(&intent.as_str()) {
            return Err(format!("not an intent: {intent}"));
        }
        let person = read::person(case)?;
        let release = &case["release"];
        let is_label = is_dns_label(&component);
        let entry_of = |version: &Version| if is_label { read::entry(release, version) } else { None };
        Ok(Self {
            case,
            a: intent == "A",
            u: intent == "U",
            x: intent == "X",
            r: intent == "R",
            now: instant_of(&case["now"])?,
            confirmed: instant_of(&case["confirmed"])?,
            host_id: text(&case["host"]["id"])?,
            new_root: case["host"]["newRoot"].as_bool().unwrap_or(false),
            policies: read::policies(case, &component, &version, &person),
            is_label,
            entry: entry_of(&version),
            active_entry: active.as_ref().and_then(entry_of),
            component,
            version,
            active,
        })
    }

    /// The settings of the policies that can be used.
    pub(super) fn settings(&self) -> Vec<&Settings> {
        self.policies.iter().filter_map(|policy| policy.settings.as_ref().ok()).collect()
    }

    /// Whether the candidate is the active version.
    pub(super) fn is_active(&self) -> bool {
        self.active.as_ref() == Some(&self.version)
    }

    /// Whether a pin of some policy to the recorded digest accepts a moved tag (rule 6).
    pub(super) fn is_acknowledged(&self) -> bool {
        let Some(entry) = &self.entry else { return false };
        let settings = self.settings();
        let mut pins = settings.iter().flat_map(|settings| &settings.pins);
        pins.any(|(of, digest)| *of == self.version && entry.digests.contains(digest))
    }

    /// Whether an emergency lifts gates of every policy for the candidate (rule 6).
    pub(super) fn is_emergency(&self) -> bool {
        self.settings().iter().any(|settings| {
            settings.emergency.is_some_and(|until| self.now < until) && settings.expedite.contains(&self.version)
        })
    }
}

/// Whether a name is a DNS label: at most 63 lower-case letters, digits and `-`, which is not first or last.
fn is_dns_label(name: &str) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    fits && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-')
}
