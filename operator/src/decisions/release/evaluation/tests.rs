//! One record over time: a registry, a cluster, a spec and a clock.

use d8_crds::{
    records::{
        release::{CliReleaseSpec, ObservedCluster},
        requirements::VersionRequirement,
    },
    values::{channel::Channel, name::Component},
};
use jiff::Timestamp;

use super::{
    super::{
        fixtures::recorded,
        ledger::FirstSync,
        observed::{NOT_PUBLISHED, PollError, VersionError},
        selection::select_versions,
        sightings::ledger_changes,
        spec::SpecError,
    },
    *,
};
use crate::decisions::{conditions::find, retention::RetainedVersions};

mod conditions;
mod history;
mod spec;
mod versions;

struct ReleaseFixture {
    component: Component,
    spec: CliReleaseSpec,
    generation: i64,
    status: CliReleaseStatus,
    observed: Observed,
    retained: RetainedVersions,
    kubernetes: &'static str,
    ledger: ReleaseLedger,
    now: i64,
}

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

impl ReleaseFixture {
    fn new() -> Self {
        Self {
            component: "stronghold".parse().unwrap(),
            spec: CliReleaseSpec::default(),
            generation: 1,
            status: CliReleaseStatus::default(),
            observed: Observed::default(),
            retained: RetainedVersions::default(),
            kubernetes: "v1.33.4",
            ledger: ReleaseLedger::default(),
            now: 1_000_000,
        }
    }

    /// Returns a poll that finds these tags; an entry is `tag`, `tag=bytes` or `tag=bytes@constraint`.
    fn poll(&mut self, entries: &[&str]) -> &mut Self {
        let mut tags = BTreeSet::new();
        for entry in entries {
            let (name, rest) = entry.split_once('=').unwrap_or((entry, entry));
            let (bytes, constraint) = rest.split_once('@').unwrap_or((rest, ""));
            let digest = Digest::of(bytes.as_bytes());
            tags.insert(tag(name));
            self.observed.digests.insert(tag(name), digest.clone());
            let kubernetes = (!constraint.is_empty()).then(|| VersionRequirement { constraint: constraint.into() });
            let artifact = Artifact {
                platform: Some("linux-amd64".into()),
                manifest: digest.to_string(),
                layer: digest.to_string(),
                size_bytes: 1,
            };
            self.observed.facts.insert(
                digest,
                VersionFacts {
                    artifacts: vec![artifact],
                    requirements: Requirements { kubernetes, ..Requirements::default() },
                    created: Some(at(500)),
                    ..VersionFacts::default()
                },
            );
        }
        self.observed.set_tags(tags);
        self.observed.last_sync = Some(at(self.now));
        self.observed.poll_error = None;
        self
    }

    fn fail_poll(&mut self, reason: &str) -> &mut Self {
        self.observed.set_poll_error(PollError { reason: reason.into(), message: "502".into() });
        self
    }

    /// Evaluates the record and writes ledger and status, as the reconciler does.
    fn evaluate(&mut self) -> ReleaseEvaluation {
        let spec = CheckedSpec::read(&self.spec);
        let cluster = ObservedCluster { kubernetes: Some(self.kubernetes.to_owned()), ..ObservedCluster::default() };
        let kubernetes = Version::parse(self.kubernetes).unwrap();
        let check = |requirements: &Requirements| match &requirements.kubernetes {
            Some(v) if !d8_crds::values::constraint::Constraint::parse(&v.constraint).unwrap().matches(&kubernetes) => {
                (Fit::Unfit, vec![format!("requires Kubernetes {}, the cluster runs {kubernetes}", v.constraint)])
            }
            _ => (Fit::Fits, vec![]),
        };
        let selected = spec.as_ref().map_or_else(
            |_| SelectedVersions::default(),
            |spec| select_versions(&self.component, &self.observed.published(), spec, &self.retained),
        );
        let inputs = ReleaseInputs {
            component: &self.component,
            generation: self.generation,
            spec: spec.as_ref().map(|spec| (spec, &selected)),
            previous: &self.status,
            observed: &self.observed,
            retained: &self.retained,
            cluster: &cluster,
            check: &check,
            now: at(self.now),
        };
        self.ledger.apply(ledger_changes(&inputs, &self.ledger));
        let evaluation = evaluate(&inputs, &self.ledger);
        self.status = evaluation.status.clone();
        evaluation
    }

    fn wait(&mut self, seconds: i64) -> &mut Self {
        self.now += seconds;
        self
    }

    /// Restarts the operator: it then knows what the record shows.
    fn restart(&mut self) -> &mut Self {
        self.observed = Observed::from_status(&self.status, true);
        self
    }

    fn version(&self, name: &str) -> &ReleaseVersion {
        self.status.versions.iter().find(|v| v.version == name).unwrap_or_else(|| panic!("{name} is not recorded"))
    }

    fn names(&self) -> String {
        self.status.versions.iter().map(|v| v.version.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn condition(&self, kind: &str) -> String {
        find(&self.status.conditions, kind).map_or_else(String::new, |(truth, reason)| format!("{truth}/{reason}"))
    }

    fn first_seen(&self, name: &str) -> i64 {
        self.version(name).first_seen.as_ref().unwrap().0.as_second()
    }
}
