//! Sentences about rules that hold a change independently of time.

use super::super::{commands, explainer::Explainer};
use crate::{
    decisions::reason::PolicyProblem,
    values::{
        digest::Digest,
        text::{printable, without_type_names},
    },
};

impl Explainer<'_> {
    pub(super) fn tag_moved(&self, is_set: bool, from: &str, to: &str) -> String {
        format!(
            "the tag of {} moved from {} to {}{}; ask its publisher about the change, then ask an admin to pin the new \
             digest",
            self.version(),
            short(from),
            short(to),
            if is_set { "" } else { ", and no policy sets `integrity.movedTags: Soak`" }
        )
    }

    pub(super) fn paused(&self) -> String {
        let name = &self.subject.component;
        let paused = "all changes on this host are paused";
        let unpause = "ask an admin to set `paused: false`";
        match (&self.subject.version, &self.subject.active) {
            (None, _) => format!("{paused}, removals too; {unpause}, then run {}", self.there(&commands::remove(name))),
            (Some(_), Some(active)) => format!("{paused}; {name} stays at {active}; {unpause}"),
            (Some(_), None) => {
                format!("{paused}; {unpause}, then run {}", self.there(&commands::update(self.subject)))
            }
        }
    }

    pub(super) fn frozen(&self) -> String {
        let at = self.subject.active.as_ref().map(|active| format!(" at {active}")).unwrap_or_default();
        format!("{} is frozen{at}; ask an admin for `updates: Manual` to replace it", self.subject.component)
    }

    pub(super) fn manual(&self, is_set: bool) -> String {
        let unset = if is_set { "" } else { "no policy sets `updates`, so " };
        let name = &self.subject.component;
        format!("{unset}updates of {name} are manual; run {}", self.there(&commands::update(self.subject)))
    }

    pub(super) fn major_stays(&self, is_set: bool) -> String {
        let unset = if is_set { "" } else { "no policy sets `majorUpdates: Cross`, and " };
        let installed = self.subject.active.as_ref().map(ToString::to_string).unwrap_or_default();
        format!(
            "{unset}{} has another major version than the installed {installed}; run {} to cross to it",
            self.version(),
            self.there(&commands::take(self.subject))
        )
    }

    pub(super) fn pre_release(&self) -> String {
        let take = self.there(&commands::take(self.subject));
        format!("{} is a pre-release; install it by name with {take}", self.version())
    }

    pub(super) fn not_governed(&self) -> String {
        format!(
            "no policy applies to this host, so the agent does not change {}; add a PluginPolicy whose hostSelector \
             matches the host",
            self.subject.component
        )
    }

    pub(super) fn policy_unaware(&self) -> String {
        format!(
            "{} does not support policies, so no policy would bind this host any more; accept this version with {}",
            self.version(),
            self.there(&format!("{} --allow-ungoverned", commands::take(self.subject)))
        )
    }

    pub(super) fn required(&self) -> String {
        format!(
            "{} is required on this host; ask an admin to change the rule before you remove it",
            self.subject.component
        )
    }
}

/// Explains everything that is wrong with a policy.
pub fn policy_problem(problem: &PolicyProblem) -> String {
    match problem {
        PolicyProblem::Unreadable { why } => format!("this d8 cannot read it: {why}"),
        PolicyProblem::Invalid { errors } => errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

pub(super) fn invalid_policy(problem: &PolicyProblem) -> String {
    match problem {
        PolicyProblem::Unreadable { why } => {
            let why = without_type_names(why);
            format!(
                "this d8 cannot read the policy ({why}); run `d8 cli update`, or ask an admin to correct the policy"
            )
        }
        PolicyProblem::Invalid { errors } => {
            let first = errors.first().map(ToString::to_string).unwrap_or_default();
            let more = match errors.len() {
                0 | 1 => String::new(),
                count => format!(" (and {} more)", count - 1),
            };
            format!("the policy is invalid and acts as paused; ask an admin to correct {first}{more}")
        }
    }
}

/// Shortens a digest of a record, which may be malformed.
fn short(digest: &str) -> String {
    digest.parse::<Digest>().map_or_else(|_| printable(digest).into_owned(), |digest| digest.short().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_be_read_is_explained_without_names_of_types() {
        let error = serde_json::from_str::<crate::records::policy::PluginPolicy>(
            r#"{"apiVersion": "v", "kind": "k", "metadata": {}, "spec": "words"}"#,
        );
        let why = error.unwrap_err().to_string();
        assert!(why.contains("struct PluginPolicySpec"), "{why}");
        let text = invalid_policy(&PolicyProblem::Unreadable { why });
        assert!(text.contains("expected an object") && !text.contains("PluginPolicySpec"), "{text}");
    }
}
