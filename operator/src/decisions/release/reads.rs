//! Which manifests a poll reads, and whether a list of tags is credible.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::values::name::Tag;

use super::{observed::Observed, selection::SelectedVersions};
use crate::decisions::retention::RetainedVersions;

/// Within this time every recorded manifest is read again, so that moved tags are found.
const VERIFY_ALL_WITHIN: Duration = Duration::from_hours(6);

/// The tags whose manifests a poll reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReadPlan {
    /// Tags that were not read yet, newest version first.
    pub(crate) unread: Vec<Tag>,
    /// Known tags, to find out whether they were moved.
    pub(crate) verify: Vec<Tag>,
    /// Tags whose layers are downloaded if only a layer holds the contract.
    pub(crate) read_layers: BTreeSet<Tag>,
    /// The last tag that is verified in turn. The next poll continues after it.
    pub(crate) cursor: Option<Tag>,
}

/// Plans the reads of one poll. It reads all new tags, and verifies the pinned versions, the versions in `always` and
/// a share of the others. `cursor` is the cursor of the poll before.
pub(crate) fn plan_reads(
    selected: &SelectedVersions,
    observed: &Observed,
    retained: &RetainedVersions,
    always: &[&str],
    interval: Duration,
    cursor: Option<&Tag>,
) -> ReadPlan {
    let mut plan = ReadPlan::default();
    let mut others = BTreeSet::new();
    for version in &selected.versions {
        if version.read_layers {
            plan.read_layers.extend(version.tags.iter().cloned());
        }
        for tag in &version.tags {
            if observed.needs_reading(tag) || (version.read_layers && observed.lacks_layers(tag)) {
                plan.unread.push(tag.clone());
            } else if retained.pinned.contains(&version.version) || always.contains(&tag.as_str()) {
                plan.verify.push(tag.clone());
            } else {
                others.insert(tag.clone());
            }
        }
    }
    let share = share(others.len(), interval);
    let after = others.iter().filter(|tag| cursor.is_some_and(|cursor| *tag > cursor));
    let wrapped = others.iter().filter(|tag| cursor.is_none_or(|cursor| *tag <= cursor));
    let in_turn: Vec<Tag> = after.chain(wrapped).take(share).cloned().collect();
    plan.cursor = in_turn.last().or(cursor).cloned();
    plan.verify.extend(in_turn);
    plan
}

/// Returns how many of `count` manifests each poll verifies, so that [`VERIFY_ALL_WITHIN`] covers all of them. Jitter
/// can make an interval a tenth longer.
fn share(count: usize, interval: Duration) -> usize {
    let polls = (VERIFY_ALL_WITHIN.as_secs() * 10 / (interval.as_secs().max(1) * 11)).max(1);
    count.div_ceil(usize::try_from(polls).unwrap_or(usize::MAX))
}

/// Returns whether more than half of the tags disappeared at once. That is more likely a fault of the registry than
/// intended.
pub(crate) fn has_shrunk(before: &BTreeSet<Tag>, now: &BTreeSet<Tag>) -> bool {
    before.difference(now).count() * 2 > before.len()
}

#[cfg(test)]
mod tests {
    use d8_crds::{
        records::release::CliReleaseSpec,
        values::{digest::Digest, name::Component, version::Version},
    };

    use super::{
        super::{facts::VersionFacts, selection::select_versions, spec::CheckedSpec},
        *,
    };

    fn tags(texts: &[&str]) -> BTreeSet<Tag> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn select(tags: &BTreeSet<Tag>, spec: &CliReleaseSpec, retained: &RetainedVersions) -> SelectedVersions {
        let component: Component = "p".parse().unwrap();
        select_versions(&component, tags, &CheckedSpec::read(spec).unwrap(), retained)
    }

    fn read(observed: &mut Observed, tag: &Tag) {
        let digest = Digest::of(tag.as_str().as_bytes());
        observed.digests.insert(tag.clone(), digest.clone());
        observed.facts.insert(digest, VersionFacts::default());
    }

    #[test]
    fn a_list_that_lost_more_than_half_of_its_tags_has_shrunk() {
        for (before, now, shrunk) in [
            (&["a", "b"][..], &["a"][..], false),
            (&["a", "b", "c"], &["a"], true),
            (&["a"], &[], true),
            (&["a"], &["b"], true),
            (&[], &[], false),
            (&["a", "b"], &["a", "b", "c"], false),
        ] {
            assert_eq!(has_shrunk(&tags(before), &tags(now)), shrunk, "{before:?} {now:?}");
        }
    }

    #[test]
    fn every_known_manifest_is_verified_within_six_hours() {
        let all: BTreeSet<Tag> = (0..50).map(|n| format!("v1.{n}.0").parse().unwrap()).collect();
        let retained =
            RetainedVersions { pinned: [Version::parse("v1.7.0").unwrap()].into(), ..RetainedVersions::default() };
        let selected = select(&all, &CliReleaseSpec { history: Some(50), ..CliReleaseSpec::default() }, &retained);
        let mut observed = Observed::default();
        for tag in &all {
            read(&mut observed, tag);
        }
        for (minutes, each) in [(1, 3), (10, 4), (60, 12), (24 * 60, 50)] {
            let interval = Duration::from_secs(minutes * 60);
            let polls = (6 * 60 * 10 / (minutes * 11)).max(1);
            let mut verified = BTreeSet::new();
            let mut cursor = None;
            for _ in 0..polls {
                let plan = plan_reads(&selected, &observed, &retained, &["v1.49.0"], interval, cursor.as_ref());
                assert!(plan.unread.is_empty());
                assert!(plan.verify.len() <= each, "{minutes} min: {}", plan.verify.len());
                for always in ["v1.7.0", "v1.49.0"] {
                    assert!(plan.verify.iter().any(|t| t.as_str() == always), "{always}");
                }
                verified.extend(plan.verify);
                cursor = plan.cursor;
            }
            assert_eq!(verified.len(), 50, "{minutes} min");
        }
    }

    #[test]
    fn unread_tags_come_first_and_the_newest_first_of_them() {
        let all = tags(&["v1.0.0", "v1.2.0", "v1.10.0"]);
        let selected = select(&all, &CliReleaseSpec::default(), &RetainedVersions::default());
        let mut observed = Observed::default();
        read(&mut observed, &"v1.2.0".parse().unwrap());
        let interval = Duration::from_mins(10);
        let plan = plan_reads(&selected, &observed, &RetainedVersions::default(), &[], interval, None);
        assert_eq!(plan.unread.iter().map(Tag::as_str).collect::<Vec<_>>(), ["v1.10.0", "v1.0.0"]);
        assert_eq!(plan.verify.len(), 1);
    }
}
