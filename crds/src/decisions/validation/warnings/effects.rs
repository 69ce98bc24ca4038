//! Warnings about fields that have no effect together.

use super::{CheckedPolicy, CheckedRule, CheckedSubjects, PolicyContext, rules};
use crate::records::policy::{Access, Updates, WindowsFor};

pub(super) fn effects(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Vec<String>) {
    if policy.windows_for.is_some() && policy.schedule.is_unlimited() {
        warnings.push("spec.windowsFor has no effect: the policy has neither windows nor blackouts".to_owned());
    }
    frozen_rollout(policy, warnings);
    few_canaries(policy, context, warnings);
    expedited_for_nothing(policy, warnings);
    beside_subjects(policy, warnings);
}

/// Returns the updates that a rule sets, or the defaults for it.
fn updates(policy: &CheckedPolicy, rule: Option<&CheckedRule>) -> Option<Updates> {
    rule.and_then(|rule| rule.settings.updates).or(policy.defaults.updates)
}

/// Warns about a rollout of versions to which no host updates.
fn frozen_rollout(policy: &CheckedPolicy, warnings: &mut Vec<String>) {
    let denies = |rule: &CheckedRule| rule.settings.access == Some(Access::Deny);
    let of_rules: Vec<_> = rules(policy)
        .filter(|(_, rule)| !denies(rule))
        .map(|(field, rule)| (field, updates(policy, Some(rule))))
        .collect();
    let is_frozen = |updates: Option<Updates>| updates == Some(Updates::Frozen);
    let all_frozen = of_rules.iter().all(|(_, updates)| is_frozen(*updates));
    let others_frozen = policy.defaults.updates.is_none_or(|updates| updates == Updates::Frozen);
    let some_frozen = !of_rules.is_empty() || is_frozen(policy.defaults.updates);
    if policy.rollout.is_some() && all_frozen && others_frozen && some_frozen {
        warnings.push(
            "spec.rollout has no effect on updates: the policy sets `updates: Frozen`, so that only first installs \
             wait for a wave"
                .to_owned(),
        );
    }
}

/// Warns about waves that wait for more hosts than there are canaries.
fn few_canaries(policy: &CheckedPolicy, context: PolicyContext<'_>, warnings: &mut Vec<String>) {
    let Some(rollout) = &policy.rollout else { return };
    let (Some(evidence), Some(hosts)) = (rollout.evidence, context.hosts) else { return };
    let required = evidence.hosts;
    let field = "spec.rollout.requireSucceeded";
    if hosts < required {
        warnings.push(format!("{field} needs {required} hosts, and the policy selects {hosts}: no wave can begin"));
        return;
    }
    // The share differs from version to version.
    let by_share = rollout.canary_share.map_or(0, |share| hosts.saturating_mul(share.percent()).div_ceil(100));
    let by_label = if rollout.canaries.is_some() { context.canaries } else { Some(0) };
    if let Some(canaries) = by_label.map(|by_label| by_label.saturating_add(by_share)).filter(|all| *all < required) {
        let about = if by_share > 0 { "about " } else { "" };
        warnings.push(format!(
            "{field} needs {required} hosts, and there are {about}{canaries} canaries: waves begin only if people \
             install the version on other hosts"
        ));
    }
}

/// Warns about versions that skip gates which the policy does not have.
fn expedited_for_nothing(policy: &CheckedPolicy, warnings: &mut Vec<String>) {
    if policy.emergency.is_some() || policy.rollout.is_some() || policy.schedule.has_windows() {
        return;
    }
    for (field, rule) in rules(policy) {
        let min_age = rule.settings.min_age.or(policy.defaults.min_age).unwrap_or_default();
        if !rule.expedite.is_empty() && min_age.is_zero() {
            warnings.push(format!(
                "{field}.expedite has no effect: the policy has neither minAge nor windows nor a rollout; to lift \
                 those of other policies, create a policy with `emergency`"
            ));
        }
    }
}

/// Warns about fields that bind the agent alone, in a policy that never applies to the agent.
fn beside_subjects(policy: &CheckedPolicy, warnings: &mut Vec<String>) {
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
        warnings.push(format!(
            "{fields} no effect beside spec.subjects: without `windowsFor: Everyone` it holds the agent only, and the \
             policy never applies to the agent"
        ));
    }
    let of_rules = rules(policy).map(|(field, rule)| (field, rule.settings.updates));
    let of_defaults = [("spec.defaults".to_owned(), policy.defaults.updates)];
    for (field, updates) in of_defaults.into_iter().chain(of_rules) {
        if let Some(updates @ (Updates::Auto | Updates::Manual)) = updates {
            warnings.push(format!("{field}.updates: `{updates:?}` {never}"));
        }
    }
}
