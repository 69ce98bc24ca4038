//! One host under one set of policies.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{HostFacts, HostImpact};
use crate::{
    decisions::{
        intent::Intent,
        plan::{
            self, Actor, Contract, Dependencies, Knowledge, MissingPolicy, Need, Options, Outcome, Request, Snapshot,
            Step, StoredDigests,
        },
        requirements::Findings,
        selection::{self, Installed, Limits, Selection, TagList},
        verdict::{Candidate, Class, Host, HostPolicies, PolicySet, Reason, Verdict},
    },
    records::{
        policy::{MajorUpdates, MissingDependencies},
        release::{CliRelease, Fit, ReleaseVersion},
    },
    values::{
        name::{Component, PluginName},
        platform::Platform,
        version::Version,
    },
};

/// What records offer for one platform.
#[derive(Debug, Default)]
pub(super) struct RecordedVersions {
    plugins: Knowledge,
    d8: Option<TagList>,
}

impl RecordedVersions {
    pub(super) fn read(records: &BTreeMap<String, CliRelease>, platform: Option<&Platform>) -> Self {
        let mut published = Self::default();
        for (name, record) in records {
            let Ok(component) = name.parse::<Component>() else { continue };
            let versions = || record.status.iter().flat_map(|status| &status.versions);
            let there: BTreeMap<&str, &ReleaseVersion> =
                versions().filter(|v| v.withdrawn.is_none()).map(|v| (v.version.as_str(), v)).collect();
            let mut listing = selection::read_tags(&component, there.keys().copied(), platform);
            listing.settle(|tag| there.get(tag.as_str())?.digest.parse().ok());
            let Component::Plugin(name) = component else {
                published.d8 = Some(listing);
                continue;
            };
            for one in &listing.published {
                let Some(version) = there.get(one.registry_tag.as_str()) else { continue };
                let dependencies = Dependencies::read(&version.requirements.plugins).map_err(|error| error.to_string());
                let offer = dependencies
                    .map(|dependencies| plan::VersionFacts { findings: unmet(version, platform), dependencies });
                published.plugins.learn_offer(name.clone(), one.version.clone(), offer);
            }
            published.plugins.learn_tags(name, Ok(listing));
        }
        published
    }
}

/// What the record says against a version on this platform. What is not known counts as not met.
fn unmet(version: &ReleaseVersion, platform: Option<&Platform>) -> Findings {
    let mut findings = Findings::default();
    if version.fit != Fit::Fits {
        findings.unmet.clone_from(&version.reasons);
        if findings.unmet.is_empty() {
            findings.unmet.push("does not fit the cluster, and the record gives no reason".to_owned());
        }
    }
    let is_for = |of: &str| version.artifacts.iter().any(|a| a.platform.as_deref().is_none_or(|p| p == of));
    if let Some(platform) = platform.filter(|p| !version.artifacts.is_empty() && !is_for(p.as_str())) {
        findings.unmet.push(format!("is not published for {platform}"));
    }
    findings
}

/// Who looks, and at what.
pub(super) struct HostPreview<'a> {
    pub(super) machine: &'a HostFacts,
    pub(super) records: &'a BTreeMap<String, CliRelease>,
    pub(super) published: &'a mut RecordedVersions,
    pub(super) now: Timestamp,
}

impl HostPreview<'_> {
    /// Where these policies lead what is there and what must be there.
    pub(super) fn evaluate(&mut self, set: &PolicySet) -> BTreeMap<Component, HostImpact> {
        let machine = self.machine;
        let host = Host { id: &machine.id, labels: &machine.labels, new_root: machine.new_root };
        let policies = set.for_host(host);
        let mut outlooks = self.plugins(set, &policies, host);
        if let Some(outlook) = self.d8(&policies, host) {
            outlooks.insert(Component::D8, outlook);
        }
        outlooks
    }

    fn plugins(
        &mut self,
        set: &PolicySet,
        policies: &HostPolicies<'_>,
        host: Host<'_>,
    ) -> BTreeMap<Component, HostImpact> {
        let snapshot = self.snapshot(policies);
        let (now, records) = (self.now, self.records);
        let on_disk = self.plugins_here().map(|(name, active)| {
            (name.clone(), StoredDigests { active: active.digests.clone(), ..StoredDigests::default() })
        });
        let on_disk = on_disk.collect();
        let judge = plan::PolicyEvaluator::new(set, host, now, records).by_server(None, Some(now)).on_disk(&on_disk);
        let plan = loop {
            match plan::plan(&snapshot, &self.published.plugins, &judge) {
                Step::Done(plan) => break plan,
                Step::Need(needs) => needs.into_iter().for_each(|need| self.do_without(need)),
            }
        };
        let outlook = |(name, outcome): (PluginName, Outcome)| {
            let taken = match &outcome {
                Outcome::Take { version, .. } => Some(version.version.clone()),
                _ => None,
            };
            let passed_over: Vec<_> = outcome.passed_over().iter().map(|(p, j)| (&p.version, j)).collect();
            let component = Component::Plugin(name);
            let outlook = self.sum_up(policies, host, &component, taken, &passed_over);
            (component, outlook)
        };
        plan.outcomes.into_iter().map(outlook).collect()
    }

    fn plugins_here(&self) -> impl Iterator<Item = (&PluginName, &super::Active)> {
        self.machine.active.iter().filter_map(|(component, active)| match component {
            Component::Plugin(name) => Some((name, active)),
            Component::D8 => None,
        })
    }

    /// What is there, and the wish that all of it and all that is required be as new as may be.
    fn snapshot(&self, policies: &HostPolicies<'_>) -> Snapshot {
        let installed = self.plugins_here().map(|(name, active)| {
            let recorded =
                active.version.as_ref().and_then(|version| self.records.get(name.as_str())?.recorded(version));
            let contract = match recorded.map(|recorded| Dependencies::read(&recorded.requirements.plugins)) {
                Some(Err(error)) => Contract::Unreadable(error.to_string()),
                Some(Ok(dependencies)) => Contract::Known(dependencies),
                None => Contract::Known(Dependencies::default()),
            };
            (name.clone(), plan::Installed { version: active.version.clone(), contract })
        });
        let required = policies.required().into_iter().map(|required| required.plugin);
        let wish = |name: PluginName| {
            let component = Component::Plugin(name.clone());
            let crosses = policies.guidance(&component, None).major_updates == MajorUpdates::Cross;
            (name, if crosses { Request::NewestOfAll } else { Request::Newest })
        };
        let missing = match policies.missing_dependencies() {
            MissingDependencies::Install => MissingPolicy::Install,
            MissingDependencies::Refuse => MissingPolicy::Refuse { policy: policies.matching().join(", ") },
        };
        let actor = if self.machine.managed { Actor::Agent } else { Actor::Person };
        Snapshot {
            installed: installed.collect(),
            requests: self.plugins_here().map(|(name, _)| name.clone()).chain(required).map(wish).collect(),
            options: Options { actor, missing, ..Options::default() },
        }
    }

    /// Nothing is published of what has no record.
    fn do_without(&mut self, need: Need) {
        match need {
            Need::Tags(name) => {
                let none = selection::read_tags(&Component::Plugin(name.clone()), [""; 0], None);
                self.published.plugins.learn_tags(name, Ok(none));
            }
            Need::Contract { name, published } => {
                let error = Err("the record does not have it".to_owned());
                self.published.plugins.learn_offer(name, published.version, error);
            }
        }
    }

    fn d8(&self, policies: &HostPolicies<'_>, host: Host<'_>) -> Option<HostImpact> {
        let active = self.machine.active.get(&Component::D8)?.version.as_ref()?;
        let record = self.records.get(Component::D8_NAME);
        let still = self.case(host, &Component::D8, active);
        let guidance = policies.guidance_for(&still);
        let nothing = selection::read_tags(&Component::D8, [""; 0], None);
        let listing = self.published.d8.as_ref().unwrap_or(&nothing);
        let choose = |limits: Limits| {
            selection::choose(listing, Installed::Version(active), limits, |published| {
                let recorded = record.and_then(|record| record.recorded(&published.version));
                let unmet = recorded.map(|version| unmet(version, self.machine.platform.as_ref()).unmet);
                let unmet = unmet.unwrap_or_default();
                let judgement = policies.judge(&Candidate { version: &published.version, ..still }.unmet(&unmet));
                if judgement.is_eligible() { Ok(()) } else { Err(judgement) }
            })
        };
        let taken = |choice: &Selection<_>| match choice {
            Selection::Install { version, .. } => Some(version.version.clone()),
            Selection::AlreadyActive { .. } | Selection::Keep { .. } | Selection::Nothing { .. } => None,
        };
        let mut choice = None;
        for limits in guidance.searches(Some(active)) {
            let found = choice.insert(choose(limits));
            if taken(found).is_some() {
                break;
            }
        }
        let choice = choice?;
        let passed_over: Vec<_> = choice.passed_over().iter().map(|(p, j)| (&p.version, j)).collect();
        Some(self.sum_up(policies, host, &Component::D8, taken(&choice), &passed_over))
    }

    /// The question about what is active, by whoever acts on the host.
    fn case<'c>(&'c self, host: Host<'c>, component: &'c Component, active: &'c Version) -> Candidate<'c> {
        let intent = if self.machine.managed { Intent::Agent } else { Intent::Update };
        let digests = self.machine.active.get(component).map(|active| active.digests.as_slice());
        Candidate::new(host, component, active, intent, self.now)
            .active(Some(active))
            .active_digests(digests.unwrap_or_default())
            .confirmed(Some(self.now))
            .release(self.records.get(component.name()))
    }

    /// From what would be taken now and what was passed over for it, newest first.
    fn sum_up(
        &self,
        policies: &HostPolicies<'_>,
        host: Host<'_>,
        component: &Component,
        taken: Option<Version>,
        passed_over: &[(&Version, &Verdict)],
    ) -> HostImpact {
        let active = self.machine.active.get(component).and_then(|active| active.version.clone());
        let leave = active.as_ref().and_then(|active| policies.guidance_for(&self.case(host, component, active)).leave);
        let runs = active.as_ref().is_none_or(|active| policies.run_allowed(component, active).is_ok());
        let of = |judgement: &Verdict| judgement.leading().cloned();
        let held = passed_over.iter().find(|(_, judgement)| judgement.class() == Class::Held);
        let newest: Option<Reason> = passed_over.first().and_then(|(_, judgement)| of(judgement));
        let (verdict, target, reason) = match (leave, taken, held) {
            (Some(leave), taken, _) => (Class::Forbidden, taken, Some(leave)),
            (None, Some(taken), _) => (Class::Eligible, Some(taken), None),
            (None, None, Some((version, judgement))) => (Class::Held, Some((*version).clone()), of(judgement)),
            (None, None, None) if active.is_some() => (Class::Eligible, active, newest),
            // It must be there, and nothing can be.
            (None, None, None) => (passed_over.first().map_or(Class::Unfit, |(_, j)| j.class()), None, newest),
        };
        HostImpact { verdict, target, runs, reason }
    }
}
