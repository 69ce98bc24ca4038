//! What the policies of a host decide: versions, runs, removals, and what must be installed.

use jiff::Timestamp;

use super::{
    candidate::{Candidate, Host},
    gates::{Causes, GateInput},
    guidance::Guidance,
    host_policies::HostPolicies,
    merge::{ACCESS, CHANNEL, MAJOR_UPDATES, MISSING_DEPENDENCIES},
    outcome::Verdict,
};
use crate::{
    decisions::{
        clock,
        intent::Intent,
        reason::{Cause, Reason, Required, Source, Subject},
    },
    records::policy::{Access, MissingDependencies},
    values::{
        name::{Component, PluginName},
        version::Version,
    },
};

impl HostPolicies<'_> {
    /// Evaluates whether this version may be on this host now. The candidate's host is replaced by this one.
    pub fn evaluate(&self, candidate: &Candidate<'_>) -> Verdict {
        let skew = clock::decision_time(candidate.read_time(), candidate.server_time, candidate.intent);
        // A skewed clock stops the agent. The other gates use the earlier time.
        let read_at = skew.unwrap_or_else(|skew| skew.local.min(skew.server));
        let later = candidate.now.duration_since(candidate.read_time());
        let now = read_at.checked_add(later).unwrap_or(Timestamp::MAX);
        let candidate = &Candidate { now, read_at: Some(read_at), host: self.host, ..*candidate };
        let policies = self.for_intent(candidate.intent);
        let rules = policies.rules(candidate.component);
        let subject = || candidate.subject();
        let (mut causes, mut notes) = (Causes::new(&subject).expect(rules.len()), Causes::new(&subject));
        GateInput::new(candidate, &rules, policies).with_skew(skew.err()).evaluate(&mut causes, &mut notes);
        Verdict::of(causes, notes)
    }

    /// Evaluates whether the active version may run. Only `access: Deny` and `block` refuse a run, and nothing
    /// refuses a run of d8 itself.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, component: &Component, active: &Version) -> Result<(), Box<Reason>> {
        self.run_allowed_for(&installed(self.host, component, active))
    }

    /// Does what [`Self::run_allowed`] does where more is known of the active version: its digests and the component's
    /// record, which layers of blocked versions are compared with. The candidate's version is the active one.
    ///
    /// # Errors
    /// As [`Self::run_allowed`].
    pub fn run_allowed_for(&self, active: &Candidate<'_>) -> Result<(), Box<Reason>> {
        if *active.component == Component::D8 {
            return Ok(());
        }
        let candidate = Candidate { host: self.host, active: Some(active.version), stored: None, ..*active };
        let subject = || candidate.subject();
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, &self.rules(candidate.component), self).against_run(&mut causes);
        Verdict::first(causes).map_or(Ok(()), |reason| Err(Box::new(reason)))
    }

    /// Returns why no version of the component may be installed or run.
    pub fn denied(&self, component: &Component) -> Option<Reason> {
        let any = Version::default();
        let candidate = Candidate::new(self.host, component, &any, Intent::Repair, Timestamp::UNIX_EPOCH);
        let subject = || all_versions(component);
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, &self.rules(component), self).against_access(&mut causes);
        Verdict::first(causes)
    }

    /// Evaluates whether the plugin may be removed: not while changes are paused or a policy requires it. A
    /// plugin that is denied may be removed.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn remove_allowed(&self, plugin: &PluginName) -> Result<(), Box<Reason>> {
        let component = Component::Plugin(plugin.clone());
        let any = Version::default();
        let candidate = Candidate::new(self.host, &component, &any, Intent::Explicit, Timestamp::UNIX_EPOCH);
        let subject = || all_versions(&component);
        let mut causes = Causes::new(&subject);
        GateInput::new(&candidate, &self.rules(&component), self).against_removal(&mut causes);
        causes.extend(self.requires(plugin).map(|required| Cause::Required { by: required.by }));
        Verdict::first(causes).map_or(Ok(()), |reason| Err(Box::new(reason)))
    }

    /// Returns the plugins that must be on the host, by name. A plugin that some policy denies is not required.
    pub fn required(&self) -> Vec<Required> {
        self.named_plugins().into_iter().filter_map(|plugin| self.requires(plugin)).collect()
    }

    fn requires(&self, plugin: &PluginName) -> Option<Required> {
        let component = Component::Plugin(plugin.clone());
        let rules = self.rules(&component);
        let access = ACCESS.merge(&rules);
        if access.value != Access::Require || self.local_rules().is_some_and(|local| local.denies(&component)) {
            return None;
        }
        let by = access.sources().next()?;
        Some(Required { plugin: plugin.clone(), by })
    }

    /// Evaluates whether the active version, which is the candidate, may stay: against it are policies that forbid it, a
    /// moved tag, and requirements that are not met or unknown. What delays changes does not concern it.
    pub fn staying(&self, active: &Candidate<'_>) -> Verdict {
        let candidate = Candidate { host: self.host, active: Some(active.version), stored: None, ..*active };
        let policies = self.for_intent(candidate.intent);
        let rules = policies.rules(candidate.component);
        let subject = || candidate.subject();
        let (mut causes, notes) = (Causes::new(&subject), Causes::new(&subject));
        let input = GateInput::new(&candidate, &rules, policies);
        input.against_staying(&mut causes);
        input.about_installed(&mut causes);
        Verdict::of(causes, notes)
    }

    /// Returns what to consider for a component of which this version is active.
    pub fn guidance(&self, component: &Component, active: Option<&Version>) -> Guidance {
        self.guidance_with(component, active.map(|active| installed(self.host, component, active)))
    }

    /// Does what [`Self::guidance`] does where more is known of the active version: its digests and the component's
    /// record, which pins are compared with. The candidate's version is the active one.
    pub fn guidance_for(&self, active: &Candidate<'_>) -> Guidance {
        let candidate = Candidate { host: self.host, active: Some(active.version), stored: None, ..*active };
        self.guidance_with(candidate.component, Some(candidate))
    }

    fn guidance_with(&self, component: &Component, active: Option<Candidate<'_>>) -> Guidance {
        let policies = active.map_or(self, |candidate| self.for_intent(candidate.intent));
        let rules = policies.rules(component);
        let active_forbidden = active.and_then(|candidate| {
            let subject = || candidate.subject();
            let mut causes = Causes::new(&subject);
            GateInput::new(&candidate, &rules, policies).against_staying(&mut causes);
            Verdict::first(causes)
        });
        let (channel, major_updates) = (CHANNEL.merge(&rules).value, MAJOR_UPDATES.merge(&rules).value);
        Guidance { channel, major_updates, active_forbidden }
    }

    /// Returns the field that refuses to install missing plugin dependencies, if one does.
    pub fn missing_dependencies_refused(&self) -> Option<Source> {
        let rules = self.rules(&Component::D8);
        let missing = MISSING_DEPENDENCIES.merge(&rules);
        if missing.value == MissingDependencies::Refuse { missing.sources().next() } else { None }
    }
}

/// Returns the candidate for whether the active version may stay and run. No gate that decides this reads the
/// clock.
fn installed<'a>(host: Host<'a>, component: &'a Component, active: &'a Version) -> Candidate<'a> {
    Candidate::new(host, component, active, Intent::Repair, Timestamp::UNIX_EPOCH).active(Some(active))
}

fn all_versions(component: &Component) -> Subject {
    Subject { component: component.clone(), version: None, active: None, evaluated_at: None }
}
