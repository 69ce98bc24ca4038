//! Steps after a switch that do not affect it: the history of active versions, the log of digests, and files that the
//! d8 written in Go left.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::{limits::RECEIPT_BYTES, name::Tag, version::Version};

use super::LockedStore;
use crate::{
    disk::{self, failpoint},
    download::digest_log,
    install_root::{layout::PluginDir, lockfile},
    receipt::Receipt,
};

/// Activations that the history contains.
const MAX_ACTIVATIONS: usize = 50;

impl LockedStore {
    /// Records that a version became active. The next command records what a crash or a full disk prevented.
    pub(super) fn record_activation(
        &self,
        plugin: &PluginDir,
        previous: Option<&Tag>,
        version: &Version,
        receipt: &Receipt,
    ) {
        let recorded = append(plugin, previous, &receipt.tag, self.staging_dir())
            .and_then(|()| failpoint::hit("switch.history"))
            .and_then(|()| digest_log::record(&self.store.layout.digest_log(), version, receipt));
        if let Err(error) = recorded {
            tracing::warn!(plugin = %plugin.name, %error, "failed to record the switch");
        }
    }
}

/// Reads the tags that were active, oldest first. Ignores what is unreadable: the history only selects the target of
/// `rollback`.
pub(super) fn history(plugin: &PluginDir) -> Vec<Tag> {
    let bytes = disk::read_small(&plugin.history(), RECEIPT_BYTES).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect()
}

/// Returns whether a version was ever active. A plugin without `current` is damaged then; otherwise its first install, or
/// its removal, was interrupted.
pub(super) fn was_active(plugin: &PluginDir) -> bool {
    plugin.has_versions() && !history(plugin).is_empty()
}

/// Appends a version to the history after it became active. `rollback` would not select a version that a crash keeps
/// out of the history.
pub(super) fn append(plugin: &PluginDir, previous: Option<&Tag>, tag: &Tag, staging: &Path) -> io::Result<()> {
    let before = history(plugin);
    let mut history = before.clone();
    for tag in previous.into_iter().chain([tag]) {
        if history.last() != Some(tag) {
            history.push(tag.clone());
        }
    }
    if history == before {
        return Ok(());
    }
    let from = history.len().saturating_sub(MAX_ACTIVATIONS);
    let text = history[from..].iter().fold(String::new(), |text, tag| text + tag.as_str() + "\n");
    let staged = staging.join(format!("history-{}-{}", plugin.name, disk::random_name()));
    disk::write_new(&staged, text.as_bytes(), disk::PLAIN)?;
    disk::rename_over(&staged, &plugin.history(), &staging.join(disk::random_name()))?;
    disk::sync_dir(&plugin.versions())
}

/// Removes unfinished files of the d8 written in Go that are older than an hour.
pub(super) fn sweep_foreign(plugin: &PluginDir) {
    let majors = plugin.majors().unwrap_or_default();
    let directories = [plugin.dir.clone()].into_iter().chain(majors.into_iter().map(|major| plugin.major(major)));
    // A link may lead to a directory of somebody else.
    let directories = directories.filter(|directory| !directory.is_symlink());
    let mut unfinished: Vec<PathBuf> = Vec::new();
    for found in directories.filter_map(|directory| fs::read_dir(directory).ok()).flatten().flatten() {
        let path = found.path();
        if path.extension().is_some_and(|extension| extension == "new" || extension == "staged") {
            unfinished.push(path);
        }
    }
    let cached = plugin.cached_contract();
    let prefix = format!("{}.json.tmp-", plugin.name);
    for found in cached.parent().and_then(|directory| fs::read_dir(directory).ok()).into_iter().flatten().flatten() {
        if found.file_name().to_string_lossy().starts_with(&prefix) {
            unfinished.push(found.path());
        }
    }
    for path in unfinished {
        let modified = disk::lstat(&path).ok().flatten().and_then(|metadata| metadata.modified().ok());
        let age = modified.and_then(|modified| modified.elapsed().ok()).unwrap_or_default();
        if age > lockfile::FOREIGN_STALE {
            let _ = disk::remove_tree(&path);
        }
    }
}
