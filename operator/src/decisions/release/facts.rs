//! The content of one digest of a component, reduced to what a record may contain.
//!
//! Facts are kept by digest. A digest always means the same bytes, so nothing is read twice. After a restart the facts
//! come from the record's own status.

use d8_crds::{
    records::{
        contract::{Contract, EnvVar, Flag},
        release::{Artifact, Fit, LeftOutPart, ReleaseVersion},
        requirements::Requirements,
    },
    values::{
        digest::Digest,
        limits as crd_limits,
        text::{printable_to, shortened},
    },
};
use jiff::Timestamp;

use super::{limits, platform_tags::has_content_digest};

/// Longest description a record carries, in characters.
const MAX_DESCRIPTION: usize = 256;
/// Most environment variables, and most flags, a record carries for one version.
const MAX_NAMES: usize = 64;

/// The content of one digest.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VersionFacts {
    /// The artifacts, one for each platform that was read.
    pub(crate) artifacts: Vec<Artifact>,
    /// Parts of the image that are left out.
    pub(crate) left_out: Vec<LeftOutPart>,
    /// The requirements of the contract.
    pub(crate) requirements: Requirements,
    /// Description of the contract; one line.
    pub(crate) description: Option<String>,
    /// Environment variables that the plugin reads.
    pub(crate) env: Vec<EnvVar>,
    /// Flags that the plugin documents.
    pub(crate) flags: Vec<Flag>,
    /// Date of the image; absent if this process did not read the image itself.
    pub(crate) created: Option<Timestamp>,
    /// Why the version cannot be used, or its contract.
    pub(crate) problem: Option<VersionProblem>,
    /// The artifacts may be limited to the platforms that the spec names, as in a status.
    pub(crate) platforms_limited: bool,
    /// The facts may hold less than the image: the next poll reads it again.
    pub(crate) incomplete: bool,
}

/// Why a version cannot be used, or its contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VersionProblem {
    /// No part of the image can be used; the texts say why, one for each part.
    NoArtifact(Vec<String>),
    /// The contract is malformed; the text names the field.
    Malformed(String),
    /// The requirements are larger than a record may carry.
    TooLarge(String),
    /// The contract is inside a layer, and this layer was not downloaded.
    LayersNotRead,
}

/// Reason in the record for [`VersionProblem::LayersNotRead`].
const LAYERS_NOT_READ: &str = "the contract was not read: this proxy serves no manifests, and the operator downloads \
                               layers for the newest 3 versions and for pinned versions only";

impl VersionProblem {
    /// Returns the fit and the reasons that the record shows.
    pub(crate) fn fit(&self) -> (Fit, Vec<String>) {
        match self {
            Self::NoArtifact(reasons) => (Fit::Unfit, reasons.clone()),
            Self::Malformed(text) | Self::TooLarge(text) => (Fit::Unknown, vec![text.clone()]),
            Self::LayersNotRead => (Fit::Unknown, vec![LAYERS_NOT_READ.to_owned()]),
        }
    }
}

impl VersionFacts {
    /// Makes the facts of an image from its artifacts and its contract; an image may have no contract.
    pub(crate) fn read(artifacts: Vec<Artifact>, contract: Option<Contract>, created: Option<Timestamp>) -> Self {
        let mut facts = Self { artifacts, created, ..Self::default() };
        let Some(contract) = contract else { return facts };
        match limits::requirements(contract.requirements) {
            Ok(requirements) => facts.requirements = requirements,
            Err(why) => facts.problem = Some(VersionProblem::TooLarge(why)),
        }
        let description = printable_to(contract.description.trim(), MAX_DESCRIPTION).into_owned();
        facts.description = (!description.is_empty()).then_some(description);
        facts.env = contract.env.into_iter().filter(|e| is_usable(&e.name)).take(MAX_NAMES).collect();
        facts.flags = contract.flags.into_iter().filter(|f| is_usable(&f.name)).take(MAX_NAMES).collect();
        facts
    }

    /// Makes the facts of an image whose contract is malformed.
    pub(crate) fn malformed(why: &str) -> Self {
        let problem = VersionProblem::Malformed(shortened(why, crd_limits::FIT_REASON).into_owned());
        Self { problem: Some(problem), ..Self::default() }
    }

    /// Makes the facts of an image that has nothing to install. `reasons`: why, one for each part.
    pub(crate) fn no_artifact(reasons: impl IntoIterator<Item = String>) -> Self {
        let reasons = reasons.into_iter().map(|reason| shortened(&reason, crd_limits::FIT_REASON).into_owned());
        Self { problem: Some(VersionProblem::NoArtifact(reasons.collect())), ..Self::default() }
    }

    /// Adds the parts of the image that are left out. If there is no artifact, these parts are the reason.
    pub(crate) fn with_left_out(self, parts: Vec<LeftOutPart>) -> Self {
        if self.artifacts.is_empty() && self.problem.is_none() {
            let reason = |part: &LeftOutPart| match &part.platform {
                Some(platform) => format!("cannot be used on {platform}: {}", part.reason),
                None => format!("cannot be used: {}", part.reason),
            };
            return Self::no_artifact(parts.iter().map(reason));
        }
        let bounded = |part: LeftOutPart| LeftOutPart {
            reason: shortened(&part.reason, crd_limits::FIT_REASON).into_owned(),
            ..part
        };
        Self { left_out: parts.into_iter().take(crd_limits::LEFT_OUT).map(bounded).collect(), ..self }
    }

    /// Makes the facts of an image that was not read: only its digest is known.
    pub(crate) fn digest_only() -> Self {
        Self { problem: Some(VersionProblem::LayersNotRead), ..Self::default() }
    }

    /// Returns whether only the digest is known.
    pub(crate) fn is_digest_only(&self) -> bool {
        self.problem == Some(VersionProblem::LayersNotRead)
    }

    /// Makes the facts of a version from its record.
    pub(super) fn recorded(version: &ReleaseVersion, incomplete: bool) -> Self {
        // Without a requirement on the cluster, an unknown fit comes from a contract that cannot be used, and an unfit
        // version from an image that cannot be used. It stays until the manifest is read again. Otherwise a restart
        // would turn it into "fits".
        let cluster_free = Requirements { plugins: version.requirements.plugins.clone(), ..Requirements::default() }
            == version.requirements;
        let problem = match version.fit {
            Fit::Unknown if cluster_free => {
                let why = version.reasons.first().map_or("the contract was not read yet", String::as_str);
                Some(VersionProblem::Malformed(why.to_owned()))
            }
            Fit::Unfit if cluster_free => Some(VersionProblem::NoArtifact(version.reasons.clone())),
            _ => None,
        };
        Self {
            artifacts: version.artifacts.clone(),
            left_out: version.left_out.clone(),
            requirements: version.requirements.clone(),
            description: version.description.clone(),
            env: version.env.clone(),
            flags: version.flags.clone(),
            created: None,
            platforms_limited: true,
            // A part that is left out may have been missing at that time only.
            incomplete: incomplete || problem.is_some() || !version.left_out.is_empty(),
            problem,
        }
    }

    /// Returns whether a tag that now points at `digest`, with these facts, still names the recorded version.
    ///
    /// It does if every recorded platform and the contract are the same: an index that gained a platform is not a
    /// moved tag. Nor is it one if a proxy of another generation shows the same version under another digest.
    pub(crate) fn is_same_version(&self, digest: &Digest, recorded: &ReleaseVersion) -> bool {
        let before = recorded.digest.parse();
        let other_digest = has_content_digest(&recorded.artifacts, digest)
            || before.is_ok_and(|before| has_content_digest(&self.artifacts, &before))
            || self.artifacts.iter().any(|new| new.manifest == recorded.digest);
        // If the contract was not read then or now, only the manifests can be compared.
        if other_digest && (self.is_digest_only() || recorded.artifacts.is_empty()) {
            return true;
        }
        let same = |old: &Artifact, new: &Artifact| {
            old.manifest == new.manifest
                && old.layer == new.layer
                && (old.platform.is_none() || old.platform == new.platform)
        };
        let all_present = || recorded.artifacts.iter().all(|old| self.artifacts.iter().any(|new| same(old, new)));
        (other_digest || (!recorded.artifacts.is_empty() && all_present()))
            && self.requirements == recorded.requirements
            && self.description == recorded.description
            && self.env == recorded.env
            && self.flags == recorded.flags
    }
}

fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= crd_limits::SHORT_TEXT && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use d8_crds::records::requirements::VersionRequirement;

    use super::{
        super::{
            fixtures::{artifact, recorded},
            limits::MAX_REQUIREMENTS,
            platform_tags::content_digest,
        },
        *,
    };

    fn version(fit: Fit, requirements: Requirements) -> ReleaseVersion {
        let reasons = vec!["contract: field `requirements.kubernetes`".into()];
        ReleaseVersion { reasons, requirements, ..recorded("v1.0.0", fit) }
    }

    fn requires_kubernetes() -> Requirements {
        Requirements { kubernetes: Some(VersionRequirement { constraint: ">=1.30".into() }), ..Requirements::default() }
    }

    #[test]
    fn a_version_with_a_broken_contract_does_not_fit_after_a_restart() {
        for (fit, requirements, problem) in [
            (Fit::Unknown, Requirements::default(), true),
            (Fit::Unknown, requires_kubernetes(), false),
            (Fit::Unfit, requires_kubernetes(), false),
            (Fit::Unfit, Requirements::default(), true),
            (Fit::Fits, Requirements::default(), false),
        ] {
            let facts = VersionFacts::recorded(&version(fit, requirements), false);
            assert_eq!(facts.problem.is_some(), problem, "{fit:?}");
            assert_eq!(facts.incomplete, problem, "{fit:?}");
        }
        let left_out = vec![LeftOutPart { platform: None, reason: "its first bytes cannot be read".into() }];
        let recorded = ReleaseVersion { left_out, ..version(Fit::Fits, Requirements::default()) };
        assert!(VersionFacts::recorded(&recorded, false).incomplete, "the part may be there now");
    }

    #[test]
    fn parts_that_are_left_out_are_listed_or_are_the_reason() {
        let part = |platform: Option<&str>, reason: &str| LeftOutPart {
            platform: platform.map(str::to_owned),
            reason: reason.to_owned(),
        };
        let parts = || vec![part(Some("linux-arm64"), "its layer is a zstd stream"), part(None, "names no platform")];
        let with_artifact = VersionFacts::read(vec![artifact(Some("linux-amd64"), b"a")], None, None);
        let facts = with_artifact.with_left_out(parts());
        assert_eq!((facts.left_out.len(), &facts.problem), (2, &None));
        let facts = VersionFacts::read(vec![], None, None).with_left_out(parts());
        let (fit, reasons) = facts.problem.map(|problem| problem.fit()).unwrap_or_default();
        assert_eq!(fit, Fit::Unfit);
        assert_eq!(
            reasons,
            ["cannot be used on linux-arm64: its layer is a zstd stream", "cannot be used: names no platform"]
        );
        // A malformed contract stays the reason.
        let facts = VersionFacts::malformed("why").with_left_out(parts());
        assert!(matches!(facts.problem, Some(VersionProblem::Malformed(_))));
    }

    #[test]
    fn oversized_requirements_are_dropped_and_reported() {
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
        let good = VersionFacts::read(vec![], Some(contract(">=1".into())), None);
        assert_eq!(good.problem, None);
        assert_eq!(good.description.as_deref(), Some(r"a\u{1b}[31mb"));
        assert_eq!(good.env.len(), 1);
        let huge = VersionFacts::read(vec![], Some(contract("1".repeat(MAX_REQUIREMENTS))), None);
        assert!(matches!(huge.problem, Some(VersionProblem::TooLarge(_))));
        assert!(huge.requirements.is_empty());
    }

    #[test]
    fn another_generation_of_the_proxy_shows_the_same_version() {
        let (linux, arm) = (artifact(Some("linux-amd64"), b"l"), artifact(Some("linux-arm64"), b"a"));
        let (windows, other) = (artifact(Some("windows-amd64"), b"w"), artifact(Some("linux-arm64"), b"x"));
        let any = artifact(None, b"l");
        let digest_of = |artifacts: &[Artifact]| {
            let each = artifacts.iter().map(|a| (a.platform.as_deref().unwrap_or_default(), a.manifest.as_str()));
            content_digest(each).unwrap()
        };
        let (old, index) = (digest_of(&[linux.clone(), arm.clone()]), Digest::of(b"index"));
        let needs = requires_kubernetes;
        for (what, old_digest, old_artifacts, digest, artifacts, requirements, same) in [
            ("2 to 3", &old, vec![&linux, &arm], &index, vec![&linux, &arm, &windows], needs(), true),
            ("2 to 3, not read before", &old, vec![], &index, vec![&linux, &arm, &windows], needs(), true),
            ("2 to 3, not read before, and moved", &old, vec![], &index, vec![&linux, &other], needs(), false),
            ("3 to 2", &index, vec![&linux, &arm, &windows], &old, vec![&linux, &arm], needs(), true),
            ("3 to 2, no longer read", &index, vec![&linux, &arm, &windows], &old, vec![], needs(), true),
            ("1 to 3, no platform named before", &Digest::of(b"l"), vec![&any], &index, vec![&linux], needs(), true),
            ("1 to 3, not read before", &Digest::of(b"l"), vec![], &index, vec![&linux, &arm], needs(), true),
            ("3, a platform disappeared", &index, vec![&linux, &arm], &Digest::of(b"l"), vec![&linux], needs(), false),
            ("moved while not read", &old, vec![], &index, vec![], needs(), false),
            ("another contract", &old, vec![&linux, &arm], &index, vec![&linux, &arm], Requirements::default(), false),
        ] {
            let owned = |artifacts: Vec<&Artifact>| artifacts.into_iter().cloned().collect::<Vec<_>>();
            let (old_artifacts, artifacts) = (owned(old_artifacts), owned(artifacts));
            let old_requirements = if old_artifacts.is_empty() { Requirements::default() } else { needs() };
            let recorded = ReleaseVersion {
                digest: old_digest.to_string(),
                artifacts: old_artifacts,
                ..version(Fit::Fits, old_requirements)
            };
            let facts = if artifacts.is_empty() {
                VersionFacts::digest_only()
            } else {
                VersionFacts { artifacts, requirements, ..VersionFacts::default() }
            };
            assert_eq!(facts.is_same_version(digest, &recorded), same, "{what}");
        }
    }
}
