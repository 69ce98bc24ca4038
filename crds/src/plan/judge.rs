//! The verdict as the planner asks for it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    name::{Component, PluginName},
    release::{Channel, CliRelease},
    verdict::{Case, Host, Intent, Judgement, PolicySet, Required},
    version::Version,
};

/// One question about one version of one plugin.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
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
pub trait Judge {
    /// Whether this version may be taken now. Asked again, it answers the same.
    fn judge(&self, question: &Question<'_>) -> Judgement;

    /// Which versions of a plugin that is wished for are considered; of one that is only needed by
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

impl<F: Fn(&Question<'_>) -> Judgement> Judge for F {
    fn judge(&self, question: &Question<'_>) -> Judgement {
        self(question)
    }
}

/// The policies of one cluster, for one host at one time.
#[derive(Debug, Clone)]
pub struct Policies<'a> {
    set: &'a PolicySet,
    host: Host<'a>,
    now: Timestamp,
    records: &'a BTreeMap<String, CliRelease>,
    required: BTreeMap<PluginName, Required>,
}

impl<'a> Policies<'a> {
    /// `records` by the component's name.
    pub fn new(set: &'a PolicySet, host: Host<'a>, now: Timestamp, records: &'a BTreeMap<String, CliRelease>) -> Self {
        let required = set.required(&host).into_iter().map(|required| (required.plugin.clone(), required)).collect();
        Self { set, host, now, records, required }
    }
}

impl Judge for Policies<'_> {
    fn judge(&self, question: &Question<'_>) -> Judgement {
        let component = Component::Plugin(question.plugin.clone());
        let case = Case::new(self.host, &component, question.version, question.intent, self.now)
            .active(question.active)
            .release(self.records.get(question.plugin.as_str()))
            .brought_in(question.dependency_of.is_some())
            .unmet(question.unmet);
        self.set.judge(&case)
    }

    fn channel(&self, plugin: &PluginName) -> Channel {
        self.set.guidance(&self.host, &Component::Plugin(plugin.clone()), None).channel
    }

    fn required(&self, plugin: &PluginName) -> Option<Required> {
        self.required.get(plugin).cloned()
    }
}
