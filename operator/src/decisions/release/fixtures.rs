//! Records and artifacts for tests.

use d8_crds::{
    records::{
        release::{Artifact, Fit, ReleaseVersion},
        requirements::Requirements,
    },
    values::digest::Digest,
};

/// Returns a recorded version whose digest is the hash of its name.
pub(super) fn recorded(version: &str, fit: Fit) -> ReleaseVersion {
    ReleaseVersion {
        version: version.to_owned(),
        digest: Digest::of(version.as_bytes()).to_string(),
        first_seen: None,
        fit,
        reasons: vec![],
        artifacts: vec![],
        left_out: vec![],
        requirements: Requirements::default(),
        description: None,
        env: vec![],
        flags: vec![],
        moved: None,
        withdrawn: None,
    }
}

/// Returns an artifact whose manifest is the hash of `bytes`.
pub(super) fn artifact(platform: Option<&str>, bytes: &[u8]) -> Artifact {
    Artifact {
        platform: platform.map(str::to_owned),
        manifest: Digest::of(bytes).to_string(),
        layer: Digest::of(&[bytes, b" layer"].concat()).to_string(),
        size_bytes: 1,
    }
}
