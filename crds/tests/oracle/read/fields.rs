//! Reads the fields of rules, of `cli` and of `defaults`.

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::Value;

use super::{
    Settings,
    values::{Defect, Findings, list, one_of, text},
};
use crate::{clock, range::Range};

/// Reads the fields of a rule, of `cli` or of `defaults`.
pub(super) fn fields(found: &mut Findings, object: &Value) -> Settings {
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
