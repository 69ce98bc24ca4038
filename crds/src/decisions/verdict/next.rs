//! What a host takes next if nothing else changes (`docs/policies.md`, rule 23).

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{candidate::Candidate, host_policies::HostPolicies, outcome::Verdict};
use crate::{
    decisions::{intent::Intent, reason::Reason},
    values::version::Version,
};

/// A version that a host will take, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NextVersion {
    /// The newest version that is eligible then.
    #[serde(serialize_with = "shown")]
    pub version: Version,
    /// When: the time of the candidates, or a later whole second.
    pub at: Timestamp,
}

impl NextVersion {
    /// Returns the same for a host that a wave reaches at another time.
    pub(crate) fn for_times(&self, translate: impl Fn(Timestamp) -> Timestamp) -> Self {
        Self { at: translate(self.at), ..self.clone() }
    }
}

impl HostPolicies<'_> {
    /// Returns the version that the agent will install first, if nothing changes but the time: the newest of the
    /// candidates that are eligible and newer than the active version, at the first instant at which there is one.
    /// `None`: time alone makes none of them eligible.
    ///
    /// The candidates are versions of one component at one time; their intent does not matter. The policies and the
    /// record count as being as recent then as they are now.
    pub fn next(&self, candidates: &[Candidate<'_>]) -> Option<NextVersion> {
        let is_newer = |candidate: &&Candidate<'_>| candidate.active.is_none_or(|active| candidate.version > active);
        let newer = candidates.iter().filter(is_newer);
        let mut waiting: Vec<Candidate<'_>> =
            newer.map(|c| Candidate { intent: Intent::Agent, ..c.read_now() }).collect();
        waiting.sort_by(|a, b| b.version.cmp(a.version));
        let mut at = waiting.first()?.now;
        loop {
            let mut ends = Vec::new();
            for candidate in std::mem::take(&mut waiting) {
                let verdict = self.evaluate(&Candidate { now: at, ..candidate });
                if verdict.is_eligible() {
                    return Some(NextVersion { version: candidate.version.clone(), at });
                }
                if let Some(first) = first_end(&verdict) {
                    ends.push(first);
                    waiting.push(candidate);
                }
            }
            at = ends.into_iter().min().filter(|end| *end > at)?;
        }
    }
}

impl HostPolicies<'_> {
    /// Evaluates whether the version may be on this host at a later time. The policies and the record count as being as
    /// recent then as they are now.
    pub fn evaluate_at(&self, candidate: &Candidate<'_>, at: Timestamp) -> Verdict {
        self.evaluate(&Candidate { now: at, ..candidate.read_now() })
    }
}

/// Returns when the first of the holds ends; `None`: one of the reasons has no end.
fn first_end(verdict: &Verdict) -> Option<Timestamp> {
    let ends: Option<Vec<_>> = verdict.reasons().iter().map(Reason::until).collect();
    ends?.into_iter().min()
}

fn shown<S: Serializer>(version: &Version, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(version)
}
