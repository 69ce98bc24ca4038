//! The records that this operator creates: for d8 and for every plugin that a policy names without a glob. It never
//! touches a record that a person created or edited.

use std::collections::BTreeSet;

use d8_crds::records::release::{CliRelease, CliReleaseSpec};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use super::labels::{MANAGED_BY, MANAGER};

/// How long a record stays after nothing needs it any more, and how long the ledgers remember a version whose record
/// is gone.
pub(crate) const GRACE_PERIOD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Annotation on a managed record: since when nothing needs it.
pub(crate) const UNNEEDED_SINCE: &str = "cli.deckhouse.io/unneeded-since";

/// A change to one managed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordChange {
    /// Create the record, or set or remove its annotation.
    Apply {
        /// Name of the record.
        name: String,
        /// Value of annotation [`UNNEEDED_SINCE`]; absent: the record has no such annotation.
        unneeded_since: Option<Timestamp>,
    },
    /// Delete the record, if it did not change since this was decided.
    Delete {
        /// Name of the record.
        name: String,
        /// UID that the record must have.
        uid: Option<String>,
        /// resourceVersion that the record must have.
        resource_version: Option<String>,
    },
}

/// Decides which records to create, to annotate and to delete, so that each of `named` has a record, and none exists
/// that was not needed for [`GRACE_PERIOD`].
pub(crate) fn changes<'a>(
    records: impl IntoIterator<Item = &'a CliRelease>,
    named: &BTreeSet<String>,
    needs: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Vec<RecordChange> {
    let mut missing = named.clone();
    let mut changes = Vec::new();
    for record in records {
        let name = record.name_any();
        missing.remove(&name);
        if !is_managed(record) {
            continue;
        }
        let annotation = record.annotations().get(UNNEEDED_SINCE);
        // An annotation that is not a time counts as absent.
        let since = annotation.and_then(|text| text.parse::<Timestamp>().ok());
        match (needs(&name), since) {
            (true, _) if annotation.is_some() => changes.push(RecordChange::Apply { name, unneeded_since: None }),
            (false, None) => changes.push(RecordChange::Apply { name, unneeded_since: Some(now) }),
            (false, Some(since)) if now.duration_since(since) >= GRACE_PERIOD => {
                let (uid, resource_version) = (record.uid(), record.resource_version());
                changes.push(RecordChange::Delete { name, uid, resource_version });
            }
            (true, _) | (false, Some(_)) => {}
        }
    }
    changes.extend(missing.into_iter().map(|name| RecordChange::Apply { name, unneeded_since: None }));
    changes
}

/// Returns whether this operator created the record and nobody edited its spec.
fn is_managed(record: &CliRelease) -> bool {
    record.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER) && record.spec == CliReleaseSpec::default()
}

#[cfg(test)]
mod tests {
    use super::{super::labels, *};

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn record(name: &str, managed: bool, unneeded_since: Option<&str>) -> CliRelease {
        let mut record = CliRelease::new(name, CliReleaseSpec::default());
        if managed {
            record.metadata.labels = Some(labels::labels(labels::COMPONENT, name));
        }
        record.metadata.annotations = unneeded_since.map(|at| [(UNNEEDED_SINCE.to_owned(), at.to_owned())].into());
        record
    }

    #[test]
    fn which_records_are_created_annotated_and_deleted() {
        let named: BTreeSet<String> = ["d8".to_owned(), "stronghold".to_owned()].into();
        let old = at(0).to_string();
        let apply = |name: &str, since| vec![RecordChange::Apply { name: name.into(), unneeded_since: since }];
        let delete = vec![RecordChange::Delete { name: "x".into(), uid: None, resource_version: None }];
        let edited = {
            let mut edited = record("x", true, Some(&old));
            edited.spec.suspend = true;
            edited
        };
        let d8 = || record("d8", true, None);
        let all = |extra: Option<CliRelease>| [Some(d8()), Some(record("stronghold", false, None)), extra];
        for (what, records, now, expected) in vec![
            ("all exist", all(None), at(0), vec![]),
            ("one is missing", [Some(d8()), None, None], at(0), apply("stronghold", None)),
            ("one is no longer needed", all(Some(record("x", true, None))), at(5), apply("x", Some(at(5)))),
            ("not needed for less than a week", all(Some(record("x", true, Some(&old)))), at(7 * 24 - 1), vec![]),
            ("not needed for a week", all(Some(record("x", true, Some(&old)))), at(7 * 24), delete),
            ("created by a person", all(Some(record("x", false, Some(&old)))), at(9999), vec![]),
            ("edited by a person", all(Some(edited)), at(9999), vec![]),
            (
                "an annotation that is not a time",
                all(Some(record("x", true, Some("?")))),
                at(5),
                apply("x", Some(at(5))),
            ),
            (
                "needed again",
                [Some(record("d8", true, Some(&old))), Some(record("stronghold", true, None)), None],
                at(9999),
                apply("d8", None),
            ),
        ] {
            let found = changes(records.iter().flatten(), &named, |name| named.contains(name), now);
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_record_that_a_host_needs_stays_without_a_policy() {
        let records = [record("d8", true, None), record("x", true, None)];
        let found = changes(&records, &["d8".to_owned()].into(), |_| true, at(0));
        assert_eq!(found, []);
    }
}
