//! `d8 cli use` with damaged stores, in directories of other users, with unusable fallbacks, as root and as an ordinary
//! user. These tests need no cluster.

#![expect(clippy::unwrap_used, reason = "the test creates these files")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use d8_tests::{CommandOutput, Result, d8_build, run};
use tempfile::TempDir;

/// The ordinary user, if the tests run as root.
const UID: u32 = 61_000;

/// A machine with a home and a public directory of programs.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_readable(directory.path());
        let machine = Self { directory };
        for name in ["home", "home/bin", "pub"] {
            fs::create_dir(machine.at(name)).unwrap();
            make_readable(&machine.at(name));
        }
        if root() {
            chown(machine.at("home"), Some(UID), Some(UID)).unwrap();
            chown(machine.at("home/bin"), Some(UID), Some(UID)).unwrap();
        }
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the user's store, or a file in it.
    fn cli(&self, name: &str) -> PathBuf {
        self.at("home/.deckhouse-cli/cli").join(name)
    }

    /// Writes a d8 with this version into a directory. It belongs to the owner of the directory.
    fn release(&self, directory: &Path, version: &str) -> PathBuf {
        let d8 = d8_build::stamped(directory, version).unwrap();
        for path in d8.ancestors().take_while(|path| *path != self.directory.path()) {
            if root() && path.starts_with(self.at("home")) {
                chown(path, Some(UID), Some(UID)).unwrap();
            }
        }
        d8
    }

    /// Runs a program as the ordinary user.
    fn user(&self, program: &Path, line: &str) -> CommandOutput {
        self.run(program, line, root().then_some(UID)).unwrap()
    }

    fn run(&self, program: &Path, line: &str, uid: Option<u32>) -> Result<CommandOutput> {
        run(program, line.split_whitespace(), |command| {
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.at("home")).current_dir("/");
            command.env("KUBECONFIG", "/nonexistent").env("DECKHOUSE_CLI_PATH", self.at("root"));
            if let Some(uid) = uid {
                command.uid(uid).gid(uid);
            }
        })
    }

    /// Returns a machine whose user has v0.1.0 in `PATH`, linked to the store, and v0.2.0 in the store. Returns the
    /// path of the command too.
    fn with_store() -> Result<(Self, PathBuf)> {
        let machine = Self::new();
        machine.release(&machine.cli("versions/v0.2.0"), "v0.2.0");
        let d8 = machine.release(&machine.at("home/bin"), "v0.1.0");
        machine.user(&d8, "cli use v0.1.0").expect_code(0)?;
        Ok((machine, d8))
    }
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn make_readable(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    make_readable(path);
}

#[test]
fn use_repairs_a_store_without_current() -> Result<()> {
    let (machine, d8) = Machine::with_store()?;
    for target in [None, Some("/usr/bin/env"), Some("versions/v9.9.9/d8")] {
        fs::remove_file(machine.cli("current")).unwrap();
        if let Some(target) = target {
            symlink(target, machine.cli("current")).unwrap();
        }
        let version = machine.cli("versions/v0.1.0/d8");
        let repaired = machine.user(&version, "cli use v0.1.0").expect_code(0)?;
        assert_eq!(repaired.stdout, "Switched deckhouse-cli to v0.1.0 (installed locally).\n", "{target:?}");
        assert!(version.is_file() && !version.is_symlink(), "{target:?}");
        assert_eq!(machine.user(&d8, "--version").ok()?, "d8 v0.1.0\n", "{target:?}");
        assert_eq!(machine.user(&d8, "cli use v0.1.0").ok()?, "deckhouse-cli is already at v0.1.0.\n");
    }
    fs::remove_file(machine.cli("current")).unwrap();
    fs::create_dir(machine.cli("current")).unwrap();
    let refused = machine.user(&machine.cli("versions/v0.1.0/d8"), "cli use v0.2.0").expect_code(1)?;
    assert!(refused.stderr.contains("it is a directory") && refused.stderr.contains("fix:"), "{refused:?}");
    Ok(())
}

#[test]
fn use_warns_if_the_command_is_a_link_to_one_version() -> Result<()> {
    let (machine, d8) = Machine::with_store()?;
    fs::remove_file(&d8).unwrap();
    symlink("../.deckhouse-cli/cli/versions/v0.1.0/d8", &d8).unwrap();
    let warned = machine.user(&d8, "-q cli use v0.2.0").expect_code(0)?;
    assert!(warned.stderr.contains("was not changed; to use v0.2.0: ln -sfn"), "{warned:?}");
    // A version that is run by its own path gives no warning.
    let quiet = machine.user(&machine.cli("versions/v0.1.0/d8"), "-q cli use v0.1.0").expect_code(0)?;
    assert_eq!(quiet.stderr, "");
    Ok(())
}

#[test]
fn a_development_build_is_kept_beside_an_older_backup() -> Result<()> {
    let machine = Machine::new();
    machine.release(&machine.cli("versions/v0.2.0"), "v0.2.0");
    let d8 = machine.release(&machine.at("home/bin"), "");
    fs::write(machine.at("home/bin/d8.old"), "older").unwrap();
    let output = machine.user(&d8, "cli use v0.2.0").expect_code(0)?;
    assert!(output.stderr.contains("d8.old.1. It is the only copy"), "{output:?}");
    assert!(machine.user(&machine.at("home/bin/d8.old.1"), "--version").ok()?.starts_with("d8 dev"));
    assert_eq!(fs::read_to_string(machine.at("home/bin/d8.old")).unwrap(), "older");
    Ok(())
}

#[test]
fn use_refuses_unsuitable_directories() -> Result<()> {
    let (machine, d8) = Machine::with_store()?;
    // A d8 that other users run is not linked into a home or into a root that they cannot read.
    let shared = machine.release(&machine.at("pub"), "v0.1.0");
    if root() {
        chown(machine.at("pub"), Some(UID), Some(UID)).unwrap();
    }
    let refused = machine.user(&shared, "cli use v0.1.0").expect_code(1)?;
    assert!(refused.stderr.contains("not linked into a home"), "{refused:?}");
    if root() {
        fs::create_dir(machine.at("root")).unwrap();
        fs::set_permissions(machine.at("root"), Permissions::from_mode(0o700)).unwrap();
        let refused = machine.run(&shared, "cli use v0.1.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains("other users cannot access"), "{refused:?}");
        make_readable(&machine.at("root"));
        // Root does not change a user's own store.
        let refused = machine.run(&d8, "cli use v0.2.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains("without sudo"), "{refused:?}");
        // Root does not replace a link into a home.
        fs::remove_file(&shared).unwrap();
        symlink(machine.release(&machine.at("home/own"), "v0.1.0"), &shared).unwrap();
        let refused = machine.run(&shared, "cli use v0.1.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains(&format!("belongs to the user with uid {UID}")), "{refused:?}");
        assert!(!machine.at("root/cli").exists());
    }
    // Without write access, nothing changes.
    let plain = machine.release(&machine.at("home/plain"), "v0.1.0");
    for read_only in [machine.at("home/plain"), machine.at("home/.deckhouse-cli"), machine.cli("")] {
        fs::set_permissions(&read_only, Permissions::from_mode(0o555)).unwrap();
        let refused = machine.user(&plain, "cli use v0.1.0").expect_code(1)?;
        assert!(refused.stderr.contains("nothing was changed"), "{}: {refused:?}", read_only.display());
        make_readable(&read_only);
        assert!(!plain.is_symlink());
    }
    // Without a home, only commands that need it fail.
    let without_home = |line: &str| {
        run(&plain, line.split_whitespace(), |command| {
            command.env_clear().env("KUBECONFIG", "/nonexistent");
            if root() {
                command.uid(UID).gid(UID);
            }
        })
    };
    if root() {
        without_home("cli use v0.1.0")?.expect_code(1)?;
        assert!(without_home("cli check")?.expect_code(5)?.stderr.contains("kubeconfig"));
        without_home("cli capabilities")?.expect_code(0)?;
        without_home("mirror pull")?.expect_code(2)?;
    }
    Ok(())
}

#[test]
fn use_refuses_a_command_that_was_replaced_meanwhile() -> Result<()> {
    let machine = Machine::new();
    machine.release(&machine.cli("versions/v0.2.0"), "v0.2.0");
    let d8 = machine.release(&machine.at("home/bin"), "v0.1.0");
    // The former d8 has the lock. Our d8 waits and prints a note.
    let lock = machine.cli("install.lock");
    fs::write(&lock, "").unwrap();
    let mut command = Command::new(&d8);
    command.args(["cli", "use", "v0.2.0"]).env_clear().env("HOME", machine.at("home")).stderr(Stdio::piped());
    let mut waiting = command.as_user().spawn().unwrap();
    let mut stderr = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for"), "{line}");
    script(&machine.at("home/bin/next"), "echo another");
    fs::rename(machine.at("home/bin/next"), &d8).unwrap();
    fs::remove_file(&lock).unwrap();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(1), "{line}");
    assert!(line.contains("was replaced by another program"), "{line}");
    assert_eq!(machine.user(&d8, "").ok()?, "another\n");
    assert!(!machine.cli("versions/v0.1.0").exists() && !machine.cli("current").exists());
    Ok(())
}

#[test]
fn unusable_fallbacks_are_refused() -> Result<()> {
    let (machine, d8) = Machine::with_store()?;
    let other = machine.at("pub/other");
    let set = format!("cli fallback set {}", other.display());
    // A fallback may call d8 for another command. That is not a loop.
    script(&other, &format!("[ \"$1\" = outer ] && exec {} inner; printf '<%s>' \"$@\"", d8.display()));
    machine.user(&d8, &set).expect_code(0)?;
    assert_eq!(machine.user(&d8, "outer").ok()?, "<inner>");
    assert_eq!(machine.user(&d8, "cli fallback -o name").ok()?, format!("{}\n", other.display()));
    let not_utf8 = std::ffi::OsStr::from_bytes(b"a\xff b");
    let args = ["mirror".as_ref(), not_utf8, "--".as_ref(), "".as_ref(), "-q".as_ref()];
    let verbatim = Command::new(&d8).args(args).env("HOME", machine.at("home")).as_user().output();
    assert_eq!(verbatim.unwrap().stdout, b"<mirror><a\xff b><--><><-q>");
    // These fallbacks are loops.
    for body in ["exec {} \"$@\"", "{} \"$@\""] {
        script(&other, &body.replace("{}", &d8.display().to_string()));
        let refused = machine.user(&d8, "mirror pull").expect_code(2)?;
        assert!(refused.stderr.contains("forwards the command back to this d8"), "{body}: {refused:?}");
    }
    for broken in ["not executable", "a directory", "gone"] {
        fs::remove_file(&other).unwrap();
        match broken {
            "not executable" => fs::write(&other, "x").unwrap(),
            "a directory" => fs::create_dir(&other).unwrap(),
            _ => {}
        }
        let refused = machine.user(&d8, "mirror pull").expect_code(1)?;
        assert!(refused.stderr.contains("d8 cli fallback set PATH"), "{broken}: {refused:?}");
        if other.is_dir() {
            fs::remove_dir(&other).unwrap();
        }
        fs::write(&other, "x").unwrap();
    }
    machine.user(&d8, "cli fallback unset").expect_code(0)?;
    machine.user(&d8, "mirror pull").expect_code(2)?;
    Ok(())
}

/// Runs a command as the ordinary user if the tests run as root.
trait AsUser {
    fn as_user(&mut self) -> &mut Self;
}

impl AsUser for Command {
    fn as_user(&mut self) -> &mut Self {
        if root() { self.uid(UID).gid(UID) } else { self }
    }
}
