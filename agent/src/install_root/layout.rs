//! Paths of a store. Names are checked types, so no path leaves the root.

use std::path::{Path, PathBuf};

use d8_crds::values::name::{PluginName, Tag};

/// Name of the lock file in a plugin's directory, shared with the Go d8.
pub(crate) const LOCK: &str = "install.lock";
/// The contract in a version directory.
pub(crate) const CONTRACT: &str = "contract.json";
/// The receipt in a version directory.
pub(crate) const RECEIPT: &str = "receipt.json";
/// The tags that were active, oldest first, beside the versions. No tag begins with a dot.
pub(crate) const HISTORY: &str = ".history";

/// The places of one root.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join(".staging")
    }

    pub(crate) fn contracts(&self) -> PathBuf {
        self.root.join("cache/contracts")
    }

    /// The store of d8 itself.
    pub(crate) fn own(&self) -> PathBuf {
        self.root.join("cli")
    }

    /// The digest memory.
    pub(crate) fn memory(&self) -> PathBuf {
        self.root.join("digests.jsonl")
    }

    pub(crate) fn plugin(&self, name: &PluginName) -> PluginDir {
        PluginDir { dir: self.plugins().join(name.as_str()), contracts: self.contracts(), name: name.clone() }
    }
}

/// The places of one plugin.
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

    pub(crate) fn history(&self) -> PathBuf {
        self.versions().join(HISTORY)
    }

    pub(crate) fn version(&self, tag: &Tag) -> PathBuf {
        self.versions().join(tag.as_str())
    }

    pub(crate) fn binary(&self, tag: &Tag) -> PathBuf {
        self.version(tag).join(self.name.as_str())
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

    /// The major that a target of `current` names: `<this directory>/v<major>/<name>`, absolute, or the
    /// same relative to it; anything else is none of ours.
    pub(crate) fn major_of_target(&self, target: &Path) -> Option<u64> {
        let (folder, file) = (target.parent()?, target.file_name()?);
        let (parent, major) = (folder.parent()?, folder.file_name()?);
        let digits = major.to_str()?.strip_prefix('v')?;
        let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        let here = parent == self.dir
            || parent.as_os_str().is_empty()
            || (parent.is_absolute()
                && parent.canonicalize().is_ok_and(|p| self.dir.canonicalize().is_ok_and(|d| p == d)));
        (canonical && here && file == self.name.as_str()).then(|| digits.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_current_may_point() {
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
