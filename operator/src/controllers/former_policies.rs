//! When the operator last saw policies that do not exist any more. Every instance watches them, also one that does not
//! lead.

use std::{
    collections::{BTreeSet, HashMap},
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
    /// When policies were deleted or found deleted, by UID; forgotten after [`KEPT`].
    deleted: HashMap<String, Timestamp>,
    /// Names in the listing that is in progress. A policy that is missing at its end was deleted while the watch was
    /// interrupted.
    listing: Option<BTreeSet<String>>,
    /// When an instance last led before this process was started.
    led_until: Option<Timestamp>,
}

impl FormerPolicies {
    /// Notes when an instance last led before this process was started.
    pub(crate) fn led_until(&self, at: Option<Timestamp>) {
        self.lock().led_until = at;
    }

    /// Follows the watch of policies. Returns the names of the policies that were found deleted at the end of a listing.
    pub(crate) fn apply(&self, event: &Event<PluginPolicy>, now: Timestamp) -> Vec<String> {
        let mut seen = self.lock();
        let mut missing = Vec::new();
        let former: Vec<String> = match event {
            Event::Init => {
                seen.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Event::Apply(policy) | Event::InitApply(policy) => {
                let (name, uid) = (policy.name_any(), policy.uid().unwrap_or_default());
                if let Some(listing) = &mut seen.listing {
                    listing.insert(name.clone());
                }
                let before = seen.existing.insert(name, uid.clone());
                before.filter(|before| *before != uid).into_iter().collect()
            }
            Event::Delete(policy) => seen.existing.remove(&policy.name_any()).into_iter().collect(),
            Event::InitDone => {
                let listing = seen.listing.take();
                let is_missing = |name: &String| listing.as_ref().is_some_and(|listing| !listing.contains(name));
                missing = seen.existing.keys().filter(|name| is_missing(name)).cloned().collect();
                missing.iter().filter_map(|name| seen.existing.remove(name)).collect()
            }
        };
        if !former.is_empty() {
            seen.deleted.retain(|_, at| now.duration_since(*at) < KEPT);
        }
        seen.deleted.extend(former.into_iter().map(|uid| (uid, now)));
        missing
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
            (22, Event::Apply(policy("c", "c1"))),
            // The watch was interrupted meanwhile: b was created again, and c is gone.
            (29, Event::Init),
            (30, Event::InitApply(policy("a", "a2"))),
            (30, Event::InitApply(policy("b", "b2"))),
        ] {
            assert_eq!(policies.apply(&event, at(second)), [""; 0]);
        }
        assert_eq!(policies.apply(&Event::InitDone, at(31)), ["c"]);
        assert_eq!(policies.apply(&Event::Apply(policy("c", "c2")), at(40)), [""; 0]);
        for (uid, expected) in
            [(Some("a1"), 20), (Some("b1"), 30), (Some("c1"), 31), (Some("a2"), 5), (Some("older"), 5), (None, 5)]
        {
            assert_eq!(policies.last_seen(uid), Some(at(expected)), "{uid:?}");
        }
        policies.apply(&Event::Delete(policy("b", "b2")), at(3620));
        assert_eq!(policies.last_seen(Some("a1")), Some(at(5)), "it was too long ago");
        assert_eq!(policies.last_seen(Some("b1")), Some(at(30)));
    }
}
