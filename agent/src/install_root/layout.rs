//! Paths in an install root. Names are checked types, so no path leaves the root.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use d8_crds::values::name::{PluginName, Tag};

use crate::disk;

/// Name of the lock file in a directory, which the d8 written in Go uses, too.
pub(crate) const LOCK: &str = "install.lock";
/// Name of the contract in a version directory.
pub(crate) const CONTRACT: &str = "contract.json";
/// Name of the receipt in a version directory.
pub(crate) const RECEIPT: &str = "receipt.json";
/// Name of the file with the tags that were active, oldest first, next to the version directories. No tag begins with
/// a dot.
pub(crate) const HISTORY: &str = ".history";

/// The paths in one root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    /// Directory of all plugins.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// Directory of all staging directories.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    /// Directory of the cached contracts.
    pub(crate) fn contracts(&self) -> PathBuf {
        self.root.join("cache/contracts")
    }

    /// Directory of the d8 store.
    pub(crate) fn d8_store(&self) -> PathBuf {
        self.root.join("cli")
    }

    /// Returns the log of digests.
    pub(crate) fn digest_log(&self) -> PathBuf {
        self.root.join("digests.jsonl")
    }

    pub(crate) fn plugin(&self, name: &PluginName) -> PluginDir {
        PluginDir { dir: self.plugins().join(name.as_str()), contracts: self.contracts(), name: name.clone() }
    }
}

/// The paths of one plugin.
#[derive(Debug, Clone)]
pub(crate) struct PluginDir {
    pub(crate) dir: PathBuf,
    contracts: PathBuf,
    pub(crate) name: PluginName,
}

impl PluginDir {
    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.dir.join("current")
    }

    pub(crate) fn versions(&self) -> PathBuf {
        self.dir.join("versions")
    }

    /// Returns whether `versions` is a directory. A link is not followed.
    pub(crate) fn has_versions(&self) -> bool {
        disk::lstat(&self.versions()).is_ok_and(|found| found.is_some_and(|metadata| metadata.is_dir()))
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.versions().join(HISTORY)
    }

    pub(crate) fn version(&self, tag: &Tag) -> PathBuf {
        self.versions().join(tag.as_str())
    }

    pub(crate) fn binary(&self, tag: &Tag) -> PathBuf {
        self.version(tag).join(self.name.as_str())
    }

    /// Returns the majors whose directories exist.
    ///
    /// # Errors
    /// The plugin's directory cannot be read.
    pub(crate) fn majors(&self) -> io::Result<Vec<u64>> {
        let mut majors = Vec::new();
        for found in fs::read_dir(&self.dir)? {
            let name = found?.file_name();
            majors.extend(name.to_str().and_then(|name| name.strip_prefix('v')?.parse::<u64>().ok()));
        }
        Ok(majors)
    }

    pub(crate) fn major(&self, major: u64) -> PathBuf {
        self.dir.join(format!("v{major}"))
    }

    pub(crate) fn major_binary(&self, major: u64) -> PathBuf {
        self.major(major).join(self.name.as_str())
    }

    pub(crate) fn cached_contract(&self) -> PathBuf {
        self.contracts.join(format!("{}.json", self.name))
    }

    /// Returns the major that a target of `current` names. The target must be `<this directory>/v<major>/<name>`,
    /// absolute or relative to this directory. An absolute one may name the directory in another way: through a link, or
    /// where it is mounted, too.
    pub(crate) fn major_of_target(&self, target: &Path) -> Option<u64> {
        let (directory, file) = (target.parent()?, target.file_name()?);
        let (parent, major) = (directory.parent()?, directory.file_name()?);
        let digits = major.to_str()?.strip_prefix('v')?;
        let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        let here = parent == self.dir
            || parent.as_os_str().is_empty()
            || (parent.is_absolute() && disk::is_same_file(parent, &self.dir));
        (canonical && here && file == self.name.as_str()).then(|| digits.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_current() {
        let layout = Layout { root: "/r".into() };
        let plugin = layout.plugin(&"hello".parse().unwrap());
        for (target, major) in [
            ("/r/plugins/hello/v1/hello", Some(1)),
            ("/r/plugins/hello/v0/hello", Some(0)),
            ("v2/hello", Some(2)),
            ("/r/plugins/hello/v01/hello", None),
            ("/r/plugins/hello/v/hello", None),
            ("/r/plugins/hello/v1/other", None),
            ("/r/plugins/other/v1/hello", None),
            ("/bin/sh", None),
            ("../../v1/hello", None),
            ("hello", None),
        ] {
            assert_eq!(plugin.major_of_target(Path::new(target)), major, "{target}");
        }
    }
}
