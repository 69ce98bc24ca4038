//! The records this operator makes itself: for d8 and for every plugin that a policy names outright.
//! A record that a person made, or changed, is theirs and is left alone.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::records::release::{CliRelease, CliReleaseSpec};
use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;

use crate::apply::FIELD_MANAGER;

/// A record of ours that nothing needs any more is removed after this time.
pub(crate) const KEEP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The label of what this operator makes.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const COMPONENT: &str = "cli.deckhouse.io/component";
/// Annotation on a record of ours: since when nothing needs it.
const UNNEEDED_SINCE: &str = "cli.deckhouse.io/unneeded-since";

/// The labels of what this operator makes for a component.
pub(crate) fn labels(component: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY, FIELD_MANAGER), (COMPONENT, component)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Apply the record, without a mark or with the time since when nothing needs it.
    Apply {
        /// Its name.
        name: String,
        /// The mark.
        unneeded_since: Option<Timestamp>,
    },
    /// Delete it, if it still is the one that was judged.
    Delete {
        /// Its name.
        name: String,
        /// What it must still be.
        uid: Option<String>,
        /// And in which state.
        resource_version: Option<String>,
    },
}

/// What to do so that there is a record for each of `named`, and none of ours that nothing has needed
/// for the time `keep`.
pub(crate) fn plan<'a>(
    records: impl IntoIterator<Item = &'a CliRelease>,
    named: &BTreeSet<String>,
    needs: impl Fn(&str) -> bool,
    now: Timestamp,
    keep: SignedDuration,
) -> Vec<Step> {
    let mut missing = named.clone();
    let mut steps = Vec::new();
    for record in records {
        let name = record.name_any();
        missing.remove(&name);
        if !is_ours(record) {
            continue;
        }
        let mark = record.annotations().get(UNNEEDED_SINCE);
        // A mark that is no time starts anew.
        let since = mark.and_then(|text| text.parse::<Timestamp>().ok());
        match (needs(&name), since) {
            (true, _) if mark.is_some() => steps.push(Step::Apply { name, unneeded_since: None }),
            (false, None) => steps.push(Step::Apply { name, unneeded_since: Some(now) }),
            (false, Some(since)) if now.duration_since(since) >= keep => {
                let (uid, resource_version) = (record.uid(), record.resource_version());
                steps.push(Step::Delete { name, uid, resource_version });
            }
            (true, _) | (false, Some(_)) => {}
        }
    }
    steps.extend(missing.into_iter().map(|name| Step::Apply { name, unneeded_since: None }));
    steps
}

/// Made by this operator, and its spec as it was made.
fn is_ours(record: &CliRelease) -> bool {
    record.labels().get(MANAGED_BY).is_some_and(|by| by == FIELD_MANAGER) && record.spec == CliReleaseSpec::default()
}

/// Does it.
pub(crate) async fn execute(client: &Client, step: Step) -> Result<(), kube::Error> {
    let api: Api<CliRelease> = Api::all(client.clone());
    match step {
        Step::Apply { name, unneeded_since } => {
            let mark = unneeded_since.map(|at| (UNNEEDED_SINCE.to_owned(), at.to_string()));
            let object = json!({
                "apiVersion": "cli.deckhouse.io/v1alpha1",
                "kind": "CliRelease",
                "metadata": {
                    "name": name,
                    "labels": labels(&name),
                    "annotations": mark.into_iter().collect::<BTreeMap<_, _>>(),
                },
                "spec": {},
            });
            api.patch(&name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(object)).await?;
            let needed = unneeded_since.is_none();
            tracing::info!(name, needed, "applied a record of ours; one that nothing needs goes in a week");
            Ok(())
        }
        Step::Delete { name, uid, resource_version } => {
            let preconditions = Some(Preconditions { uid, resource_version });
            let deleted = api.delete(&name, &DeleteParams { preconditions, ..DeleteParams::default() }).await;
            match deleted {
                Ok(_) => tracing::info!(name, "removed a record that nothing has needed for a week"),
                // It changed or went meanwhile: to be judged again.
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
                Err(error) => return Err(error),
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEEK: SignedDuration = KEEP;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3600).unwrap()
    }

    fn record(name: &str, ours: bool, mark: Option<&str>) -> CliRelease {
        let mut record = CliRelease::new(name, CliReleaseSpec::default());
        if ours {
            record.metadata.labels = Some(labels(name));
        }
        record.metadata.annotations = mark.map(|mark| [(UNNEEDED_SINCE.to_owned(), mark.to_owned())].into());
        record
    }

    #[test]
    fn which_records_there_are() {
        let named: BTreeSet<String> = ["d8".to_owned(), "stronghold".to_owned()].into();
        let old = at(0).to_string();
        let apply = |name: &str, since| vec![Step::Apply { name: name.into(), unneeded_since: since }];
        let delete = vec![Step::Delete { name: "x".into(), uid: None, resource_version: None }];
        let edited = {
            let mut edited = record("x", true, Some(&old));
            edited.spec.suspend = true;
            edited
        };
        let d8 = || record("d8", true, None);
        let all = |extra: Option<CliRelease>| [Some(d8()), Some(record("stronghold", false, None)), extra];
        for (what, records, now, steps) in vec![
            ("all are there", all(None), at(0), vec![]),
            ("one is missing", [Some(d8()), None, None], at(0), apply("stronghold", None)),
            ("one is not needed any more", all(Some(record("x", true, None))), at(5), apply("x", Some(at(5)))),
            ("for less than a week", all(Some(record("x", true, Some(&old)))), at(7 * 24 - 1), vec![]),
            ("for a week", all(Some(record("x", true, Some(&old)))), at(7 * 24), delete),
            ("a person's own", all(Some(record("x", false, Some(&old)))), at(9999), vec![]),
            ("one that a person changed", all(Some(edited)), at(9999), vec![]),
            ("a mark that is no time", all(Some(record("x", true, Some("?")))), at(5), apply("x", Some(at(5)))),
            (
                "needed again",
                [Some(record("d8", true, Some(&old))), Some(record("stronghold", true, None)), None],
                at(9999),
                apply("d8", None),
            ),
        ] {
            let found = plan(records.iter().flatten(), &named, |name| named.contains(name), now, WEEK);
            assert_eq!(found, steps, "{what}");
        }
    }

    #[test]
    fn one_that_runs_on_a_host_stays_without_a_policy() {
        let records = [record("d8", true, None), record("x", true, None)];
        let steps = plan(&records, &["d8".to_owned()].into(), |_| true, at(0), WEEK);
        assert_eq!(steps, []);
    }
}
