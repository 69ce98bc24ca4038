//! What a record says of the requirements of a version.

use super::{Findings, Unchecked, Unmet};
use crate::{
    records::release::{Fit, ReleaseVersion},
    values::platform::Platform,
};

impl Findings {
    /// Returns what a record has against a version: requirements that the cluster does not meet, or that the
    /// operator could not check, and a platform that it is not published for. No platform: any will do.
    pub fn recorded(version: &ReleaseVersion, platform: Option<&Platform>) -> Self {
        let mut findings = match version.fit {
            Fit::Fits => Self::default(),
            Fit::Unfit => Self { unmet: Unmet::recorded(&version.reasons), ..Self::default() },
            Fit::Unknown => Self { unchecked: Unchecked::recorded(&version.reasons), ..Self::default() },
        };
        let is_for = |platform: &Platform| {
            let platforms = version.artifacts.iter().map(|artifact| artifact.platform.as_deref());
            version.artifacts.is_empty() || platforms.into_iter().any(|of| of.is_none_or(|of| of == platform.as_str()))
        };
        if let Some(platform) = platform.filter(|platform| !is_for(platform)) {
            findings.unmet.push(Unmet::not_for_platform(platform, version.left_out_for(platform)));
        }
        findings
    }
}
