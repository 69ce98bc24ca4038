//! The policies of one cluster, read once and asked about many versions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::{
    decisions::{
        validation::{CheckedPolicy, Rejection, selector::Selector},
        verdict::{
            Candidate, Host, HostPolicies, LocalRules, Verdict,
            reason::{Origin, Reason},
        },
    },
    records::policy::{MajorUpdates, MissingDependencies, PluginPolicy},
    values::{
        channel::Channel,
        field_error::FieldError,
        name::{Component, PluginName},
        text::printable,
        version::Version,
    },
};

/// All policies there are, whichever hosts they select. Their order never matters.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    local_rules: Option<LocalRules>,
}

#[derive(Debug, Clone)]
pub(super) enum Policy {
    Valid(Box<CheckedPolicy>),
    /// Acts as paused for the hosts it selects.
    Invalid {
        name: String,
        rejected: Rejection,
    },
    /// Its shape is not known here: holds everything on the hosts it selects but an update of d8 by a
    /// person.
    Unreadable {
        name: String,
        why: String,
        /// Absent where not even that could be read: every host.
        selector: Option<Selector>,
    },
}

impl Policy {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Valid(checked) => &checked.name,
            Self::Invalid { name, .. } | Self::Unreadable { name, .. } => name,
        }
    }

    pub(super) fn selects(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Valid(checked) => checked.selector.matches(host.labels),
            Self::Invalid { rejected: Rejection { selector, .. }, .. } | Self::Unreadable { selector, .. } => {
                selector.as_ref().is_none_or(|selector| selector.matches(host.labels))
            }
        }
    }
}

/// What the choice of a version needs to know of the policies before it judges the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guidance {
    /// Which versions to consider where nobody names one. Nobody speaks: stable ones.
    pub channel: Channel,
    /// Whether another major version is to be considered. Nobody speaks: not.
    pub major_updates: MajorUpdates,
    /// Why the installed version must be left, for an older one too, or for another major.
    pub leave: Option<Reason>,
}

/// A plugin that must be on a host, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required {
    /// The plugin.
    pub plugin: PluginName,
    /// The first policy by name that requires it.
    pub policy: String,
    /// Where in its spec.
    pub rule: Origin,
}

impl PolicySet {
    /// From policies as records.
    pub fn new(policies: &[PluginPolicy]) -> Self {
        Self::of(policies.iter().map(read).collect())
    }

    /// From policies as JSON objects, some of which may be of a schema that is not known here.
    pub fn from_json<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let read_any = |object: &Value| match serde_json::from_value::<PluginPolicy>(tolerated(object)) {
            Ok(policy) => read(&policy),
            Err(error) => {
                let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name");
                Policy::Unreadable {
                    name: printable(name).into_owned(),
                    why: printable(&error.to_string()).into_owned(),
                    selector: object.pointer("/spec/hostSelector").and_then(Selector::from_json),
                }
            }
        };
        Self::of(objects.into_iter().map(read_any).collect())
    }

    fn of(mut policies: Vec<Policy>) -> Self {
        policies.sort_by(|a, b| a.name().cmp(b.name()));
        Self { policies, local_rules: None }
    }

    /// One policy as it speaks to the host that comes last in its waves: whatever hosts it selects, to one
    /// that is no canary, and as if the operator had just seen it. For asking what a policy leads to
    /// without a host.
    #[must_use]
    pub fn to_the_last_host(mut policy: CheckedPolicy) -> Self {
        policy.selector = Selector::default();
        policy.generation_lag = None;
        if let Some(rollout) = &mut policy.rollout {
            rollout.canaries = None;
        }
        Self::of(vec![Policy::Valid(Box::new(policy))])
    }

    /// With the host's own rules: one more policy, of this host alone.
    #[must_use]
    pub fn with_local_rules(mut self, local_rules: LocalRules) -> Self {
        self.local_rules = Some(local_rules);
        self
    }

    /// Those that speak for a host, to be asked about many components.
    pub fn for_host<'a>(&'a self, host: Host<'a>) -> HostPolicies<'a> {
        HostPolicies::new(&self.policies, self.local_rules.as_ref(), host)
    }

    /// The names of the policies that speak for the host, invalid ones included, in order.
    pub fn matching<'a>(&'a self, host: &Host<'_>) -> Vec<&'a str> {
        self.policies.iter().filter(|policy| policy.selects(host)).map(Policy::name).collect()
    }

    /// Whether this version may be on this host now.
    pub fn judge(&self, case: &Candidate<'_>) -> Verdict {
        self.for_host(case.host).judge(case)
    }

    /// Whether the active version may run. Only `access: Deny` and `block` refuse a run, and none of
    /// them one of d8 itself.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, host: &Host<'_>, component: &Component, active: &Version) -> Result<(), Reason> {
        self.for_host(*host).run_allowed(component, active)
    }

    /// Why no version of the component may be here, nor run.
    pub fn denied(&self, host: &Host<'_>, component: &Component) -> Option<Reason> {
        self.for_host(*host).denied(component)
    }

    /// Whether the plugin may be removed: not while changes are stopped, nor while it is required. A
    /// plugin that is denied may.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn remove_allowed(&self, host: &Host<'_>, plugin: &PluginName) -> Result<(), Reason> {
        self.for_host(*host).remove_allowed(plugin)
    }

    /// The plugins that must be on the host, in order of their names. What some policy denies is not
    /// required.
    pub fn required(&self, host: &Host<'_>) -> Vec<Required> {
        self.for_host(*host).required()
    }

    /// What to consider for a component of which this version is active.
    pub fn guidance(&self, host: &Host<'_>, component: &Component, active: Option<&Version>) -> Guidance {
        self.for_host(*host).guidance(component, active)
    }

    /// The same where more is known of what is active: its digests and the component's record, which
    /// pins are compared with. The case's version is the active one.
    pub fn guidance_for(&self, active: &Candidate<'_>) -> Guidance {
        self.for_host(active.host).guidance_for(active)
    }

    /// What happens to a plugin dependency that is not on the host; nobody speaks: it is installed.
    pub fn missing_dependencies(&self, host: &Host<'_>) -> MissingDependencies {
        self.for_host(*host).missing_dependencies()
    }
}

/// What does not change what a policy says: a field that is null is one that nobody sets, and a condition
/// counts without the time it began.
fn tolerated(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(spec) = object.get_mut("spec") {
        without_nulls(spec);
    }
    let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        let began = condition.entry("lastTransitionTime").or_insert(Value::Null);
        if began.is_null() {
            *began = Value::String("1970-01-01T00:00:00Z".to_owned());
        }
    }
    object
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(entries) => entries.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The operator may know a rule that this program does not: what it does not accept, as it is written
/// now, is invalid here too.
fn not_accepted(policy: &PluginPolicy) -> Option<FieldError> {
    let refused = |condition: &&Condition| {
        let current = condition.observed_generation.is_none_or(|seen| Some(seen) == policy.metadata.generation);
        condition.type_ == "Accepted" && condition.status == "False" && current
    };
    let condition = policy.status.as_ref()?.conditions.iter().find(refused)?;
    let why = printable(&condition.message).into_owned();
    Some(FieldError { field: "what the operator does not accept".to_owned(), why })
}

fn read(policy: &PluginPolicy) -> Policy {
    match CheckedPolicy::new(policy) {
        Ok(checked) => match not_accepted(policy) {
            None => Policy::Valid(Box::new(checked)),
            Some(error) => {
                let rejected = Rejection { errors: vec![error], selector: Some(checked.selector) };
                Policy::Invalid { name: checked.name, rejected }
            }
        },
        Err(rejected) => {
            Policy::Invalid { name: printable(&kube::ResourceExt::name_any(policy)).into_owned(), rejected }
        }
    }
}
