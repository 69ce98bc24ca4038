//! What is known of a component's versions, in memory: tag -> digest -> facts. No IO.
//!
//! Facts are kept by digest, never whole manifests: a digest never means other bytes, so what was
//! read once needs no second reading. After a restart they come from the record's own status.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use d8_crds::{
    records::{
        contract::{Contract, EnvVar, Flag},
        release::{Artifact, CliReleaseStatus, Fit, ReleaseVersion},
        requirements::Requirements,
    },
    values::{digest::Digest, name::Tag, text::printable_to},
};
use jiff::Timestamp;

use super::{
    bounds,
    parts::{Names, points_at},
};

/// Longest description a record carries, in characters.
const MAX_DESCRIPTION: usize = 256;
/// Most environment variables, and most flags, a record carries for one version.
const MAX_NAMES: usize = 64;
/// Longest name of an environment variable or a flag, in characters.
const MAX_NAME: usize = 128;

/// What one digest holds, cut to what a record may carry.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    /// What there is to download, of every platform that was read.
    pub(crate) artifacts: Vec<Artifact>,
    /// What the version demands.
    pub(crate) requirements: Requirements,
    /// One line for people.
    pub(crate) description: Option<String>,
    /// Environment variables the plugin reads.
    pub(crate) env: Vec<EnvVar>,
    /// Flags the plugin documents.
    pub(crate) flags: Vec<Flag>,
    /// When the image says it was made. Only known of what this process read itself.
    pub(crate) created: Option<Timestamp>,
    /// Why the contract can't be judged by; the version's fit is unknown while this stands.
    pub(crate) problem: Option<Problem>,
    /// May hold only the platforms that the spec named, as a status does.
    pub(crate) narrow: bool,
    /// May hold less than the image: to be read again at the next poll.
    pub(crate) partial: bool,
}

/// Why a version's contract can't be judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is malformed; the text names the field.
    Malformed(String),
    /// Its requirements are larger than a record may carry.
    TooLarge(String),
    /// It is in the layers only, and those are not downloaded for each old version.
    NotRead,
}

/// Why the contract of a version was not read.
const NOT_READ: &str = "it was not read: the proxy shows no manifests of it, and only the layers of the newest 3 \
                        versions and of those that a policy pins are downloaded to see what is in them";

impl Problem {
    /// The reason the record shows.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Malformed(text) | Self::TooLarge(text) => text,
            Self::NotRead => NOT_READ,
        }
    }
}

impl Facts {
    /// From what was read of an image: its artifacts and its contract, if it has one.
    pub(crate) fn read(artifacts: Vec<Artifact>, contract: Option<Contract>, created: Option<Timestamp>) -> Self {
        let mut facts = Self { artifacts, created, ..Self::default() };
        let Some(contract) = contract else { return facts };
        match bounds::requirements(contract.requirements) {
            Ok(requirements) => facts.requirements = requirements,
            Err(why) => facts.problem = Some(Problem::TooLarge(why)),
        }
        let description = printable_to(contract.description.trim(), MAX_DESCRIPTION).into_owned();
        facts.description = (!description.is_empty()).then_some(description);
        facts.env = contract.env.into_iter().filter(|e| fits(&e.name)).take(MAX_NAMES).collect();
        facts.flags = contract.flags.into_iter().filter(|f| fits(&f.name)).take(MAX_NAMES).collect();
        facts
    }

    /// From an image whose contract is malformed.
    pub(crate) fn malformed(artifacts: Vec<Artifact>, why: &str, created: Option<Timestamp>) -> Self {
        Self {
            artifacts,
            created,
            problem: Some(Problem::Malformed(printable_to(why, 256).into_owned())),
            ..Self::default()
        }
    }

    /// Of a version that only its digest is known of.
    pub(crate) fn not_read() -> Self {
        Self { problem: Some(Problem::NotRead), ..Self::default() }
    }

    /// Whether nothing but the digest is known.
    pub(crate) fn is_not_read(&self) -> bool {
        self.problem == Some(Problem::NotRead)
    }

    /// What a record remembers of a version.
    fn recorded(version: &ReleaseVersion, partial: bool) -> Self {
        // A verdict that no requirement explains came from a contract that could not be used. It
        // stands until the manifest is read again, or a restart would turn it into "fits".
        let cluster_free = Requirements { plugins: version.requirements.plugins.clone(), ..Requirements::default() }
            == version.requirements;
        let problem = (version.fit == Fit::Unknown && cluster_free).then(|| {
            let why = version.reasons.first().map_or("the contract was not read yet", String::as_str);
            Problem::Malformed(why.to_owned())
        });
        Self {
            artifacts: version.artifacts.clone(),
            requirements: version.requirements.clone(),
            description: version.description.clone(),
            env: version.env.clone(),
            flags: version.flags.clone(),
            created: None,
            narrow: true,
            partial: partial || problem.is_some(),
            problem,
        }
    }

    /// Whether these facts, found under `digest`, say the same of every platform that `recorded` has, and
    /// the same contract: an index that only gained a platform was not moved. Nor was a version that a proxy
    /// of another generation shows under another digest.
    pub(crate) fn only_adds_to(&self, digest: &Digest, recorded: &ReleaseVersion) -> bool {
        let before = recorded.digest.parse();
        let shown_anew = points_at(&recorded.artifacts, digest)
            || before.is_ok_and(|before| points_at(&self.artifacts, &before))
            || self.artifacts.iter().any(|new| new.manifest == recorded.digest);
        // What was not read then, or now, is what its manifests are.
        if shown_anew && (self.is_not_read() || recorded.artifacts.is_empty()) {
            return true;
        }
        let same = |old: &Artifact, new: &Artifact| {
            old.manifest == new.manifest
                && old.layer == new.layer
                && (old.platform.is_none() || old.platform == new.platform)
        };
        let all_there = || recorded.artifacts.iter().all(|old| self.artifacts.iter().any(|new| same(old, new)));
        (shown_anew || (!recorded.artifacts.is_empty() && all_there()))
            && self.requirements == recorded.requirements
            && self.description == recorded.description
            && self.env == recorded.env
            && self.flags == recorded.flags
    }
}

/// A version that could not be read while the rest of the poll went well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// Stable kind, for metrics and conditions.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
}

/// How the last poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// A condition's reason.
    pub(crate) reason: String,
    /// For people.
    pub(crate) message: String,
}

/// What this process knows of one component.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// The tags of the last poll whose list was believed; absent: none since the start.
    pub(crate) tags: Option<BTreeSet<Tag>>,
    /// Those of them that stand for a tag of each platform, with the platforms.
    pub(crate) parts: Names,
    /// How many of the entries in that list were no tags at all.
    pub(crate) malformed_tags: usize,
    /// What each tag points at.
    pub(crate) heads: BTreeMap<Tag, Digest>,
    /// What each digest holds.
    pub(crate) facts: HashMap<Digest, Facts>,
    /// Tags that could not be read, each with its reason.
    pub(crate) unreadable: BTreeMap<Tag, Unreadable>,
    /// When a poll last went well.
    pub(crate) synced: Option<Timestamp>,
    /// How the last poll failed; absent: it went well, or there was none.
    pub(crate) trouble: Option<Trouble>,
    /// A poll is reading versions at this moment.
    pub(crate) reading: bool,
}

impl Observed {
    /// What a record's own status says, after a restart. `current`: the status was made from the
    /// spec as it is now.
    pub(crate) fn from_status(status: &CliReleaseStatus, current: bool) -> Self {
        let mut observed = Self { synced: status.last_sync_time.as_ref().map(|t| t.0), ..Self::default() };
        for version in &status.versions {
            let (Ok(tag), Ok(digest)) = (version.version.parse::<Tag>(), version.digest.parse::<Digest>()) else {
                continue;
            };
            observed.facts.insert(digest.clone(), Facts::recorded(version, !current));
            if version.withdrawn.is_none() {
                observed.heads.insert(tag, digest);
            }
        }
        observed
    }

    /// Another spec may be about platforms that the record did not name so far.
    pub(crate) fn spec_changed(&mut self) {
        self.facts.values_mut().for_each(|facts| facts.partial |= facts.narrow);
    }

    /// What the tag is known to hold.
    pub(crate) fn of_tag(&self, tag: &Tag) -> Option<(&Digest, &Facts)> {
        let digest = self.heads.get(tag)?;
        Some((digest, self.facts.get(digest)?))
    }

    /// Whether the tag's manifest is still to be read.
    pub(crate) fn is_unread(&self, tag: &Tag) -> bool {
        self.of_tag(tag).is_none_or(|(_, facts)| facts.partial)
    }

    /// Whether the tag's layers are still to be read, if they should be.
    pub(crate) fn is_not_read(&self, tag: &Tag) -> bool {
        self.of_tag(tag).is_some_and(|(_, facts)| facts.is_not_read())
    }

    /// Forgets what no tag and no recorded version refers to.
    pub(crate) fn prune(&mut self, status: &CliReleaseStatus) {
        if let Some(tags) = &self.tags {
            self.heads.retain(|tag, _| tags.contains(tag));
            self.unreadable.retain(|tag, _| tags.contains(tag));
        }
        let heads = &self.heads;
        self.facts.retain(|digest, _| {
            heads.values().any(|head| head == digest)
                || status.versions.iter().any(|version| version.digest == digest.as_str())
        });
    }
}

/// Size in bytes as JSON.
pub(crate) fn json_size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

fn fits(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= MAX_NAME && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use d8_crds::records::requirements::VersionRequirement;

    use super::{super::bounds::MAX_REQUIREMENTS, *};

    fn version(fit: Fit, requirements: Requirements) -> ReleaseVersion {
        ReleaseVersion {
            version: "v1.0.0".into(),
            digest: Digest::of(b"1").to_string(),
            first_seen: None,
            fit,
            reasons: vec!["contract: field `requirements.kubernetes`".into()],
            artifacts: vec![],
            requirements,
            description: None,
            env: vec![],
            flags: vec![],
            moved: None,
            withdrawn: None,
        }
    }

    fn demands_kubernetes() -> Requirements {
        Requirements { kubernetes: Some(VersionRequirement { constraint: ">=1.30".into() }), ..Requirements::default() }
    }

    #[test]
    fn a_restart_never_turns_a_broken_contract_into_one_that_fits() {
        for (fit, requirements, problem) in [
            (Fit::Unknown, Requirements::default(), true),
            (Fit::Unknown, demands_kubernetes(), false),
            (Fit::Unfit, demands_kubernetes(), false),
            (Fit::Fits, Requirements::default(), false),
        ] {
            let facts = Facts::recorded(&version(fit, requirements), false);
            assert_eq!(facts.problem.is_some(), problem, "{fit:?}");
            assert_eq!(facts.partial, problem, "{fit:?}");
        }
    }

    #[test]
    fn oversized_requirements_are_a_problem_and_are_not_carried() {
        let contract = |constraint: String| Contract {
            name: String::new(),
            version: String::new(),
            description: "a\u{1b}[31mb\n".into(),
            env: vec![EnvVar { name: "KUBECONFIG".into() }, EnvVar { name: "\u{7}".into() }],
            flags: vec![],
            requirements: Requirements {
                kubernetes: Some(VersionRequirement { constraint }),
                ..Requirements::default()
            },
        };
        let good = Facts::read(vec![], Some(contract(">=1".into())), None);
        assert_eq!(good.problem, None);
        assert_eq!(good.description.as_deref(), Some(r"a\u{1b}[31mb"));
        assert_eq!(good.env.len(), 1);
        let huge = Facts::read(vec![], Some(contract("1".repeat(MAX_REQUIREMENTS))), None);
        assert!(matches!(huge.problem, Some(Problem::TooLarge(_))));
        assert!(huge.requirements.is_empty());
    }

    #[test]
    fn another_generation_of_the_proxy_moves_no_tag() {
        let artifact = |platform: Option<&str>, bytes: &[u8]| Artifact {
            platform: platform.map(str::to_owned),
            manifest: Digest::of(bytes).to_string(),
            layer: Digest::of(&[bytes, b" layer"].concat()).to_string(),
            size_bytes: 1,
        };
        let (linux, arm) = (artifact(Some("linux-amd64"), b"l"), artifact(Some("linux-arm64"), b"a"));
        let (windows, other) = (artifact(Some("windows-amd64"), b"w"), artifact(Some("linux-arm64"), b"x"));
        let any = artifact(None, b"l");
        let pointed = |artifacts: &[Artifact]| {
            let each = artifacts.iter().map(|a| (a.platform.as_deref().unwrap_or_default(), a.manifest.as_str()));
            crate::release::parts::pointer(each).unwrap()
        };
        let (old, index) = (pointed(&[linux.clone(), arm.clone()]), Digest::of(b"index"));
        let needs = demands_kubernetes;
        for (what, was, had, now, has, demands, same) in [
            ("2 to 3", &old, vec![&linux, &arm], &index, vec![&linux, &arm, &windows], needs(), true),
            ("2 to 3, not read before", &old, vec![], &index, vec![&linux, &arm, &windows], needs(), true),
            ("2 to 3, not read before, moved", &old, vec![], &index, vec![&linux, &other], needs(), false),
            ("3 to 2", &index, vec![&linux, &arm, &windows], &old, vec![&linux, &arm], needs(), true),
            ("3 to 2, not read any more", &index, vec![&linux, &arm, &windows], &old, vec![], needs(), true),
            ("1 to 3, no platform named before", &Digest::of(b"l"), vec![&any], &index, vec![&linux], needs(), true),
            ("1 to 3, not read before", &Digest::of(b"l"), vec![], &index, vec![&linux, &arm], needs(), true),
            ("3, a platform went", &index, vec![&linux, &arm], &Digest::of(b"l"), vec![&linux], needs(), false),
            ("moved while not read", &old, vec![], &index, vec![], needs(), false),
            ("another contract", &old, vec![&linux, &arm], &index, vec![&linux, &arm], Requirements::default(), false),
        ] {
            let all = |artifacts: Vec<&Artifact>| artifacts.into_iter().cloned().collect::<Vec<_>>();
            let (had, has) = (all(had), all(has));
            let demanded = if had.is_empty() { Requirements::default() } else { needs() };
            let recorded = ReleaseVersion { digest: was.to_string(), artifacts: had, ..version(Fit::Fits, demanded) };
            let facts = if has.is_empty() {
                Facts::not_read()
            } else {
                Facts { artifacts: has, requirements: demands, ..Facts::default() }
            };
            assert_eq!(facts.only_adds_to(now, &recorded), same, "{what}");
        }
    }

    #[test]
    fn pruning_keeps_what_a_tag_or_the_record_refers_to() {
        let recorded = version(Fit::Fits, Requirements::default());
        let status = CliReleaseStatus { versions: vec![recorded], ..CliReleaseStatus::default() };
        let mut observed = Observed::from_status(&status, true);
        let tag: Tag = "v1.1.0".parse().unwrap();
        observed.heads.insert(tag.clone(), Digest::of(b"2"));
        observed.facts.insert(Digest::of(b"2"), Facts::default());
        observed.facts.insert(Digest::of(b"3"), Facts::default());
        observed.tags = Some([tag].into());
        observed.prune(&status);
        assert_eq!(observed.heads.len(), 1);
        assert_eq!(observed.facts.len(), 2);
    }
}
