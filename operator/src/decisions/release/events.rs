//! Events of a record: the differences between two statuses.

use std::collections::BTreeMap;

use d8_crds::records::release::{CliReleaseStatus, ReleaseVersion};

use crate::decisions::{conditions, event_draft::EventDraft};

/// Returns the events of a change of status. The first sync has no events of single versions.
pub(crate) fn events(before: &CliReleaseStatus, after: &CliReleaseStatus) -> Vec<EventDraft> {
    let mut events = Vec::new();
    if !before.versions.is_empty() {
        let known: BTreeMap<&str, &ReleaseVersion> = before.versions.iter().map(|v| (v.version.as_str(), v)).collect();
        for version in &after.versions {
            events.extend(version_event(known.get(version.version.as_str()).copied(), version));
        }
        if before.latest_fitting != after.latest_fitting {
            let name = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
            let (old, new) = (name(&before.latest_fitting), name(&after.latest_fitting));
            let note = format!("the latest version that fits this cluster changed from {old} to {new}");
            events.push(EventDraft::normal("FittingChanged", &new, note));
        }
    }
    events.extend(condition_event(before, after, "Synced"));
    events.extend(condition_event(before, after, "Ready"));
    events
}

fn version_event(before: Option<&ReleaseVersion>, after: &ReleaseVersion) -> Option<EventDraft> {
    let name = &after.version;
    let Some(before) = before else {
        if after.digest.is_empty() {
            let why = after.reasons.first().map_or("cannot be read", String::as_str);
            return Some(EventDraft::warning("Unreadable", name, format!("version {name} was published, but {why}")));
        }
        let note = format!("version {name} was published ({})", after.digest);
        return Some(EventDraft::normal("Published", name, note));
    };
    if before.moved != after.moved
        && let Some(moved) = &after.moved
    {
        let note = format!("tag {name} was moved from {} to {}", moved.from, after.digest);
        return Some(EventDraft::warning("TagMoved", name, note));
    }
    match (&before.withdrawn, &after.withdrawn) {
        (None, Some(_)) => {
            Some(EventDraft::warning("Withdrawn", name, format!("tag {name} was removed from the registry")))
        }
        (Some(_), None) => Some(EventDraft::normal("Published", name, format!("tag {name} is in the registry again"))),
        _ => None,
    }
}

/// Returns the event of a condition that became false or true again. A condition that is new and true has no event.
fn condition_event(before: &CliReleaseStatus, after: &CliReleaseStatus, kind: &str) -> Option<EventDraft> {
    let now = after.conditions.iter().find(|c| c.type_ == kind)?;
    let old = conditions::find(&before.conditions, kind);
    if old == Some((now.status.as_str(), now.reason.as_str())) {
        return None;
    }
    match (now.status.as_str(), old) {
        ("False", _) if now.reason != "Suspended" => Some(EventDraft::warning(&now.reason, kind, now.message.clone())),
        ("True", Some(("False", _))) => Some(EventDraft::normal(&now.reason, kind, now.message.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::records::release::{Fit, MovedTag};
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{super::fixtures::recorded, *};
    use crate::decisions::conditions::{ConditionDraft, ConditionStatus, Conditions};

    fn version(name: &str) -> ReleaseVersion {
        recorded(name, Fit::Fits)
    }

    fn status(versions: &[ReleaseVersion], fitting: Option<&str>, synced: (ConditionStatus, &str)) -> CliReleaseStatus {
        let mut conditions = Conditions::new(&[], 1, Timestamp::UNIX_EPOCH);
        conditions.set("Synced", &ConditionDraft::new(synced.0, synced.1, "message"));
        CliReleaseStatus {
            versions: versions.to_vec(),
            latest_fitting: fitting.map(str::to_owned),
            conditions: conditions.finish(),
            ..CliReleaseStatus::default()
        }
    }

    #[test]
    fn changes_of_a_status_become_events() {
        let good = (ConditionStatus::True, "Synced");
        let one = [version("v1.0.0")];
        let two = [version("v1.1.0"), version("v1.0.0")];
        let time = || Time(Timestamp::UNIX_EPOCH);
        let moved =
            [ReleaseVersion { moved: Some(MovedTag { from: "sha256:0".into(), at: time() }), ..version("v1.0.0") }];
        let gone = [ReleaseVersion { withdrawn: Some(time()), ..version("v1.0.0") }];
        let plain = status(&one, Some("v1.0.0"), good);
        for (what, before, after, expected) in [
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
                status(&one, Some("v1.0.0"), (ConditionStatus::False, "Unavailable")),
                vec!["Warning Unavailable Synced"],
            ),
            (
                "tags of one version at different images",
                plain.clone(),
                status(&[], None, (ConditionStatus::False, "AmbiguousVersion")),
                vec!["Normal FittingChanged none", "Warning AmbiguousVersion Synced"],
            ),
            (
                "another failure",
                status(&one, Some("v1.0.0"), (ConditionStatus::False, "Unavailable")),
                status(&one, Some("v1.0.0"), (ConditionStatus::False, "Forbidden")),
                vec!["Warning Forbidden Synced"],
            ),
            (
                "the recovery",
                status(&one, Some("v1.0.0"), (ConditionStatus::False, "Unavailable")),
                plain.clone(),
                vec!["Normal Synced Synced"],
            ),
            (
                "a suspension",
                plain.clone(),
                status(&one, Some("v1.0.0"), (ConditionStatus::False, "Suspended")),
                vec![],
            ),
        ] {
            let found: Vec<String> = events(&before, &after).iter().map(EventDraft::summary).collect();
            assert_eq!(found, expected, "{what}");
        }
    }
}
