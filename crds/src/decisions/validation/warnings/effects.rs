//! Warnings about fields that have no effect together.

use jiff::Timestamp;

use super::{CheckedPolicy, CheckedRule, CheckedSubjects, Warnings, listed, rules};
use crate::{
    decisions::validation::Pattern,
    records::policy::{Access, Updates, WindowsFor},
};

pub(super) fn effects(policy: &CheckedPolicy, warnings: &mut Warnings) {
    if policy.windows_for.is_some() && policy.schedule.is_unlimited() {
        warnings.add("spec.windowsFor has no effect: the policy has neither windows nor blackouts");
    }
    frozen_rollout(policy, warnings);
    expedited_for_nothing(policy, warnings);
    beside_subjects(policy, warnings);
}

/// Returns the updates that a rule sets, or the defaults for it.
fn updates(policy: &CheckedPolicy, rule: Option<&CheckedRule>) -> Option<Updates> {
    rule.and_then(|rule| rule.settings.updates).or(policy.defaults.updates)
}

/// Warns about a rollout of versions to which no host updates, because the policy freezes all that it does not deny.
fn frozen_rollout(policy: &CheckedPolicy, warnings: &mut Warnings) {
    let denies = |rule: &CheckedRule| rule.settings.access == Some(Access::Deny);
    let is_frozen = |rule| updates(policy, rule) == Some(Updates::Frozen);
    let is_any = |pattern: &Pattern| matches!(pattern, Pattern::Prefix(prefix) if prefix.is_empty());
    let has_others = !policy.rules.iter().any(|rule| rule.plugins.iter().any(is_any));
    let others_move = has_others && policy.defaults.access != Some(Access::Deny) && !is_frozen(None);
    let all_frozen = policy.rules.iter().all(|rule| denies(rule) || is_frozen(Some(rule)));
    let is_for_all = policy.subjects == CheckedSubjects::Everyone;
    if policy.rollout.is_some() && is_for_all && all_frozen && !others_move && is_frozen(policy.cli.as_ref()) {
        warnings.add(
            "spec.rollout has no effect on updates: the policy sets `updates: Frozen`, so that only first installs \
             wait for a wave",
        );
    }
}

/// Warns about blackouts that are over.
pub(super) fn past_blackouts(policy: &CheckedPolicy, now: Option<Timestamp>, warnings: &mut Warnings) {
    let Some(now) = now else { return };
    let (over, ahead): (Vec<_>, Vec<_>) = policy.schedule.blackouts().iter().partition(|blackout| blackout.to <= now);
    for blackout in ahead {
        warnings.change_at(blackout.to);
    }
    let over: Vec<_> =
        over.into_iter().map(|blackout| format!("`{}` at {:.0}", blackout.reason, blackout.to)).collect();
    if !over.is_empty() {
        warnings.add(format!("spec.blackouts has entries that are over, remove them: {}", listed(&over)));
    }
}

/// Warns about versions that skip gates which the policy does not have.
fn expedited_for_nothing(policy: &CheckedPolicy, warnings: &mut Warnings) {
    if policy.emergency.is_some() || policy.rollout.is_some() || policy.schedule.has_windows() {
        return;
    }
    for (field, rule) in rules(policy) {
        let min_age = rule.settings.min_age.or(policy.defaults.min_age).unwrap_or_default();
        if !rule.expedite.is_empty() && min_age.is_zero() {
            warnings.add(format!(
                "{field}.expedite has no effect: the policy has neither minAge nor windows nor a rollout; to lift \
                 those of other policies, create a policy with `emergency`"
            ));
        }
    }
}

/// Warns about fields that bind the agent alone, in a policy that never applies to the agent.
fn beside_subjects(policy: &CheckedPolicy, warnings: &mut Warnings) {
    if policy.subjects == CheckedSubjects::Everyone {
        return;
    }
    let never = "has no effect beside spec.subjects: the policy never applies to the agent";
    if !policy.schedule.is_unlimited() && policy.windows_for != Some(WindowsFor::Everyone) {
        let fields = match (policy.schedule.has_windows(), policy.schedule.has_blackouts()) {
            (true, true) => "spec.windows and spec.blackouts have",
            (true, false) => "spec.windows has",
            _ => "spec.blackouts has",
        };
        warnings.add(format!(
            "{fields} no effect beside spec.subjects: without `windowsFor: Everyone` it holds the agent only, and the \
             policy never applies to the agent"
        ));
    }
    let of_rules = rules(policy).map(|(field, rule)| (field, rule.settings.updates));
    let of_defaults = [("spec.defaults".to_owned(), policy.defaults.updates)];
    for (field, updates) in of_defaults.into_iter().chain(of_rules) {
        if let Some(updates @ (Updates::Auto | Updates::Manual)) = updates {
            warnings.add(format!("{field}.updates: `{updates:?}` {never}"));
        }
    }
}
