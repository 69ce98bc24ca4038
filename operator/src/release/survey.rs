//! Which of the published versions a record is about, and which of their manifests a poll reads.
//! No IO.

use std::{collections::BTreeSet, time::Duration};

use d8_crds::{
    decisions::selection::{PublishedVersion, is_stable, read_tags},
    values::{
        name::{Component, Tag},
        version::Version,
    },
};

use super::{facts::Observed, rules::Rules};

/// Within this time every recorded version's manifest is read again, so that a moved tag is found.
const ROUND: Duration = Duration::from_hours(6);

/// Of so many versions, the newest, layers are downloaded where there is no other way to read a contract.
const DEEP: usize = 3;

/// Versions that a record keeps whatever its channel, range and history say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Pinned by a policy: their manifests are read again at every poll.
    pub(crate) pinned: BTreeSet<Version>,
    /// Active on some host.
    pub(crate) active: BTreeSet<Version>,
}

impl Wanted {
    /// Whether the version is to be kept.
    pub(crate) fn contains(&self, version: &Version) -> bool {
        self.pinned.contains(version) || self.active.contains(version)
    }
}

/// One version, with the tags that name it: usually one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its value.
    pub(crate) version: Version,
    /// The tags; the preferred one, written with `v`, comes first.
    pub(crate) tags: Vec<Tag>,
    /// Its layers are worth downloading where there is no other way to read its contract.
    pub(crate) deep: bool,
}

/// What of a tag list a record is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The versions to record, newest first.
    pub(crate) chosen: Vec<Candidate>,
    /// The newest stable version published.
    pub(crate) latest: Option<Candidate>,
    /// Tags that are no versions, or one platform's only.
    pub(crate) ignored: usize,
}

/// What a tag stands for once its manifests are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming<'a> {
    /// This tag.
    One(&'a Tag),
    /// Tags of the same version with different digests: none of them.
    Ambiguous,
    /// Not known before all their manifests are read.
    Unread,
}

impl Candidate {
    /// The preferred tag stays first.
    fn of(tags: Vec<PublishedVersion>) -> Option<Self> {
        let version = tags.first()?.version.clone();
        let tags = tags.into_iter().map(|published| published.registry_tag).collect();
        Some(Self { version, tags, deep: false })
    }

    /// The tag to record: of several with the same digest the one with `v`.
    pub(crate) fn naming(&self, observed: &Observed) -> Naming<'_> {
        let digests: Option<BTreeSet<_>> =
            self.tags.iter().map(|tag| observed.heads.get(tag).filter(|d| observed.facts.contains_key(d))).collect();
        match (digests, self.tags.first()) {
            (Some(digests), Some(first)) if digests.len() == 1 => Naming::One(first),
            (Some(digests), _) if digests.len() > 1 => Naming::Ambiguous,
            _ => Naming::Unread,
        }
    }
}

/// Reads a tag list.
pub(crate) fn survey<'a>(
    component: &Component,
    tags: impl IntoIterator<Item = &'a Tag>,
    rules: &Rules,
    wanted: &Wanted,
) -> Survey {
    let mut survey = Survey::default();
    let listing = read_tags(component, tags.into_iter().map(Tag::as_str), None);
    survey.ignored = listing.ignored + listing.foreign;
    let one = listing.published.into_iter().map(|one| vec![one]);
    let twins = listing.ambiguous.into_iter().map(|twins| twins.tags);
    let mut candidates: Vec<Candidate> = one.chain(twins).filter_map(Candidate::of).collect();
    candidates.sort_by(|a, b| b.version.cmp(&a.version));
    let mut taken = 0;
    for mut candidate in candidates {
        let publishes = rules.publishes(component, &candidate.version);
        if publishes && survey.latest.is_none() && is_stable(component, &candidate.version) {
            survey.latest = Some(candidate.clone());
        }
        let within = publishes && taken < rules.history;
        taken += usize::from(within);
        if within || wanted.contains(&candidate.version) {
            candidate.deep = survey.chosen.len() < DEEP || wanted.pinned.contains(&candidate.version);
            survey.chosen.push(candidate);
        }
    }
    survey
}

/// Whether more than half of the tags are gone at once: rather a fault of the registry's than a
/// decision of anyone's.
pub(crate) fn shrank(before: &BTreeSet<Tag>, now: &BTreeSet<Tag>) -> bool {
    before.difference(now).count() * 2 > before.len()
}

/// The tags whose manifests a poll reads: first those not read yet, newest first, then of the known
/// ones the pinned, the chosen and a share of the rest. `cursor` is the tag the last poll's share
/// ended with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Not read yet.
    pub(crate) unread: Vec<Tag>,
    /// Known, to be compared with what their tags point at now.
    pub(crate) verify: Vec<Tag>,
    /// Those whose layers are worth downloading.
    pub(crate) deep: BTreeSet<Tag>,
    /// Where the share of the next poll begins.
    pub(crate) cursor: Option<Tag>,
}

/// Plans what a poll reads. `always`: the versions that are the record's answers at the moment.
pub(crate) fn reading(
    survey: &Survey,
    observed: &Observed,
    wanted: &Wanted,
    always: &[&str],
    interval: Duration,
    cursor: Option<&Tag>,
) -> Reading {
    let mut reading = Reading::default();
    let mut rest = BTreeSet::new();
    for candidate in &survey.chosen {
        if candidate.deep {
            reading.deep.extend(candidate.tags.iter().cloned());
        }
        for tag in &candidate.tags {
            if observed.is_unread(tag) || (candidate.deep && observed.is_not_read(tag)) {
                reading.unread.push(tag.clone());
            } else if wanted.pinned.contains(&candidate.version) || always.contains(&tag.as_str()) {
                reading.verify.push(tag.clone());
            } else {
                rest.insert(tag.clone());
            }
        }
    }
    let share = share(rest.len(), interval);
    let after = rest.iter().filter(|tag| cursor.is_some_and(|cursor| *tag > cursor));
    let wrapped = rest.iter().filter(|tag| cursor.is_none_or(|cursor| *tag <= cursor));
    let turn: Vec<Tag> = after.chain(wrapped).take(share).cloned().collect();
    reading.cursor = turn.last().or(cursor).cloned();
    reading.verify.extend(turn);
    reading
}

/// How many of `count` manifests one poll reads again so that [`ROUND`] sees them all. The interval is
/// taken a tenth longer: it is jittered.
fn share(count: usize, interval: Duration) -> usize {
    let polls = (ROUND.as_secs() * 10 / (interval.as_secs().max(1) * 11)).max(1);
    count.div_ceil(usize::try_from(polls).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use d8_crds::{records::release::CliReleaseSpec, values::digest::Digest};

    use super::{super::facts::Facts, *};

    fn tags(texts: &[&str]) -> BTreeSet<Tag> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn rules(spec: &CliReleaseSpec) -> Rules {
        Rules::read(spec).unwrap()
    }

    fn names(survey: &Survey) -> Vec<&str> {
        survey.chosen.iter().flat_map(|c| &c.tags).map(Tag::as_str).collect()
    }

    fn wanted(pinned: &[&str]) -> Wanted {
        Wanted { pinned: pinned.iter().map(|v| Version::parse(v).unwrap()).collect(), ..Wanted::default() }
    }

    #[test]
    fn what_a_record_is_about() {
        use d8_crds::values::channel::Channel::{Prerelease, Stable};
        let all = ["v1.2.0", "v1.10.0", "v1.9.0-rc.1", "v2.0.0-main", "latest", "v0.9.0", "v3.0.0-linux-amd64"];
        let spec = CliReleaseSpec::default;
        for (what, component, spec, pinned, chosen, latest) in [
            ("stable by default", "p", spec(), vec![], "v2.0.0-main v1.10.0 v1.2.0 v0.9.0", Some("v2.0.0-main")),
            ("of d8 no pre-release at all", "d8", spec(), vec![], "v1.10.0 v1.2.0 v0.9.0", Some("v1.10.0")),
            (
                "both channels; latest is stable all the same",
                "d8",
                CliReleaseSpec { channel: Prerelease, ..spec() },
                vec![],
                "v2.0.0-main v1.10.0 v1.9.0-rc.1 v1.2.0 v0.9.0",
                Some("v1.10.0"),
            ),
            (
                "a range",
                "p",
                CliReleaseSpec { versions: Some("<1.5".into()), channel: Stable, ..spec() },
                vec![],
                "v1.2.0 v0.9.0",
                Some("v1.2.0"),
            ),
            (
                "a range under both channels: a pre-release counts as its release",
                "p",
                CliReleaseSpec { versions: Some(">=1.9 <1.10".into()), channel: Prerelease, ..spec() },
                vec![],
                "v1.9.0-rc.1",
                None,
            ),
            (
                "and is outside where its release is",
                "d8",
                CliReleaseSpec { versions: Some("<2".into()), channel: Prerelease, ..spec() },
                vec![],
                "v1.10.0 v1.9.0-rc.1 v1.2.0 v0.9.0",
                Some("v1.10.0"),
            ),
            (
                "a short history, and what is pinned besides",
                "p",
                CliReleaseSpec { history: Some(1), ..spec() },
                vec!["1.9.0-rc.1", "v0.9.0", "v7.7.7"],
                "v2.0.0-main v1.9.0-rc.1 v0.9.0",
                Some("v2.0.0-main"),
            ),
        ] {
            let component: Component = component.parse().unwrap();
            let found = survey(&component, &tags(&all), &rules(&spec), &wanted(&pinned));
            assert_eq!(names(&found).join(" "), chosen, "{what}");
            assert_eq!(found.latest.as_ref().map(|c| c.tags[0].as_str()), latest, "{what}");
            assert_eq!(found.ignored, 2, "{what}");
        }
    }

    #[test]
    fn two_tags_of_one_version() {
        let component: Component = "p".parse().unwrap();
        let found =
            survey(&component, &tags(&["1.0.0", "v1.0.0"]), &rules(&CliReleaseSpec::default()), &Wanted::default());
        let candidate = &found.chosen[0];
        let head = |bytes: &[u8]| (Digest::of(bytes), Facts::default());
        let mut observed = Observed::default();
        assert_eq!(candidate.naming(&observed), Naming::Unread);
        for (v, bare, naming) in [(b"a", b"a", Naming::One(&candidate.tags[0])), (b"a", b"b", Naming::Ambiguous)] {
            observed.heads =
                [("v1.0.0".parse().unwrap(), Digest::of(v)), ("1.0.0".parse().unwrap(), Digest::of(bare))].into();
            observed.facts = [head(v), head(bare)].into();
            assert_eq!(candidate.naming(&observed), naming);
        }
        assert_eq!(candidate.tags[0].as_str(), "v1.0.0");
    }

    #[test]
    fn shrinking() {
        for (before, now, suspicious) in [
            (&["a", "b"][..], &["a"][..], false),
            (&["a", "b", "c"], &["a"], true),
            (&["a"], &[], true),
            (&["a"], &["b"], true),
            (&[], &[], false),
            (&["a", "b"], &["a", "b", "c"], false),
        ] {
            assert_eq!(shrank(&tags(before), &tags(now)), suspicious, "{before:?} {now:?}");
        }
    }

    #[test]
    fn every_known_manifest_is_read_again_within_six_hours() {
        let all: Vec<String> = (0..50).map(|n| format!("v1.{n}.0")).collect();
        let all: BTreeSet<Tag> = all.iter().map(|t| t.parse().unwrap()).collect();
        let component: Component = "p".parse().unwrap();
        let spec = CliReleaseSpec { history: Some(50), ..CliReleaseSpec::default() };
        let found = survey(&component, &all, &rules(&spec), &wanted(&["v1.7.0"]));
        let mut observed = Observed::default();
        for tag in &all {
            let digest = Digest::of(tag.as_str().as_bytes());
            observed.heads.insert(tag.clone(), digest.clone());
            observed.facts.insert(digest, Facts::default());
        }
        for (minutes, each) in [(1, 3), (10, 4), (60, 12), (24 * 60, 50)] {
            let interval = Duration::from_secs(minutes * 60);
            let polls = (6 * 60 * 10 / (minutes * 11)).max(1);
            let mut seen = BTreeSet::new();
            let mut cursor = None;
            for _ in 0..polls {
                let reading = reading(&found, &observed, &wanted(&["v1.7.0"]), &["v1.49.0"], interval, cursor.as_ref());
                assert!(reading.unread.is_empty());
                assert!(reading.verify.len() <= each, "{minutes} min: {}", reading.verify.len());
                for always in ["v1.7.0", "v1.49.0"] {
                    assert!(reading.verify.iter().any(|t| t.as_str() == always), "{always}");
                }
                seen.extend(reading.verify);
                cursor = reading.cursor;
            }
            assert_eq!(seen.len(), 50, "{minutes} min");
        }
    }

    #[test]
    fn what_was_not_read_comes_first_and_newest_first() {
        let component: Component = "p".parse().unwrap();
        let all = tags(&["v1.0.0", "v1.2.0", "v1.10.0"]);
        let found = survey(&component, &all, &rules(&CliReleaseSpec::default()), &Wanted::default());
        let mut observed = Observed::default();
        observed.heads.insert("v1.2.0".parse().unwrap(), Digest::of(b"1"));
        observed.facts.insert(Digest::of(b"1"), Facts::default());
        let reading = reading(&found, &observed, &Wanted::default(), &[], Duration::from_mins(10), None);
        assert_eq!(reading.unread.iter().map(Tag::as_str).collect::<Vec<_>>(), ["v1.10.0", "v1.0.0"]);
        assert_eq!(reading.verify.len(), 1);
    }
}
