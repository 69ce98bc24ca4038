//! The policies of one host, asked about many components. Which policies select the host, where it goes
//! first and when the windows open is the same for all of them, and is found out once.

use std::{borrow::Cow, sync::OnceLock};

use jiff::Timestamp;

use crate::{
    decisions::{
        clock,
        intent::Intent,
        validation::{CheckedPolicy, Pattern},
        verdict::{
            Candidate, Host, LocalRules, Verdict,
            gates::View,
            reason::{Origin, Reason, ReasonCode},
            set::{Guidance, Policy, Required},
            speech::{Speech, Standing},
        },
        window::MergedWindows,
    },
    records::policy::{Access, MajorUpdates, MissingDependencies},
    values::{
        channel::Channel,
        name::{Component, PluginName},
        version::Version,
    },
};

/// The policies that speak for one host: made by [`PolicySet::for_host`](super::PolicySet::for_host).
/// Whoever asks once can ask the set.
#[derive(Debug, Clone)]
pub struct HostPolicies<'a> {
    host: Host<'a>,
    /// Valid ones, by name.
    standings: Vec<Standing<'a>>,
    /// The others, which are few.
    broken: Vec<&'a Policy>,
    local_rules: Option<&'a LocalRules>,
    /// Of the first instant that was asked about, which as a rule is the only one.
    openings: OnceLock<Openings>,
}

/// Which windows are open at an instant.
#[derive(Debug, Clone)]
pub(super) struct Openings {
    at: Timestamp,
    /// In the order of the policies; one without windows is open.
    open: Vec<bool>,
    /// How many have windows.
    pub(super) with_windows: usize,
    /// When all are open together; None: not within 400 days.
    pub(super) together: Option<Timestamp>,
}

impl Openings {
    /// Whether the windows of the policy in this place are open.
    pub(super) fn is_open(&self, place: usize) -> bool {
        self.open.get(place).copied().unwrap_or(true)
    }
}

impl<'a> HostPolicies<'a> {
    pub(super) fn new(policies: &'a [Policy], local_rules: Option<&'a LocalRules>, host: Host<'a>) -> Self {
        let mut this = Self { host, standings: Vec::new(), broken: Vec::new(), local_rules, openings: OnceLock::new() };
        for policy in policies.iter().filter(|policy| policy.selects(&host)) {
            match policy {
                Policy::Valid(checked) => this.standings.push(Standing::new(checked, this.standings.len(), &host)),
                Policy::Invalid { .. } | Policy::Unreadable { .. } => this.broken.push(policy),
            }
        }
        this
    }

    /// The names of the policies that speak, invalid ones included, in order.
    pub fn matching(&self) -> Vec<&'a str> {
        let valid = self.valid().map(|policy| policy.name.as_str());
        let mut names: Vec<_> = valid.chain(self.broken.iter().map(|policy| policy.name())).collect();
        names.sort_unstable();
        names
    }

    /// Whether this version may be on this host now. The case is taken to be of this host.
    pub fn judge(&self, case: &Candidate<'_>) -> Verdict {
        let skew = clock::decision_time(case.now, case.server_time, case.intent);
        // A skewed clock stops the agent; what else there is, is told by the smaller of the two times.
        let now = skew.unwrap_or_else(|skew| skew.local.min(skew.server));
        let case = &Candidate { now, host: self.host, ..*case };
        let speeches = self.speeches(case.component);
        let (mut reasons, notes) = View::new(case, &speeches, self).ask();
        reasons.extend(self.stops(case.component, case.intent));
        reasons.extend(skew.err().map(|skew| Reason {
            code: ReasonCode::ClockSkew,
            policy: None,
            rule: None,
            message: skew.to_string(),
            until: None,
        }));
        Verdict::new(reasons).with_notes(notes)
    }

    /// As [`PolicySet::run_allowed`](super::PolicySet::run_allowed).
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn run_allowed(&self, component: &Component, active: &Version) -> Result<(), Reason> {
        if *component == Component::D8 {
            return Ok(());
        }
        let speeches = self.speeches(component);
        let reasons = View::new(&still(self.host, component, active), &speeches, self).ask_for_run();
        first(reasons).map_or(Ok(()), Err)
    }

    /// As [`PolicySet::denied`](super::PolicySet::denied).
    pub fn denied(&self, component: &Component) -> Option<Reason> {
        let speeches = self.speeches(component);
        let any = Version::parse("0.0.0").ok()?;
        first(View::new(&still(self.host, component, &any), &speeches, self).ask_for_access())
    }

    /// As [`PolicySet::remove_allowed`](super::PolicySet::remove_allowed).
    ///
    /// # Errors
    /// The first reason that refuses it.
    pub fn remove_allowed(&self, plugin: &PluginName) -> Result<(), Reason> {
        let mut reasons = self.stops(&Component::Plugin(plugin.clone()), Intent::Explicit);
        for policy in self.valid().filter(|policy| policy.paused) {
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
        if let Some(required) = self.required().into_iter().find(|required| required.plugin == *plugin) {
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
        first(reasons).map_or(Ok(()), Err)
    }

    /// As [`PolicySet::required`](super::PolicySet::required).
    pub fn required(&self) -> Vec<Required> {
        self.named_plugins().into_iter().filter_map(|plugin| self.requires(plugin)).collect()
    }

    /// The plugins that some policy names outright, each once and in order.
    pub(super) fn named_plugins(&self) -> Vec<&'a PluginName> {
        let mut names: Vec<_> = self.valid().flat_map(CheckedPolicy::named_plugins).collect();
        names.sort();
        names.dedup();
        names
    }

    fn requires(&self, plugin: &PluginName) -> Option<Required> {
        let component = Component::Plugin(plugin.clone());
        if self.local_rules.is_some_and(|local_rules| local_rules.denies(&component)) {
            return None;
        }
        let speeches = self.speeches(&component);
        let said: Vec<_> = speeches.iter().filter_map(|s| Some((s, s.access()?))).collect();
        if said.iter().any(|(_, said)| said.value == Access::Deny) {
            return None;
        }
        let (speech, said) = said.into_iter().find(|(_, said)| said.value == Access::Require)?;
        Some(Required { plugin: plugin.clone(), policy: speech.policy.name.clone(), rule: said.origin })
    }

    /// As [`PolicySet::guidance`](super::PolicySet::guidance).
    pub fn guidance(&self, component: &Component, active: Option<&Version>) -> Guidance {
        self.guidance_with(component, active.map(|active| still(self.host, component, active)))
    }

    /// As [`PolicySet::guidance_for`](super::PolicySet::guidance_for).
    pub fn guidance_for(&self, active: &Candidate<'_>) -> Guidance {
        let case = Candidate { host: self.host, active: Some(active.version), stored: None, ..*active };
        self.guidance_with(case.component, Some(case))
    }

    fn guidance_with(&self, component: &Component, active: Option<Candidate<'_>>) -> Guidance {
        let speeches = self.speeches(component);
        let channels: Vec<_> = speeches.iter().filter_map(|s| s.setting(|s| s.channel)).collect();
        let majors: Vec<_> = speeches.iter().filter_map(|s| s.setting(|s| s.major_updates)).collect();
        let all_prerelease = !channels.is_empty() && channels.iter().all(|said| said.value == Channel::Prerelease);
        let all_cross = !majors.is_empty() && majors.iter().all(|said| said.value == MajorUpdates::Cross);
        let leave = active.and_then(|case| first(View::new(&case, &speeches, self).ask_to_leave()));
        Guidance {
            channel: if all_prerelease { Channel::Prerelease } else { Channel::Stable },
            major_updates: if all_cross { MajorUpdates::Cross } else { MajorUpdates::Stay },
            leave,
        }
    }

    /// As [`PolicySet::missing_dependencies`](super::PolicySet::missing_dependencies).
    pub fn missing_dependencies(&self) -> MissingDependencies {
        if self.valid().any(|policy| policy.missing_dependencies == Some(MissingDependencies::Refuse)) {
            MissingDependencies::Refuse
        } else {
            MissingDependencies::Install
        }
    }

    /// At least one policy matches, valid or not, or the host has local rules.
    pub(super) fn is_governed(&self) -> bool {
        self.local_rules.is_some() || !self.standings.is_empty() || !self.broken.is_empty()
    }

    pub(super) fn local_rules(&self) -> Option<&'a LocalRules> {
        self.local_rules
    }

    /// Valid ones, by name.
    pub(super) fn valid(&self) -> impl Iterator<Item = &'a CheckedPolicy> {
        self.standings.iter().map(|standing| standing.policy)
    }

    /// The others, by name.
    pub(super) fn broken(&self) -> impl Iterator<Item = &'a Policy> {
        self.broken.iter().copied()
    }

    /// What each says of plugins that begin alike and that no narrower pattern names.
    pub(super) fn speeches_on_rest(&self, pattern: &Pattern) -> Vec<Speech<'a>> {
        self.standings.iter().map(|standing| Speech::on_rest(*standing, pattern)).collect()
    }

    /// The word of each valid policy, by the policy's name.
    pub(super) fn speeches(&self, component: &Component) -> Vec<Speech<'a>> {
        self.standings.iter().map(|standing| Speech::of(*standing, component)).collect()
    }

    /// Which windows are open.
    pub(super) fn openings(&self, now: Timestamp) -> Cow<'_, Openings> {
        let known = self.openings.get_or_init(|| self.openings_at(now));
        if known.at == now { Cow::Borrowed(known) } else { Cow::Owned(self.openings_at(now)) }
    }

    fn openings_at(&self, at: Timestamp) -> Openings {
        let windows = || self.valid().filter_map(|policy| policy.windows.as_ref());
        Openings {
            at,
            open: self.valid().map(|policy| policy.windows.as_ref().is_none_or(|w| w.open_at(at))).collect(),
            with_windows: windows().count(),
            together: windows().collect::<MergedWindows<'_>>().next_opening(at),
        }
    }

    /// What policies that cannot be read stop.
    fn stops(&self, component: &Component, intent: Intent) -> Vec<Reason> {
        let a_person_updates_d8 = *component == Component::D8 && matches!(intent, Intent::Update | Intent::Explicit);
        let stop = |policy: &&Policy| {
            let why = match policy {
                Policy::Valid(_) => return None,
                Policy::Unreadable { .. } if a_person_updates_d8 => return None,
                // Paused lets the same version come in again; what cannot be read may say anything.
                Policy::Invalid { .. } if intent == Intent::Repair => return None,
                Policy::Unreadable { why, .. } => {
                    format!("this d8 cannot read it ({why}); run `d8 cli update`, or correct the policy")
                }
                Policy::Invalid { rejected, .. } => {
                    let first = rejected.errors.first().map(ToString::to_string).unwrap_or_default();
                    let more = match rejected.errors.len() {
                        0 | 1 => String::new(),
                        count => format!(" (and {} more)", count - 1),
                    };
                    format!("it is invalid and acts as paused; correct {first}{more}")
                }
            };
            let name = policy.name();
            Some(Reason {
                code: ReasonCode::InvalidPolicy,
                policy: Some(name.to_owned()),
                rule: None,
                message: format!("policy {name}: {why}"),
                until: None,
            })
        };
        self.broken.iter().filter_map(stop).collect()
    }
}

/// The strongest of some reasons.
fn first(reasons: Vec<Reason>) -> Option<Reason> {
    Verdict::new(reasons).reasons().first().cloned()
}

/// The question whether what is active may stay and run. No gate that answers it looks at the clock.
fn still<'a>(host: Host<'a>, component: &'a Component, active: &'a Version) -> Candidate<'a> {
    Candidate::new(host, component, active, Intent::Repair, Timestamp::UNIX_EPOCH).active(Some(active))
}
