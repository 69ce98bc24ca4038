//! Gates that forbid: access, versions, block, pins and a set channel.

use std::collections::BTreeSet;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::Value;

use crate::read::{self, Entry, Settings};

/// The reasons that forbid a version, for any intent.
pub(super) fn forbidding(
    policies: &[&Settings],
    component: &str,
    version: &Version,
    entry: Option<&Entry>,
    case: &Value,
) -> BTreeSet<&'static str> {
    let mut out = BTreeSet::new();
    // Deny of one policy is enough. For d8 no access is read (rule 16).
    if access(policies) == "Deny" {
        out.insert("Denied");
    }
    let mut stable = false;
    for settings in policies {
        if blocks(settings, component, version, case) {
            out.insert("Blocked");
        }
        if let Some(versions) = &settings.versions
            && !permits(versions, settings.channel.as_deref() == Some("Prerelease"), version)
        {
            out.insert("VersionNotPermitted");
        }
        for (of, digest) in &settings.pins {
            // Without a record there is nothing to compare with: the reason is NoRecord.
            if of == version && entry.is_some_and(|entry| !entry.digests.contains(digest)) {
                out.insert("NotPinned");
            }
        }
        stable |= settings.channel.as_deref() == Some("Stable");
    }
    if stable && is_prerelease(component, version) {
        out.insert("ChannelNotPermitted");
    }
    out
}

/// Rule 6: `block` holds for the versions that its entries cover, and for every version with the same layer as a
/// recorded one of them on the host's platform.
pub(super) fn blocks(settings: &Settings, component: &str, version: &Version, case: &Value) -> bool {
    let covered = |version: &Version| settings.block.iter().any(|entry| entry.covers(version));
    if covered(version) {
        return true;
    }
    let Some(own) = read::layer(case, component, version) else { return false };
    let others = read::recorded(case);
    others.iter().any(|other| covered(other) && read::layer(case, component, other).as_ref() == Some(&own))
}

/// The merged access: Deny over Require over Allow. Allow is the default.
pub(super) fn access(policies: &[&Settings]) -> &'static str {
    let mut out = "Allow";
    for settings in policies {
        match settings.access.as_deref() {
            Some("Deny") => out = "Deny",
            Some("Require") if out != "Deny" => out = "Require",
            _ => {}
        }
    }
    out
}

/// Whether a version is a pre-release: for d8 with every suffix, for a plugin with some.
pub(super) fn is_prerelease(component: &str, version: &Version) -> bool {
    if component == "d8" {
        return !version.pre().is_empty();
    }
    let first = version.pre().split('.').next().unwrap_or_default().to_lowercase();
    ["alpha", "beta", "rc", "pre", "preview", "snapshot"].iter().any(|mark| first.starts_with(mark))
}

/// Whether the constraint of a policy permits a version. Rule 11: under channel Prerelease, ranges compare a
/// pre-release as its release, and exact comparators compare the whole version.
fn permits(constraint: &str, under_prerelease: bool, version: &Version) -> bool {
    let holds = |text: &str, version: &Version| Constraint::parse(text).is_ok_and(|c| c.matches(version));
    if !under_prerelease || constraint.is_empty() {
        return holds(constraint, version);
    }
    let bare = version.release();
    for alternative in constraint.split("||") {
        let mut all = true;
        if alternative.contains(" - ") {
            // A hyphen range is a range.
            all = holds(alternative.trim(), &bare);
        } else {
            for comparator in comparators(alternative) {
                let operand = comparator.trim_start_matches(['=', '!', '<', '>', '~', '^']);
                let operator = &comparator[..comparator.len() - operand.len()];
                // `=`, `!=` or none before a full version: exact. `=1.2` means 1.2.x, a range.
                let numbers = operand.split(['-', '+']).next().unwrap_or_default();
                let full = numbers.split('.').count() == 3 && !numbers.contains(['x', 'X', '*']);
                let exact = full && ["", "=", "!="].contains(&operator);
                all &= holds(&comparator, if exact { version } else { &bare });
            }
        }
        if all {
            return true;
        }
    }
    false
}

/// The comparators between commas and blanks. A blank may separate an operator from its version.
fn comparators(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match out.last_mut() {
            Some(last) if last.chars().all(|c| "=!<>~^".contains(c)) => last.push_str(word),
            _ => out.push(word.to_owned()),
        }
    }
    out
}
