//! Builds `d8-rpp pack` command lines.

use std::ffi::OsString;
use std::path::Path;

use crate::{CommandOutput, Result, run, tools};

/// A `d8-rpp pack` that is being put together. [`Pack::to`] runs it.
#[derive(Debug, Clone)]
pub struct Pack {
    args: Vec<OsString>,
}

impl Pack {
    /// Packs `image` with tag `version`.
    pub fn new(image: &str, version: &str) -> Self {
        Self { args: ["pack", "--image", image, "--version", version].map(OsString::from).into() }
    }

    /// Adds the executable for a platform, `<os>-<arch>`.
    #[must_use]
    pub fn platform(self, platform: &str, executable: &Path) -> Self {
        self.flag("--platform", format!("{platform}={}", executable.display()))
    }

    /// Adds the contract of a plugin, a file in YAML or JSON.
    #[must_use]
    pub fn contract(self, file: &Path) -> Self {
        self.flag("--contract", file)
    }

    /// Adds another flag with a value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.args.extend([name.into(), value.into()]);
        self
    }

    /// Runs it with this target: an OCI image layout, or the URL of a registry.
    pub fn to(self, target: impl Into<OsString>) -> Result<CommandOutput> {
        let packed = self.flag("--to", target);
        run(tools::binary("d8-rpp")?, packed.args, |_| {})
    }
}
