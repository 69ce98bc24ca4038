//! When the operator last saw policies that do not exist any more. Every instance watches them, also one that does not
//! lead.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use d8_crds::records::policy::PluginPolicy;
use jiff::Timestamp;
use kube::{ResourceExt as _, runtime::watcher::Event};

use crate::decisions::policy::ledger::KEPT;

/// What this process and those before it saw of policies.
#[derive(Debug, Default)]
pub(crate) struct FormerPolicies(Mutex<SeenPolicies>);

#[derive(Debug, Default)]
struct SeenPolicies {
    /// UIDs of the policies that exist, by name.
    existing: HashMap<String, String>,
    /// When policies were deleted, by UID; forgotten after [`KEPT`].
    deleted: HashMap<String, Timestamp>,
    /// When an instance last led before this process was started.
    led_until: Option<Timestamp>,
}

impl FormerPolicies {
    /// Notes when an instance last led before this process was started.
    pub(crate) fn led_until(&self, at: Option<Timestamp>) {
        self.lock().led_until = at;
    }

    /// Follows the watch of policies.
    pub(crate) fn apply(&self, event: &Event<PluginPolicy>, now: Timestamp) {
        let mut seen = self.lock();
        let former = match event {
            Event::Apply(policy) | Event::InitApply(policy) => {
                let uid = policy.uid().unwrap_or_default();
                let before = seen.existing.insert(policy.name_any(), uid.clone());
                before.filter(|before| *before != uid)
            }
            Event::Delete(policy) => seen.existing.remove(&policy.name_any()),
            Event::Init | Event::InitDone => None,
        };
        if let Some(uid) = former {
            seen.deleted.retain(|_, at| now.duration_since(*at) < KEPT);
            seen.deleted.insert(uid, now);
        }
    }

    /// Returns when an operator last saw the policy with this UID, which does not exist any more.
    pub(super) fn last_seen(&self, uid: Option<&str>) -> Option<Timestamp> {
        let seen = self.lock();
        uid.and_then(|uid| seen.deleted.get(uid).copied()).or(seen.led_until)
    }

    fn lock(&self) -> MutexGuard<'_, SeenPolicies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use d8_crds::records::policy::PluginPolicySpec;

    use super::*;

    #[test]
    fn deletions_are_remembered_for_an_hour() {
        let policies = FormerPolicies::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let policy = |name: &str, uid: &str| {
            let mut policy = PluginPolicy::new(name, PluginPolicySpec::default());
            policy.metadata.uid = Some(uid.to_owned());
            policy
        };
        policies.led_until(Some(at(5)));
        for (second, event) in [
            (10, Event::InitApply(policy("a", "a1"))),
            (11, Event::InitApply(policy("b", "b1"))),
            (12, Event::Apply(policy("a", "a1"))),
            (20, Event::Delete(policy("a", "a1"))),
            (21, Event::Apply(policy("a", "a2"))),
            // The watch was interrupted meanwhile.
            (30, Event::InitApply(policy("b", "b2"))),
        ] {
            policies.apply(&event, at(second));
        }
        for (uid, expected) in [(Some("a1"), 20), (Some("b1"), 30), (Some("a2"), 5), (Some("older"), 5), (None, 5)] {
            assert_eq!(policies.last_seen(uid), Some(at(expected)), "{uid:?}");
        }
        policies.apply(&Event::Delete(policy("b", "b2")), at(3620));
        assert_eq!(policies.last_seen(Some("a1")), Some(at(5)), "it was too long ago");
        assert_eq!(policies.last_seen(Some("b1")), Some(at(30)));
    }
}
