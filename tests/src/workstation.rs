//! A user's machine: a home, a plugin root, a kubeconfig, and the shipped `d8`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::{CommandOutput, ControlPlane, Identity, Result, run, tools};

/// The machine of one user. Each test has its own.
#[derive(Debug, Clone)]
pub struct Workstation {
    identity: Identity,
    home: PathBuf,
    root: PathBuf,
    kubeconfig: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Workstation {
    /// Creates one for a user, with an empty home and an empty plugin root.
    pub fn new(plane: &ControlPlane, identity: Identity) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let home = plane.scratch().directory(&format!("workstations/{number}-{}/home", identity.user))?;
        let root = home.join("plugins-root");
        std::fs::create_dir_all(&root).map_err(crate::Error::io(root.display().to_string()))?;
        Ok(Self { kubeconfig: plane.kubeconfig_for(&identity)?, identity, home, root, env: Vec::new() })
    }

    /// Returns the user whose token the kubeconfig has.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the home directory, the value of `HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the plugin root, the value of `DECKHOUSE_CLI_PATH`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the path of the kubeconfig, the value of `KUBECONFIG`.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs `d8 args…`, with any exit code.
    pub fn d8(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<CommandOutput> {
        run(tools::binary("d8")?, args, |command| self.environment(command))
    }

    /// Runs `d8 args…` at the end of the command line that begins with `prefix`, with any exit code.
    pub fn d8_through(
        &self,
        prefix: &[OsString],
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<CommandOutput> {
        let d8 = tools::binary("d8")?.into_os_string();
        let mut line = prefix.iter().cloned().chain([d8]).chain(args.into_iter().map(Into::into));
        let program = line.next().unwrap_or_default();
        run(program, line, |command| self.environment(command))
    }

    /// Lists every file and link below the plugin root, with the targets of links, to compare before and after.
    pub fn files(&self) -> Vec<String> {
        files(&self.root)
    }

    /// Replaces the environment of a command by the workstation's.
    pub fn environment(&self, command: &mut Command) {
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", &self.home).env("KUBECONFIG", &self.kubeconfig).env("DECKHOUSE_CLI_PATH", &self.root);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.home);
    }
}

/// Lists every directory, file and link below a directory, relative to it, with the targets of links.
pub fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(directory, directory, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
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
