//! The verdict as the planner asks for it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    decisions::{
        intent::Intent,
        verdict::{Candidate, Host, HostPolicies, PolicySet, Required, Verdict},
    },
    records::release::CliRelease,
    values::{
        channel::Channel,
        digest::Digest,
        name::{Component, PluginName},
        version::Version,
    },
};

/// One question about one version of one plugin.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationRequest<'a> {
    /// The plugin.
    pub plugin: &'a PluginName,
    /// The version in question.
    pub version: &'a Version,
    /// Who wants it, and how outright.
    pub intent: Intent,
    /// The version that was active before the plan.
    pub active: Option<&'a Version>,
    /// The cluster's requirements that are not met, a sentence each; those on plugins are the planner's.
    pub unmet: &'a [String],
    /// What needs it and has been judged eligible itself; a dependency that a change brings in rides on
    /// the wave of that.
    pub dependency_of: Option<(&'a PluginName, &'a Version)>,
}

/// Who gives the verdict.
pub trait Evaluator {
    /// Whether this version may be taken now. Asked again, it answers the same.
    fn judge(&self, question: &EvaluationRequest<'_>) -> Verdict;

    /// Which versions of a plugin that is requested for are considered; of one that is only needed by
    /// another, the stable ones are.
    fn channel(&self, plugin: &PluginName) -> Channel {
        let _ = plugin;
        Channel::Stable
    }

    /// The policy that requires the plugin on this host, if one does.
    fn required(&self, plugin: &PluginName) -> Option<Required> {
        let _ = plugin;
        None
    }
}

impl<F: Fn(&EvaluationRequest<'_>) -> Verdict> Evaluator for F {
    fn judge(&self, question: &EvaluationRequest<'_>) -> Verdict {
        self(question)
    }
}

/// What a store has of one plugin.
#[derive(Debug, Clone, Default)]
pub struct StoredDigests {
    /// The digests of what is active, as its receipt has them: of its layer, its manifest. Empty: not
    /// known.
    pub active: Vec<Digest>,
    /// The versions that were active here once and are whole, with their digests.
    pub stored: BTreeMap<Version, Vec<Digest>>,
}

/// The policies of one cluster, for one host at one time. What is known beside them is added by name.
#[derive(Debug, Clone)]
pub struct PolicyEvaluator<'a> {
    asked: HostPolicies<'a>,
    host: Host<'a>,
    now: Timestamp,
    server_time: Option<Timestamp>,
    confirmed: Option<Timestamp>,
    records: &'a BTreeMap<String, CliRelease>,
    on_disk: Option<&'a BTreeMap<PluginName, StoredDigests>>,
    required: BTreeMap<PluginName, Required>,
}

impl<'a> PolicyEvaluator<'a> {
    /// `records` by the component's name; `now` by the local clock.
    pub fn new(set: &'a PolicySet, host: Host<'a>, now: Timestamp, records: &'a BTreeMap<String, CliRelease>) -> Self {
        let asked = set.for_host(host);
        let required = asked.required().into_iter().map(|required| (required.plugin.clone(), required)).collect();
        Self { asked, host, now, server_time: None, confirmed: None, records, on_disk: None, required }
    }

    /// The API server's time, by which the local clock is checked, and when it last confirmed the policies.
    #[must_use]
    pub fn by_server(mut self, time: Option<Timestamp>, confirmed: Option<Timestamp>) -> Self {
        self.server_time = time;
        self.confirmed = confirmed;
        self
    }

    /// What the host's store has.
    #[must_use]
    pub fn on_disk(mut self, on_disk: &'a BTreeMap<PluginName, StoredDigests>) -> Self {
        self.on_disk = Some(on_disk);
        self
    }
}

impl Evaluator for PolicyEvaluator<'_> {
    fn judge(&self, question: &EvaluationRequest<'_>) -> Verdict {
        let component = Component::Plugin(question.plugin.clone());
        let mut case = Candidate::new(self.host, &component, question.version, question.intent, self.now)
            .server_time(self.server_time)
            .confirmed(self.confirmed)
            .active(question.active)
            .release(self.records.get(question.plugin.as_str()))
            .brought_in(question.dependency_of.is_some())
            .unmet(question.unmet);
        if let Some(on_disk) = self.on_disk.and_then(|all| all.get(question.plugin)) {
            case = case.active_digests(&on_disk.active);
            if let Some(digests) = on_disk.stored.get(question.version) {
                case = case.stored(digests);
            }
        }
        self.asked.judge(&case)
    }

    fn channel(&self, plugin: &PluginName) -> Channel {
        self.asked.guidance(&Component::Plugin(plugin.clone()), None).channel
    }

    fn required(&self, plugin: &PluginName) -> Option<Required> {
        self.required.get(plugin).cloned()
    }
}
