//! A machine of an engineer: a home, a plugin root, a kubeconfig, and the shipped `d8`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::command::run_as_seen;
use crate::{ControlPlane, Finished, Identity, Result, run, tools};

/// Where one user runs `d8`. Tests that share a lab have one each.
#[derive(Debug, Clone)]
pub struct Workstation {
    who: Identity,
    home: PathBuf,
    root: PathBuf,
    kubeconfig: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Workstation {
    /// One for `who`, with an empty home and an empty plugin root.
    pub fn new(plane: &ControlPlane, who: Identity) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = plane.scratch().folder(&format!("workstations/{number}-{}/home", who.user))?;
        let root = home.join("plugins-root");
        std::fs::create_dir_all(&root).map_err(crate::Error::io(root.display().to_string()))?;
        Ok(Self { kubeconfig: plane.kubeconfig_for(&who)?, who, home, root, env: Vec::new() })
    }

    /// Whose it is.
    pub fn who(&self) -> &Identity {
        &self.who
    }

    /// `HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// `DECKHOUSE_CLI_PATH`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The same workstation with one more variable, or another value of one it has.
    #[must_use]
    pub fn with(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// `d8 args…`, whatever it exits with.
    pub fn d8(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Finished> {
        run(tools::binary("d8")?, args, |command| self.environment(command))
    }

    /// `d8 args…` with stdout and stderr as a terminal would show them: in one.
    pub fn d8_as_seen(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Finished> {
        run_as_seen(tools::binary("d8")?, args, |command| self.environment(command))
    }

    /// Every file and link below the plugin root, with what a link names: to compare before and after.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.root, &self.root, &mut found);
        found.sort();
        found
    }

    /// Gives a command this workstation's environment and no other.
    pub fn environment(&self, command: &mut Command) {
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", &self.home).env("KUBECONFIG", &self.kubeconfig).env("DECKHOUSE_CLI_PATH", &self.root);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.home);
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {
                found.push(format!("{name}/"));
                walk(root, &path, found);
            }
            Ok(meta) if meta.is_symlink() => {
                let target = path.read_link().unwrap_or_default();
                found.push(format!("{name} -> {}", OsStr::to_string_lossy(target.as_os_str())));
            }
            _ => found.push(name),
        }
    }
}
