//! What follows a switch and decides nothing about it: the history, the digest memory, and the other
//! tool's leftovers.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::{name::Tag, version::Version};

use crate::{
    disk::{self, failpoint},
    download::digest_log,
    install_root::{layout::PluginDir, lockfile},
    receipt::Receipt,
    store::{LockedStore, read},
};

/// How many activations `rollback` can look back on.
const HISTORY: usize = 50;

impl LockedStore {
    /// Writes down that a version is active: after it is, as that decides nothing about the switch. What
    /// a crash or a full disk keeps from being written is written by the next command.
    pub(super) fn note(&self, plugin: &PluginDir, previous: Option<&Tag>, version: &Version, receipt: &Receipt) {
        let noted = activated(plugin, previous, &receipt.tag, self.staging_dir())
            .and_then(|()| failpoint::hit("switch.history"))
            .and_then(|()| digest_log::remember(&self.store.layout.memory(), version, receipt));
        if let Err(error) = noted {
            tracing::warn!(plugin = %plugin.name, %error, "the switch could not be noted");
        }
    }
}

/// Notes that a version became active, after it did: what a crash keeps out of the history is not where
/// `rollback` would go.
pub(super) fn activated(plugin: &PluginDir, previous: Option<&Tag>, tag: &Tag, staging: &Path) -> io::Result<()> {
    let before = read::history(plugin);
    let mut history = before.clone();
    for tag in previous.into_iter().chain([tag]) {
        if history.last() != Some(tag) {
            history.push(tag.clone());
        }
    }
    if history == before {
        return Ok(());
    }
    let from = history.len().saturating_sub(HISTORY);
    let text = history[from..].iter().fold(String::new(), |text, tag| text + tag.as_str() + "\n");
    let staged = staging.join(format!("history-{}-{}", plugin.name, disk::random_name()));
    disk::write_new(&staged, text.as_bytes(), disk::PLAIN)?;
    disk::rename(&staged, &plugin.history())?;
    disk::sync_dir(&plugin.versions())
}

/// Removes what the Go d8 left unfinished more than an hour ago.
pub(super) fn sweep_foreign(plugin: &PluginDir) {
    let cached = plugin.cached_contract();
    let mut folders: Vec<PathBuf> = vec![plugin.dir.clone()];
    if let Ok(found) = fs::read_dir(&plugin.dir) {
        folders.extend(found.flatten().map(|found| found.path()).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.strip_prefix('v').is_some_and(|digits| digits.parse::<u64>().is_ok())
        }));
    }
    let mut leftovers = Vec::new();
    for found in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
        let path = found.path();
        if path.extension().is_some_and(|extension| extension == "new" || extension == "staged") {
            leftovers.push(path);
        }
    }
    let prefix = format!("{}.json.tmp-", plugin.name);
    for found in cached.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten() {
        if found.file_name().to_string_lossy().starts_with(&prefix) {
            leftovers.push(found.path());
        }
    }
    for leftover in leftovers {
        let old = disk::lstat(&leftover).ok().flatten().and_then(|metadata| metadata.modified().ok());
        let age = old.and_then(|old| old.elapsed().ok()).unwrap_or_default();
        if age > lockfile::FOREIGN_STALE {
            let _ = disk::remove_tree(&leftover);
        }
    }
}
