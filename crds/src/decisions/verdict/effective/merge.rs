//! The merge itself: `docs/policies.md`, "Which policies speak".

use std::{collections::BTreeSet, time::Duration};

use super::{
    Attributed, Effective, EffectiveComponent, FieldSource, Merged, PinnedDigest, PolicyInEffect, RecordSettings,
    RolloutSettings,
};
use crate::{
    decisions::{
        validation::{CheckedPolicy, CheckedRule, Pattern, Settings},
        verdict::{
            HostPolicies, LocalRules,
            reason::Origin,
            set::Policy,
            speech::{Said, Speech},
        },
        window::Windows,
    },
    records::policy::{Access, MajorUpdates, MovedTags, Updates, Window},
    values::{
        channel::Channel,
        duration,
        name::{Component, PluginName},
        text::printable,
        version::Version,
    },
};

/// Of whom something is said.
enum Subject {
    One(Component),
    /// Plugins that nobody names and that no longer beginning fits.
    Rest(String),
}

impl HostPolicies<'_> {
    /// What they come to: for d8, every plugin and every beginning of names that some policy or the host's
    /// local rules names, those asked for, and any other plugin.
    pub fn effective(&self, asked: &[PluginName]) -> Effective {
        let plugins: BTreeSet<PluginName> = self.subjects_named(asked);
        let beginnings: BTreeSet<String> = self.beginnings();
        let subjects = std::iter::once(Subject::One(Component::D8))
            .chain(plugins.into_iter().map(|plugin| Subject::One(Component::Plugin(plugin))))
            .chain(beginnings.into_iter().filter(|beginning| !beginning.is_empty()).map(Subject::Rest))
            .chain(std::iter::once(Subject::Rest(String::new())));
        let missing = self.missing_dependencies();
        Effective {
            policies: self.speaking(),
            paused: self.paused(),
            missing_dependencies: Merged {
                value: missing,
                from: self.who("missingDependencies", |policy| policy.missing_dependencies == Some(missing)),
            },
            moved_tags: self.moved_tags(),
            windows: self.windows(),
            rollouts: self.rollouts(),
            components: subjects.map(|subject| self.component(&subject)).collect(),
        }
    }

    fn subjects_named(&self, asked: &[PluginName]) -> BTreeSet<PluginName> {
        let named = self.named_plugins().into_iter().cloned();
        let by_floor = self.local_rules().into_iter().flat_map(|local_rules| local_rules.named_plugins().cloned());
        named.chain(by_floor).chain(asked.iter().cloned()).collect()
    }

    fn beginnings(&self) -> BTreeSet<String> {
        let patterns = self.valid().flat_map(|policy| &policy.rules).flat_map(|rule| &rule.plugins);
        let by_floor = self.local_rules().into_iter().flat_map(LocalRules::refused);
        let beginnings = patterns.chain(by_floor).filter_map(|pattern| match pattern {
            Pattern::Prefix(beginning) => Some(beginning.clone()),
            Pattern::Name(_) => None,
        });
        beginnings.collect()
    }

    fn speaking(&self) -> Vec<PolicyInEffect> {
        let valid = self.valid().map(|policy| PolicyInEffect { name: policy.name.clone(), valid: true, why: None });
        let broken = self.broken().map(|policy| PolicyInEffect {
            name: policy.name().to_owned(),
            valid: false,
            why: match policy {
                Policy::Valid(_) => None,
                Policy::Invalid { rejected, .. } => Some(rejected.to_string()),
                Policy::Unreadable { why, .. } => Some(format!("this d8 cannot read it: {why}")),
            },
        });
        let mut all: Vec<_> = valid.chain(broken).collect();
        all.sort();
        all
    }

    fn paused(&self) -> Merged<bool> {
        let mut from = self.who("paused", |policy| policy.paused);
        from.extend(self.broken().map(|policy| FieldSource { policy: policy.name().to_owned(), field: None }));
        from.sort();
        Merged { value: !from.is_empty(), from }
    }

    fn moved_tags(&self) -> Merged<MovedTags> {
        let said = |value| self.who("integrity.movedTags", |policy| policy.moved_tags == Some(value));
        let (refuse, soak) = (said(MovedTags::Refuse), said(MovedTags::Soak));
        if refuse.is_empty() && !soak.is_empty() {
            Merged { value: MovedTags::Soak, from: soak }
        } else {
            Merged { value: MovedTags::Refuse, from: refuse }
        }
    }

    /// The policies of which something holds, and the field that says it.
    fn who(&self, field: &str, says: impl Fn(&CheckedPolicy) -> bool) -> Vec<FieldSource> {
        let said = self.valid().filter(|policy| says(policy));
        said.map(|policy| FieldSource { policy: policy.name.clone(), field: Some(field.to_owned()) }).collect()
    }

    fn windows(&self) -> Vec<Attributed<Vec<Window>>> {
        let said = self.valid().filter_map(|policy| Some((policy, policy.windows.as_ref()?)));
        let word = |(policy, windows): (&CheckedPolicy, &Windows)| Attributed {
            value: windows.to_records(),
            from: FieldSource { policy: policy.name.clone(), field: Some("windows".to_owned()) },
        };
        said.map(word).collect()
    }

    fn rollouts(&self) -> Vec<Attributed<RolloutSettings>> {
        // Waves are the same for every component, so any speech tells them.
        let speeches = self.speeches(&Component::D8);
        let said = speeches.iter().filter_map(|speech| Some((speech, speech.policy.rollout.as_ref()?)));
        said.map(|(speech, rollout)| Attributed {
            value: RolloutSettings {
                over: duration::format(rollout.over),
                canary: speech.canary,
                max_failed: rollout.max_failed,
            },
            from: FieldSource { policy: speech.policy.name.clone(), field: Some("rollout".to_owned()) },
        })
        .collect()
    }

    fn component(&self, subject: &Subject) -> EffectiveComponent {
        let (component, speeches) = match subject {
            Subject::One(component) => (component.to_string(), self.speeches(component)),
            Subject::Rest(beginning) => {
                let pattern = Pattern::Prefix(beginning.clone());
                (pattern.to_string(), self.speeches_on_rest(&pattern))
            }
        };
        let has_record_name = match subject {
            Subject::One(Component::Plugin(name)) => name.is_dns_label(),
            Subject::One(Component::D8) | Subject::Rest(_) => true,
        };
        let is_d8 = matches!(subject, Subject::One(Component::D8));
        let mut versions = of_rules(&speeches, "versions", |rule| {
            rule.versions.iter().map(|versions| printable(versions.as_str()).into_owned()).collect()
        });
        let mut block = of_rules(&speeches, "block", |rule| shown(&rule.block));
        let mut access = strongest(&speeches, "access", Access::Allow, Speech::access, |access| match access {
            Access::Allow => 0,
            Access::Require => 1,
            Access::Deny => 2,
        });
        if let Some(local_rules) = self.local_rules() {
            let by_floor = |field: &str| FieldSource { policy: "agent.toml".to_owned(), field: Some(field.to_owned()) };
            let denied = match subject {
                Subject::One(component) => local_rules.denies(component),
                Subject::Rest(beginning) => local_rules.denies_all(&Pattern::Prefix(beginning.clone())),
            };
            if denied {
                let others = if access.value == Access::Deny { access.from } else { Vec::new() };
                access = Merged { value: Access::Deny, from: others };
                access.from.push(by_floor("refuse"));
            }
            if let Subject::One(component) = subject {
                let minimum = local_rules.minimum(component).map(|minimum| format!(">={minimum}"));
                versions.extend(minimum.map(|value| Attributed { value, from: by_floor("minimumVersions") }));
                let refused = local_rules.blocked(component).map(ToString::to_string);
                block.extend(refused.map(|value| Attributed { value, from: by_floor("refuse") }));
            }
        }
        EffectiveComponent {
            component,
            access: (!is_d8).then_some(access),
            versions,
            block,
            channel: channel(&speeches),
            recorded: has_record_name.then(|| recorded(&speeches)),
            messages: of_rules(&speeches, "message", |rule| rule.message.iter().cloned().collect()),
        }
    }
}

fn channel(speeches: &[Speech<'_>]) -> Merged<Option<Channel>> {
    let said = strongest(
        speeches,
        "channel",
        Channel::Stable,
        |s| s.setting(|s| s.channel),
        |channel| match channel {
            Channel::Prerelease => 0,
            Channel::Stable => 1,
        },
    );
    Merged { value: (!said.from.is_empty()).then_some(said.value), from: said.from }
}

fn recorded(speeches: &[Speech<'_>]) -> RecordSettings {
    let min_age = strongest(
        speeches,
        "minAge",
        Duration::ZERO,
        |speech| speech.setting(|s: &Settings| s.min_age).filter(|_| !speech.canary),
        |age| age,
    );
    RecordSettings {
        updates: strongest(
            speeches,
            "updates",
            Updates::Manual,
            |s| s.setting(|s| s.updates),
            |updates| match updates {
                Updates::Auto => 0,
                Updates::Manual => 1,
                Updates::Frozen => 2,
            },
        ),
        major_updates: strongest(
            speeches,
            "majorUpdates",
            MajorUpdates::Stay,
            |s| s.setting(|s| s.major_updates),
            |majors| match majors {
                MajorUpdates::Cross => 0,
                MajorUpdates::Stay => 1,
            },
        ),
        min_age: Merged { value: duration::format(min_age.value), from: min_age.from },
        pins: of_rules(speeches, "pins", |rule| {
            let pins = rule.pins.iter();
            pins.map(|pin| PinnedDigest { version: pin.version.to_string(), digest: pin.digest.clone() }).collect()
        }),
        expedite: of_rules(speeches, "expedite", |rule| shown(&rule.expedite)),
    }
}

/// The strongest of what is said, and all who say it.
fn strongest<'a, T: Copy, K: Ord>(
    speeches: &[Speech<'a>],
    field: &'static str,
    nobody_speaks: T,
    said: impl Fn(&Speech<'a>) -> Option<Said<T>>,
    strength: impl Fn(T) -> K,
) -> Merged<T> {
    let words: Vec<_> = speeches.iter().filter_map(|speech| Some((speech, said(speech)?))).collect();
    let Some(value) = words.iter().map(|(_, said)| said.value).max_by_key(|value| strength(*value)) else {
        return Merged { value: nobody_speaks, from: Vec::new() };
    };
    let agree = words.into_iter().filter(|(_, said)| strength(said.value) == strength(value));
    Merged { value, from: agree.map(|(speech, said)| source(speech, said.origin, field)).collect() }
}

/// What the rules say that answer, all of which hold.
fn of_rules<T>(
    speeches: &[Speech<'_>],
    field: &'static str,
    says: impl Fn(&CheckedRule) -> Vec<T>,
) -> Vec<Attributed<T>> {
    let rules = speeches.iter().filter_map(|speech| Some((speech, speech.rule()?)));
    let words = rules.flat_map(|(speech, (origin, rule))| {
        let from = source(speech, origin, field);
        says(rule).into_iter().map(move |value| Attributed { value, from: from.clone() })
    });
    words.collect()
}

fn source(speech: &Speech<'_>, origin: Origin, field: &str) -> FieldSource {
    FieldSource { policy: speech.policy.name.clone(), field: Some(format!("{origin}.{field}")) }
}

fn shown(versions: &[Version]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}
