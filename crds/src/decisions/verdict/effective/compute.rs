//! Computes the effective policy of a host.

use std::collections::BTreeSet;

use super::{
    Attributed, BlackoutSpan, Effective, EffectiveComponent, FieldSource, MergedField, PinnedDigest, PolicyInEffect,
    RecordSettings, RolloutSettings,
};
use crate::{
    decisions::{
        explain,
        reason::{Field, Origin, Source},
        validation::{CheckedPolicy, CheckedRule, CheckedSubjects, Pattern, Reach},
        verdict::{
            applicable::ApplicableRule,
            host_policies::HostPolicies,
            local_rules::LocalRules,
            merge::{
                ACCESS, CHANNEL, MAJOR_UPDATES, MIN_AGE, MISSING_DEPENDENCIES, MOVED_TAGS, PAUSED, PolicyField, UPDATES,
            },
        },
        wave::CanaryShare,
        window::CheckedBlackout,
    },
    records::policy::{Access, RequireSucceeded, Window, WindowsFor},
    values::{
        channel::Channel,
        duration,
        name::{Component, PluginName},
        text::printable,
        version::Version,
    },
};

/// Components that one entry is about.
enum Scope {
    One(Component),
    /// Plugins whose names have this prefix and that no entry names and no longer prefix matches.
    Prefix(String),
}

impl HostPolicies<'_> {
    /// Computes what the policies set: for d8, for every plugin and every prefix that a policy or the host's
    /// own rules name, for `plugins`, and for any other plugin.
    pub fn effective(&self, plugins: &[PluginName]) -> Effective {
        let scopes = std::iter::once(Scope::One(Component::D8))
            .chain(self.plugins(plugins).into_iter().map(|plugin| Scope::One(Component::Plugin(plugin))))
            .chain(self.prefixes().into_iter().filter(|prefix| !prefix.is_empty()).map(Scope::Prefix))
            .chain(std::iter::once(Scope::Prefix(String::new())));
        // Fields of the spec itself are the same for every component.
        let rules = self.rules(&Component::D8);
        let mut paused = merged(&PAUSED, &rules);
        paused.from.extend(self.broken().map(|policy| FieldSource { policy: policy.name.to_string(), field: None }));
        paused.from.sort();
        paused.value = !paused.from.is_empty();
        Effective {
            policies: self.in_effect(),
            paused,
            missing_dependencies: merged(&MISSING_DEPENDENCIES, &rules),
            moved_tags: merged(&MOVED_TAGS, &rules),
            windows: windows(&rules),
            blackouts: blackouts(&rules),
            windows_for: windows_for(&rules),
            rollouts: rollouts(&rules),
            components: scopes.map(|scope| self.component(&scope)).collect(),
        }
    }

    fn plugins(&self, listed: &[PluginName]) -> BTreeSet<PluginName> {
        let expedited = self.emergencies().flat_map(CheckedPolicy::named_plugins);
        let named = self.named_plugins().into_iter().chain(expedited).cloned();
        let local = self.local_rules().into_iter().flat_map(|local| local.named_plugins().cloned());
        named.chain(local).chain(listed.iter().cloned()).collect()
    }

    fn prefixes(&self) -> BTreeSet<String> {
        let patterns =
            self.valid().chain(self.emergencies()).flat_map(|policy| &policy.rules).flat_map(|rule| &rule.plugins);
        let local = self.local_rules().into_iter().flat_map(LocalRules::refused);
        let prefixes = patterns.chain(local).filter_map(|pattern| match pattern {
            Pattern::Prefix(prefix) => Some(prefix.clone()),
            Pattern::Name(_) => None,
        });
        prefixes.collect()
    }

    fn in_effect(&self) -> Vec<PolicyInEffect> {
        let restricted = |subjects: &CheckedSubjects| subjects.reach(self.host.person) == Reach::Restrictions;
        let valid = self.valid().chain(self.emergencies()).map(|policy| PolicyInEffect {
            name: policy.name.to_string(),
            subjects: policy.subjects.to_record(),
            restrictions_only: restricted(&policy.subjects),
            valid: true,
            emergency_until: policy.emergency,
            why: None,
        });
        let broken = self.broken().map(|policy| PolicyInEffect {
            name: policy.name.to_string(),
            subjects: policy.subjects.to_record(),
            restrictions_only: false,
            valid: false,
            emergency_until: None,
            why: Some(explain::policy_problem(&policy.problem)),
        });
        let mut all: Vec<_> = valid.chain(broken).collect();
        all.sort();
        all
    }

    fn component(&self, scope: &Scope) -> EffectiveComponent {
        let (component, rules, emergency_rules) = match scope {
            Scope::One(component) => (component.to_string(), self.rules(component), self.emergency_rules(component)),
            Scope::Prefix(prefix) => {
                let pattern = Pattern::Prefix(prefix.clone());
                let emergency_rules = self.emergency_rules_for_pattern(&pattern);
                (pattern.to_string(), self.rules_for_pattern(&pattern), emergency_rules)
            }
        };
        let has_record_name = match scope {
            Scope::One(Component::Plugin(name)) => name.is_dns_label(),
            Scope::One(Component::D8) | Scope::Prefix(_) => true,
        };
        let is_d8 = matches!(scope, Scope::One(Component::D8));
        let mut effective = EffectiveComponent {
            component,
            access: (!is_d8).then(|| merged(&ACCESS, &rules)),
            versions: of_rules(&rules, Field::Versions, |rule| {
                rule.versions.iter().map(|versions| printable(versions.as_str()).into_owned()).collect()
            }),
            block: of_rules(&rules, Field::Block, |rule| rule.block.iter().map(ToString::to_string).collect()),
            channel: channel(&rules),
            recorded: has_record_name.then(|| recorded(&rules, &emergency_rules)),
            messages: of_rules(&rules, Field::Message, |rule| rule.message.iter().map(ToString::to_string).collect()),
        };
        if let Some(local) = self.local_rules() {
            effective.add_local(local, scope);
        }
        effective
    }
}

impl EffectiveComponent {
    /// Adds the host's own rules.
    fn add_local(&mut self, local: &LocalRules, scope: &Scope) {
        let by = |field| FieldSource::from(&Source::LocalRules { field });
        let denied = match scope {
            Scope::One(component) => local.denies(component),
            Scope::Prefix(prefix) => local.denies_all(&Pattern::Prefix(prefix.clone())),
        };
        if let Some(access) = self.access.as_mut().filter(|_| denied) {
            if access.value != Access::Deny {
                *access = MergedField { value: Access::Deny, from: Vec::new() };
            }
            access.from.push(by(Field::Refuse));
        }
        if let Scope::One(component) = scope {
            let minimum = local.minimum(component).map(|minimum| format!(">={minimum}"));
            self.versions.extend(minimum.map(|value| Attributed { value, from: by(Field::MinimumVersions) }));
            let refused = local.blocked(component).map(ToString::to_string);
            self.block.extend(refused.map(|value| Attributed { value, from: by(Field::Refuse) }));
        }
    }
}

fn windows(rules: &[ApplicableRule<'_>]) -> Vec<Attributed<Vec<Window>>> {
    let set = rules.iter().filter_map(|rule| Some((rule, rule.policy.schedule.windows()?)));
    set.map(|(rule, windows)| Attributed { value: windows.to_records(), from: of_spec(rule, Field::Windows) }).collect()
}

fn blackouts(rules: &[ApplicableRule<'_>]) -> Vec<Attributed<Vec<BlackoutSpan>>> {
    let span = |blackout: &CheckedBlackout| {
        let &CheckedBlackout { from, to, ref reason } = blackout;
        BlackoutSpan { from, to, reason: reason.to_string() }
    };
    let set = rules.iter().filter(|rule| !rule.policy.schedule.blackouts().is_empty());
    set.map(|rule| Attributed {
        value: rule.policy.schedule.blackouts().iter().map(span).collect(),
        from: of_spec(rule, Field::Blackouts),
    })
    .collect()
}

fn windows_for(rules: &[ApplicableRule<'_>]) -> Vec<Attributed<WindowsFor>> {
    let set = rules.iter().filter_map(|rule| Some((rule, rule.policy.windows_for?)));
    set.map(|(rule, value)| Attributed { value, from: of_spec(rule, Field::WindowsFor) }).collect()
}

fn rollouts(rules: &[ApplicableRule<'_>]) -> Vec<Attributed<RolloutSettings>> {
    let set = rules.iter().filter_map(|rule| Some((rule, rule.policy.rollout.as_ref()?)));
    set.map(|(rule, rollout)| Attributed {
        value: RolloutSettings {
            over: duration::format(rollout.over),
            canary: rule.canary,
            canary_percent: rollout.canary_share.map(CanaryShare::percent),
            require_succeeded: rollout.evidence.map(|evidence| RequireSucceeded {
                hosts: evidence.hosts,
                stable_for: duration::format(evidence.stable_for),
            }),
            max_failed: rollout.max_failed,
        },
        from: of_spec(rule, Field::Rollout),
    })
    .collect()
}

fn channel(rules: &[ApplicableRule<'_>]) -> MergedField<Option<Channel>> {
    let MergedField { value, from } = merged(&CHANNEL, rules);
    MergedField { value: (!from.is_empty()).then_some(value), from }
}

fn recorded(rules: &[ApplicableRule<'_>], emergency_rules: &[ApplicableRule<'_>]) -> RecordSettings {
    let min_age = merged(&MIN_AGE, rules);
    let expedite = |rules| of_rules(rules, Field::Expedite, |rule| shown(&rule.expedite));
    RecordSettings {
        updates: merged(&UPDATES, rules),
        major_updates: merged(&MAJOR_UPDATES, rules),
        min_age: MergedField { value: duration::format(min_age.value), from: min_age.from },
        pins: of_rules(rules, Field::Pins, |rule| {
            let pins = rule.pins.iter();
            pins.map(|pin| PinnedDigest { version: pin.version.to_string(), digest: pin.digest.clone() }).collect()
        }),
        expedite: expedite(rules).into_iter().chain(expedite(emergency_rules)).collect(),
    }
}

fn merged<T: Ord + Copy>(field: &PolicyField<T>, rules: &[ApplicableRule<'_>]) -> MergedField<T> {
    let merge = field.merge(rules);
    MergedField { value: merge.value, from: merge.sources().map(|source| FieldSource::from(&source)).collect() }
}

/// Returns what the applicable rules set. All of it holds.
fn of_rules<T>(rules: &[ApplicableRule<'_>], field: Field, get: impl Fn(&CheckedRule) -> Vec<T>) -> Vec<Attributed<T>> {
    let set = rules.iter().filter_map(|applicable| Some((applicable, applicable.rule()?)));
    let values = set.flat_map(|(applicable, (origin, rule))| {
        let from = FieldSource::from(&applicable.source(origin, Some(field)));
        get(rule).into_iter().map(move |value| Attributed { value, from: from.clone() })
    });
    values.collect()
}

fn of_spec(rule: &ApplicableRule<'_>, field: Field) -> FieldSource {
    FieldSource::from(&rule.source(Origin::Spec(field), None))
}

fn shown(versions: &[Version]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}
