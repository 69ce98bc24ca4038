//! The policies of one cluster, read once and asked about many versions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use crate::{
    clock,
    name::{Component, PluginName},
    policy::{
        Access, MajorUpdates, MissingDependencies, PluginPolicy,
        checked::{Checked, FieldError, Rejected},
        selector::Selector,
    },
    release::Channel,
    text::printable,
    verdict::{
        Case, Floor, Host, Intent, Judgement,
        gates::View,
        reason::{Origin, Reason, ReasonCode},
        speech::Speech,
    },
    version::Version,
};

/// All policies there are, whichever hosts they select. Their order never matters.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    policies: Vec<Policy>,
    floor: Option<Floor>,
}

#[derive(Debug, Clone)]
enum Policy {
    Valid(Box<Checked>),
    /// Acts as paused for the hosts it selects.
    Invalid {
        name: String,
        rejected: Rejected,
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
    fn name(&self) -> &str {
        match self {
            Self::Valid(checked) => &checked.name,
            Self::Invalid { name, .. } | Self::Unreadable { name, .. } => name,
        }
    }

    fn selects(&self, host: &Host<'_>) -> bool {
        match self {
            Self::Valid(checked) => checked.selector.matches(host.labels),
            Self::Invalid { rejected: Rejected { selector, .. }, .. } | Self::Unreadable { selector, .. } => {
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
        let read_any = |object: &Value| match serde_json::from_value::<PluginPolicy>(object.clone()) {
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
        Self { policies, floor: None }
    }

    /// With the host's own floor: one more policy, of this host alone.
    #[must_use]
    pub fn with_floor(mut self, floor: Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// The names of the policies that speak for the host, invalid ones included, in order.
    pub fn matching<'a>(&'a self, host: &Host<'_>) -> Vec<&'a str> {
        self.selecting(host).map(Policy::name).collect()
    }

    /// Whether this version may be on this host now.
    pub fn judge(&self, case: &Case<'_>) -> Judgement {
        let skew = clock::judging_time(case.now, case.server_time, case.intent);
        // A skewed clock stops the agent; what else there is, is told by the smaller of the two times.
        let now = skew.unwrap_or_else(|skew| skew.local.min(skew.server));
        let case = &Case { now, ..*case };
        let speeches = self.speeches(&case.host, case.component);
        let (mut reasons, notes) = self.view(case, &speeches).ask();
        reasons.extend(self.stops(&case.host, case.component, case.intent));
        reasons.extend(skew.err().map(|skew| Reason {
            code: ReasonCode::ClockSkew,
            policy: None,
            rule: None,
            message: skew.to_string(),
            until: None,
        }));
        Judgement::new(reasons).with_notes(notes)
    }

    /// Whether the active version may run. Only `access: Deny` and `block` refuse a run, and none of
    /// them one of d8 itself.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, host: &Host<'_>, component: &Component, active: &Version) -> Result<(), Reason> {
        if *component == Component::D8 {
            return Ok(());
        }
        let speeches = self.speeches(host, component);
        let reasons = self.view(&still(*host, component, active), &speeches).ask_for_run();
        Judgement::new(reasons).reasons().first().cloned().map_or(Ok(()), Err)
    }

    /// Why no version of the component may be here, nor run.
    pub fn denied(&self, host: &Host<'_>, component: &Component) -> Option<Reason> {
        let speeches = self.speeches(host, component);
        let any = Version::parse("0.0.0").ok()?;
        let reasons = self.view(&still(*host, component, &any), &speeches).ask_for_access();
        Judgement::new(reasons).reasons().first().cloned()
    }

    /// Whether the plugin may be removed: not while changes are stopped, nor while it is required. A
    /// plugin that is denied may.
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn remove_allowed(&self, host: &Host<'_>, plugin: &PluginName) -> Result<(), Reason> {
        let component = Component::Plugin(plugin.clone());
        let mut reasons = self.stops(host, &component, Intent::Explicit);
        for policy in self.valid(host).filter(|policy| policy.paused) {
            reasons.push(Reason {
                code: ReasonCode::Paused,
                policy: Some(policy.name.clone()),
                rule: Some(Origin::Spec("paused")),
                message: format!(
                    "policy {}, paused: changes on this host are stopped until an admin sets it to false; remove \
                     {plugin} then",
                    policy.name
                ),
                until: None,
            });
        }
        for required in self.required(host).into_iter().filter(|required| required.plugin == *plugin) {
            reasons.push(Reason {
                code: ReasonCode::Required,
                message: format!(
                    "policy {}, {}.access: {plugin} is required on this host; ask for another rule to remove it",
                    required.policy, required.rule
                ),
                policy: Some(required.policy),
                rule: Some(required.rule),
                until: None,
            });
        }
        Judgement::new(reasons).reasons().first().cloned().map_or(Ok(()), Err)
    }

    /// The plugins that must be on the host, in order of their names. What some policy denies is not
    /// required.
    pub fn required(&self, host: &Host<'_>) -> Vec<Required> {
        let mut names: Vec<_> = self.valid(host).flat_map(Checked::named_plugins).collect();
        names.sort();
        names.dedup();
        let required = |plugin: &PluginName| {
            let component = Component::Plugin(plugin.clone());
            if self.floor.as_ref().is_some_and(|floor| floor.denies(&component)) {
                return None;
            }
            let speeches = self.speeches(host, &component);
            let said: Vec<_> = speeches.iter().filter_map(|s| Some((s, s.access()?))).collect();
            if said.iter().any(|(_, said)| said.value == Access::Deny) {
                return None;
            }
            let (speech, said) = said.into_iter().find(|(_, said)| said.value == Access::Require)?;
            Some(Required { plugin: plugin.clone(), policy: speech.policy.name.clone(), rule: said.origin })
        };
        names.into_iter().filter_map(required).collect()
    }

    /// What to consider for a component of which this version is active.
    pub fn guidance(&self, host: &Host<'_>, component: &Component, active: Option<&Version>) -> Guidance {
        self.guidance_with(host, component, active.map(|active| still(*host, component, active)))
    }

    /// The same where more is known of what is active: its digests and the component's record, which
    /// pins are compared with. The case's version is the active one.
    pub fn guidance_for(&self, active: &Case<'_>) -> Guidance {
        let case = Case { active: Some(active.version), stored: None, ..*active };
        self.guidance_with(&case.host, case.component, Some(case))
    }

    fn guidance_with(&self, host: &Host<'_>, component: &Component, active: Option<Case<'_>>) -> Guidance {
        let speeches = self.speeches(host, component);
        let channels: Vec<_> = speeches.iter().filter_map(|s| s.setting(|s| s.channel)).collect();
        let majors: Vec<_> = speeches.iter().filter_map(|s| s.setting(|s| s.major_updates)).collect();
        let all_prerelease = !channels.is_empty() && channels.iter().all(|said| said.value == Channel::Prerelease);
        let all_cross = !majors.is_empty() && majors.iter().all(|said| said.value == MajorUpdates::Cross);
        let leave = active
            .and_then(|case| Judgement::new(self.view(&case, &speeches).ask_to_leave()).reasons().first().cloned());
        Guidance {
            channel: if all_prerelease { Channel::Prerelease } else { Channel::Stable },
            major_updates: if all_cross { MajorUpdates::Cross } else { MajorUpdates::Stay },
            leave,
        }
    }

    /// What happens to a plugin dependency that is not on the host; nobody speaks: it is installed.
    pub fn missing_dependencies(&self, host: &Host<'_>) -> MissingDependencies {
        if self.valid(host).any(|policy| policy.missing_dependencies == Some(MissingDependencies::Refuse)) {
            MissingDependencies::Refuse
        } else {
            MissingDependencies::Install
        }
    }

    fn view<'a>(&'a self, case: &'a Case<'a>, speeches: &'a [Speech<'a>]) -> View<'a> {
        let governed = self.floor.is_some() || self.selecting(&case.host).next().is_some();
        View::new(case, speeches, self.floor.as_ref(), governed)
    }

    fn selecting<'a>(&'a self, host: &Host<'_>) -> impl Iterator<Item = &'a Policy> {
        self.policies.iter().filter(|policy| policy.selects(host))
    }

    fn valid<'a>(&'a self, host: &Host<'_>) -> impl Iterator<Item = &'a Checked> {
        self.selecting(host).filter_map(|policy| match policy {
            Policy::Valid(checked) => Some(checked.as_ref()),
            Policy::Invalid { .. } | Policy::Unreadable { .. } => None,
        })
    }

    fn speeches<'a>(&'a self, host: &Host<'_>, component: &Component) -> Vec<Speech<'a>> {
        self.valid(host).map(|policy| Speech::of(policy, component)).collect()
    }

    /// What policies that cannot be read stop.
    fn stops(&self, host: &Host<'_>, component: &Component, intent: Intent) -> Vec<Reason> {
        let a_person_updates_d8 = *component == Component::D8 && matches!(intent, Intent::Update | Intent::Explicit);
        let stop = |policy: &Policy| {
            let (name, why) = match policy {
                Policy::Valid(_) => return None,
                Policy::Unreadable { .. } if a_person_updates_d8 => return None,
                // Paused lets the same version come in again; what cannot be read may say anything.
                Policy::Invalid { .. } if intent == Intent::Repair => return None,
                Policy::Unreadable { name, why, .. } => {
                    (name, format!("this d8 cannot read it ({why}); run `d8 cli update`, or correct the policy"))
                }
                Policy::Invalid { name, rejected } => {
                    let first = rejected.errors.first().map(ToString::to_string).unwrap_or_default();
                    let more = match rejected.errors.len() {
                        0 | 1 => String::new(),
                        count => format!(" (and {} more)", count - 1),
                    };
                    (name, format!("it is invalid and acts as paused; correct {first}{more}"))
                }
            };
            Some(Reason {
                code: ReasonCode::InvalidPolicy,
                policy: Some(name.clone()),
                rule: None,
                message: format!("policy {name}: {why}"),
                until: None,
            })
        };
        // Few are, so it is asked last whom they select.
        let broken = self.policies.iter().filter(|policy| !matches!(policy, Policy::Valid(_)));
        broken.filter(|policy| policy.selects(host)).filter_map(stop).collect()
    }
}

/// The question whether what is active may stay and run. No gate that answers it looks at the clock.
fn still<'a>(host: Host<'a>, component: &'a Component, active: &'a Version) -> Case<'a> {
    Case::new(host, component, active, Intent::Repair, jiff::Timestamp::UNIX_EPOCH).active(Some(active))
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
    match Checked::new(policy) {
        Ok(checked) => match not_accepted(policy) {
            None => Policy::Valid(Box::new(checked)),
            Some(error) => {
                let rejected = Rejected { errors: vec![error], selector: Some(checked.selector) };
                Policy::Invalid { name: checked.name, rejected }
            }
        },
        Err(rejected) => {
            Policy::Invalid { name: printable(&kube::ResourceExt::name_any(policy)).into_owned(), rejected }
        }
    }
}
