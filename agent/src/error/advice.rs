//! Causes of each error, and how to fix them.

use std::{io, path::Path};

use d8_crds::values::name::Component;
use d8_rpp::Advice;

use super::{LockHolder, StoreError, no_locks};
use crate::disk;

/// Cause of an error of a full disk.
const FULL: &str = "the file system is full, or a limit or a quota is reached";

impl StoreError {
    /// Returns possible causes with their fixes, the likeliest first.
    pub fn advice(&self) -> Vec<Advice> {
        let pair = |cause: &str, fix: String| vec![Advice { cause: cause.to_owned(), fix }];
        match self {
            Self::Root { .. } => pair(
                "the root in `--plugins-dir` or DECKHOUSE_CLI_PATH is used as given; d8 does not fall back to another root",
                "pass another directory, or omit it".to_owned(),
            ),
            Self::Unwritable { .. } => pair(
                "the directory belongs to another user, or the file system is mounted read-only",
                "run the command again with sudo, or install for yourself: `--plugins-dir ~/.deckhouse-cli`".to_owned(),
            ),
            Self::EntryUnwritable { source, path } if disk::is_full(source) => pair(
                FULL,
                format!("free some space in the directory of {}, then run the command again", path.display()),
            ),
            Self::EntryUnwritable { path, .. } => pair(
                "the directory belongs to another user, or the file system is mounted read-only",
                format!(
                    "run the command again with sudo, or install your own copy, and put ~/.local/bin first in PATH: \
                     `install -D {} ~/.local/bin/d8`",
                    path.display()
                ),
            ),
            Self::Untrusted { path, .. } => pair(
                "a user who can write there could make root run or overwrite any file",
                format!(
                    "`chown root:root {0} && chmod go-w {0}`, or pass another root with `--plugins-dir`",
                    path.display()
                ),
            ),
            Self::NotADirectory { path, .. } if path.is_symlink() => pair(
                "a user who can change the target of a link could make this user overwrite any file",
                format!("create the directory itself at {}; only the root above it may be a link", path.display()),
            ),
            Self::NotADirectory { path, .. } => pair(
                "another program or a person put a file in place of the directory",
                format!("move it away, then run the command again: `mv {0} {0}.old`", path.display()),
            ),
            Self::Locked { path, holder: LockHolder::Process { .. }, .. } => pair(
                "another d8 is installing, updating or removing it",
                format!("wait for it, or raise `--lock-timeout`; the lock is {}", path.display()),
            ),
            Self::Locked { path, .. } => pair(
                "another program is changing it, or ended during a change and left its lock",
                format!(
                    "wait for it; if no such program is running, remove {} (a lock older than an hour is removed \
                     automatically)",
                    path.display()
                ),
            ),
            Self::LockLost { name, .. } => pair(
                "two programs changed it at the same time",
                format!(
                    "run the command again; to see the result: `{}`",
                    command(name, "plugins list", "cli versions")
                ),
            ),
            Self::Contract { name, .. } => {
                pair("the file was changed or damaged", format!("`d8 plugins install {name}`"))
            }
            Self::Broken { name, path, .. } => pair(
                "something else was put in its place",
                format!(
                    "`rm -r {}`, then: `{}`",
                    path.display(),
                    command(name, &format!("plugins install {name}"), "cli update")
                ),
            ),
            Self::NotInstalled { name } | Self::NotStored { name: Component::Plugin(name), .. } => {
                pair("it was never installed, or was removed", format!("`d8 plugins install {name}`"))
            }
            Self::NotStored { tag, .. } => pair(
                "it was never installed, or its directory was removed or changed",
                format!("`d8 cli update --version {tag}`"),
            ),
            Self::NoPrevious { name } => pair(
                "only one version was ever active here, or the earlier ones were removed",
                format!("`d8 plugins install {name} --version VERSION`"),
            ),
            Self::NotAVersion { name, .. } => pair(
                "only versions such as v1.2.3 can be installed",
                format!("list the versions: `{}`", command(name, &format!("plugins why {name}"), "cli versions")),
            ),
            Self::Proxy(error) => error.advice(),
            Self::WrongDigest { .. } => pair(
                "the tag was moved after it was recorded, or the bytes were changed on the way from the registry",
                "run the command again; if the error persists, report it to the cluster's admins before you \
                 install anything"
                    .to_owned(),
            ),
            Self::Moved { found, .. } => pair(
                "other bytes were published under the same version",
                format!("ask the publisher; {found} can be installed once an admin pins it in a policy"),
            ),
            Self::Smoke { failure, name, .. } => vec![failure.advice(name)],
            Self::Io { what, path, source } => of_file_system(what, path, source).into_iter().collect(),
        }
    }
}

/// Returns the advice for an error of the file system, if the error has a known cause.
fn of_file_system(what: &str, path: &Path, source: &io::Error) -> Option<Advice> {
    let path = path.display();
    let (cause, fix) = if disk::is_full(source) {
        let free =
            format!("free some space or inodes on the file system of {path}, for example: `d8 plugins remove NAME`");
        (FULL, free)
    } else if no_locks(source) {
        let fix = "install into a root on a local disk with `--plugins-dir`, or mount the file system with locks (NFS: \
                   `local_lock=flock`, if only this machine uses the root)";
        ("it is a network file system without a lock service", fix.to_owned())
    } else if what == "read" && source.raw_os_error().is_none() {
        // Not an error of the system: something else is in place of a file of the store.
        ("the file was changed or damaged", format!("`mv {path} {path}.damaged`, then run the command again"))
    } else {
        return None;
    };
    Some(Advice { cause: cause.to_owned(), fix })
}

/// Returns the command for a plugin, or the one for d8 itself.
fn command(component: &Component, for_plugin: &str, for_d8: &str) -> String {
    format!("d8 {}", if *component == Component::D8 { for_d8 } else { for_plugin })
}
