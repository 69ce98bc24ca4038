//! What is worth an event: the difference between two statuses. No IO.

use std::collections::BTreeMap;

use d8_crds::records::release::{CliReleaseStatus, ReleaseVersion};

use super::conditions::reason;
use crate::events::Note;

/// What happened between two statuses of a record. Of versions only when there were some before: the
/// first sync is one piece of news, not twenty.
pub(crate) fn notes(before: &CliReleaseStatus, after: &CliReleaseStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    if !before.versions.is_empty() {
        let known: BTreeMap<&str, &ReleaseVersion> = before.versions.iter().map(|v| (v.version.as_str(), v)).collect();
        for version in &after.versions {
            notes.extend(of_version(known.get(version.version.as_str()).copied(), version));
        }
        if before.latest_fitting != after.latest_fitting {
            let name = |v: &Option<String>| v.clone().unwrap_or_else(|| "none".to_owned());
            let (old, new) = (name(&before.latest_fitting), name(&after.latest_fitting));
            notes.push(Note::normal(
                "FittingChanged",
                &new,
                format!("the newest version that fits is {new}, it was {old}"),
            ));
        }
    }
    notes.extend(of_condition(before, after, "Synced"));
    notes.extend(of_condition(before, after, "Ready"));
    notes
}

fn of_version(before: Option<&ReleaseVersion>, after: &ReleaseVersion) -> Option<Note> {
    let name = &after.version;
    let Some(before) = before else {
        return Some(Note::normal("Published", name, format!("version {name} is published ({})", after.digest)));
    };
    if before.moved != after.moved
        && let Some(moved) = &after.moved
    {
        let text = format!("tag {name} was moved from {} to {}", moved.from, after.digest);
        return Some(Note::warning("TagMoved", name, text));
    }
    match (&before.withdrawn, &after.withdrawn) {
        (None, Some(_)) => Some(Note::warning("Withdrawn", name, format!("tag {name} is gone from the registry"))),
        (Some(_), None) => Some(Note::normal("Published", name, format!("tag {name} is in the registry again"))),
        _ => None,
    }
}

/// A condition that turned, for the worse or for the better. The first time it is known is no turn.
fn of_condition(before: &CliReleaseStatus, after: &CliReleaseStatus, kind: &str) -> Option<Note> {
    let now = after.conditions.iter().find(|c| c.type_ == kind)?;
    let old = reason(before, kind);
    if old == Some((now.status.as_str(), now.reason.as_str())) {
        return None;
    }
    match (now.status.as_str(), old) {
        ("False", _) if now.reason != "Suspended" => Some(Note::warning(&now.reason, kind, now.message.clone())),
        ("True", Some(("False", _))) => Some(Note::normal(&now.reason, kind, now.message.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::records::{
        release::{Fit, MovedTag},
        requirements::Requirements,
    };
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{
        super::conditions::{Conditions, Truth},
        *,
    };

    fn version(name: &str) -> ReleaseVersion {
        ReleaseVersion {
            version: name.into(),
            digest: "sha256:1".into(),
            first_seen: None,
            fit: Fit::Fits,
            reasons: vec![],
            artifacts: vec![],
            requirements: Requirements::default(),
            description: None,
            env: vec![],
            flags: vec![],
            moved: None,
            withdrawn: None,
        }
    }

    fn status(versions: &[ReleaseVersion], fitting: Option<&str>, synced: (Truth, &str)) -> CliReleaseStatus {
        let mut conditions = Conditions::new(&[], 1, Timestamp::UNIX_EPOCH);
        conditions.set("Synced", synced.0, synced.1, "message");
        CliReleaseStatus {
            versions: versions.to_vec(),
            latest_fitting: fitting.map(str::to_owned),
            conditions: conditions.finish(),
            ..CliReleaseStatus::default()
        }
    }

    #[test]
    fn what_is_news() {
        let good = (Truth::True, "Synced");
        let one = [version("v1.0.0")];
        let two = [version("v1.1.0"), version("v1.0.0")];
        let time = || Time(Timestamp::UNIX_EPOCH);
        let moved =
            [ReleaseVersion { moved: Some(MovedTag { from: "sha256:0".into(), at: time() }), ..version("v1.0.0") }];
        let gone = [ReleaseVersion { withdrawn: Some(time()), ..version("v1.0.0") }];
        let plain = status(&one, Some("v1.0.0"), good);
        for (what, before, after, news) in [
            ("the first sync", CliReleaseStatus::default(), status(&two, Some("v1.1.0"), good), vec![]),
            ("nothing", plain.clone(), plain.clone(), vec![]),
            (
                "a new version",
                plain.clone(),
                status(&two, Some("v1.1.0"), good),
                vec!["Normal Published v1.1.0", "Normal FittingChanged v1.1.0"],
            ),
            ("a moved tag", plain.clone(), status(&moved, Some("v1.0.0"), good), vec!["Warning TagMoved v1.0.0"]),
            (
                "a withdrawn version",
                plain.clone(),
                status(&gone, None, good),
                vec!["Warning Withdrawn v1.0.0", "Normal FittingChanged none"],
            ),
            ("and back", status(&gone, Some("v1.0.0"), good), plain.clone(), vec!["Normal Published v1.0.0"]),
            (
                "a failure",
                plain.clone(),
                status(&one, Some("v1.0.0"), (Truth::False, "Unavailable")),
                vec!["Warning Unavailable Synced"],
            ),
            (
                "another failure",
                status(&one, Some("v1.0.0"), (Truth::False, "Unavailable")),
                status(&one, Some("v1.0.0"), (Truth::False, "Forbidden")),
                vec!["Warning Forbidden Synced"],
            ),
            (
                "the recovery",
                status(&one, Some("v1.0.0"), (Truth::False, "Unavailable")),
                plain.clone(),
                vec!["Normal Synced Synced"],
            ),
            ("a suspension", plain.clone(), status(&one, Some("v1.0.0"), (Truth::False, "Suspended")), vec![]),
        ] {
            let found: Vec<String> = notes(&before, &after).iter().map(Note::summary).collect();
            assert_eq!(found, news, "{what}");
        }
    }
}
