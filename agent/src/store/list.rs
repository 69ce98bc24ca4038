//! Lists what is installed in a root.

use std::fs;

use d8_crds::values::name::PluginName;

use super::{
    history,
    read::{self, ContentCheck, PluginEntry},
};
use crate::{
    disk,
    error::StoreError,
    install_root::{
        layout::{Layout, PluginDir},
        trust,
    },
};

/// Lists the installed plugins by name.
pub(super) fn entries(layout: &Layout) -> Result<Vec<PluginEntry>, StoreError> {
    let mut entries = Vec::new();
    for plugin in plugins(layout)? {
        entries.extend(read::entry(&plugin, ContentCheck::IfModified)?);
    }
    Ok(entries)
}

/// Lists the names of the installed plugins, and reads no executable, receipt or contract.
pub(super) fn names(layout: &Layout) -> Result<Vec<PluginName>, StoreError> {
    let is_installed = |plugin: &PluginDir| {
        // What is in place of a directory, or cannot be read, is a damaged plugin.
        let is_directory = disk::lstat(&plugin.dir).is_ok_and(|found| found.is_some_and(|metadata| metadata.is_dir()));
        !is_directory || !matches!(disk::lstat(&plugin.current()), Ok(None)) || history::was_active(plugin)
    };
    Ok(plugins(layout)?.into_iter().filter(is_installed).map(|plugin| plugin.name).collect())
}

/// Returns what is in the directory of all plugins under the name of a plugin, by name.
fn plugins(layout: &Layout) -> Result<Vec<PluginDir>, StoreError> {
    let directory = layout.plugins();
    trust::directory(&directory)?;
    let Some(names) = disk::if_exists(fs::read_dir(&directory)).map_err(StoreError::io("read", &directory))? else {
        return Ok(Vec::new());
    };
    let mut plugins = Vec::new();
    for found in names {
        let found = found.map_err(StoreError::io("read", &directory))?;
        let name = found.file_name().to_str().and_then(|name| name.parse().ok());
        plugins.extend(name.map(|name| layout.plugin(&name)));
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plugins)
}
