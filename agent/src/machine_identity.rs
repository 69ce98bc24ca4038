//! Which machine reports as a host, so that two machines with the same identity are noticed.
//!
//! The identity of a host is a file, which can be copied, with a whole disk, too. A machine reports a hash of its
//! machine id, of its boot, and of a random number of its own. It remembers what it reported. If the `CliHost` then has
//! another hash, another machine reported in between.

use std::{collections::VecDeque, path::Path};

use d8_crds::values::{digest::Digest, limits};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::disk;

/// How long the condition stays after another machine was last seen.
const SEEN_RECENTLY: SignedDuration = SignedDuration::from_hours(24);
/// Hashes that are remembered: of this boot, and of the one before, whose report may be the last one.
const REMEMBERED: usize = 2;

/// What a machine remembers of its reports as a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineIdentity {
    /// A random number, made when the machine joined.
    instance: String,
    /// The hashes that this machine reported, the newest last.
    reported: VecDeque<String>,
    /// When the hash of another machine was last found.
    other_seen: Option<Timestamp>,
}

impl Default for MachineIdentity {
    /// Returns the identity of a machine that has just joined.
    fn default() -> Self {
        Self { instance: disk::random_name(), reported: VecDeque::new(), other_seen: None }
    }
}

impl MachineIdentity {
    /// Returns the hash of this machine, for this boot: 32 hex digits.
    pub fn hash(&self) -> String {
        let read = |path: &str| {
            let bytes = disk::read_small(Path::new(path), limits::HOST_CONFIG_BYTES).ok().flatten();
            bytes.unwrap_or_default()
        };
        let parts =
            [read("/etc/machine-id"), read("/proc/sys/kernel/random/boot_id"), self.instance.clone().into_bytes()];
        let digest = Digest::of(&parts.join(&0)).to_string();
        digest.trim_start_matches("sha256:").chars().take(32).collect()
    }

    /// Compares the hash that the `CliHost` has with those that this machine reported, and remembers `own`, which it
    /// reports next. The first report of a machine that joined replaces that of the machine before it.
    pub fn observe(&mut self, found: Option<&str>, own: &str, now: Timestamp) {
        let is_known = |found: &str| found == own || self.reported.iter().any(|reported| reported == found);
        if !self.reported.is_empty() && found.is_some_and(|found| !is_known(found)) {
            self.other_seen = Some(now);
        }
        if self.reported.back().is_none_or(|last| last != own) {
            // The report of a boot may fail, so the hash that the record has is kept.
            self.reported.retain(|reported| found == Some(reported.as_str()) || found.is_none());
            self.reported.push_back(own.to_owned());
            let excess = self.reported.len().saturating_sub(REMEMBERED);
            self.reported.drain(..excess);
        }
    }

    /// Returns whether another machine reported as this host within a day.
    pub fn is_duplicate(&self, now: Timestamp) -> bool {
        // A clock that was set back does not hide it.
        self.other_seen.is_some_and(|seen| now.duration_since(seen) < SEEN_RECENTLY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn another_machine_is_noticed() {
        // What the CliHost has at each report, and the hash of this machine then; whether it is a duplicate after the last.
        for (what, reports, expected) in [
            ("a machine that has joined", &[(None, "a")][..], false),
            ("a machine that replaces another", &[(Some("z"), "a"), (Some("a"), "a")], false),
            ("a machine that started again", &[(None, "a"), (Some("a"), "b"), (Some("b"), "b")], false),
            ("its last report before the start failed", &[(None, "a"), (Some("a"), "b"), (Some("a"), "b")], false),
            (
                "two starts whose reports failed",
                &[(None, "a"), (Some("a"), "b"), (Some("a"), "c"), (Some("a"), "d")],
                false,
            ),
            ("a copy of the file", &[(None, "a"), (Some("x"), "a")], true),
            ("a copy, and a start", &[(None, "a"), (Some("a"), "b"), (Some("x"), "b")], true),
            // A copy of the whole disk remembers the same, and starts.
            ("the original of a copied disk", &[(None, "a"), (Some("copy"), "a")], true),
            ("the copy of a disk", &[(None, "a"), (Some("a"), "copy"), (Some("a2"), "copy")], true),
            ("a CliHost whose status was emptied", &[(None, "a"), (None, "a")], false),
        ] {
            let mut machine = MachineIdentity::default();
            for (found, own) in reports {
                machine.observe(*found, own, at(0));
            }
            assert_eq!(machine.is_duplicate(at(1)), expected, "{what}");
            assert!(!machine.is_duplicate(at(25)), "{what}");
        }
    }

    #[test]
    fn a_hash_names_this_machine() {
        let machine = MachineIdentity::default();
        assert_eq!((machine.hash().len(), machine.hash()), (32, machine.hash()));
        assert_ne!(machine.hash(), MachineIdentity::default().hash());
    }
}
