//! d8 itself where it may stand: in stores that lost something, on the PATHs of others, with a fallback
//! that is none, as root and as an ordinary user. Nothing here asks a cluster.

#![expect(clippy::unwrap_used, reason = "files of the test's own: that they cannot be made is its report")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use d8_tests::{Finished, Result, release, run};
use tempfile::TempDir;

/// A user of the machine who is not root, if the tests run as root.
const UID: u32 = 61_000;

/// A machine with a home, a folder on everybody's PATH, and two releases to switch between.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path());
        let place = Self { folder };
        for name in ["home", "home/bin", "pub"] {
            fs::create_dir(place.at(name)).unwrap();
            open(&place.at(name));
        }
        if root() {
            chown(place.at("home"), Some(UID), Some(UID)).unwrap();
            chown(place.at("home/bin"), Some(UID), Some(UID)).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The user's store, or a file in it.
    fn cli(&self, name: &str) -> PathBuf {
        self.at("home/.deckhouse-cli/cli").join(name)
    }

    /// A d8 of this version there, owned as the folder is.
    fn release(&self, folder: &Path, version: &str) -> PathBuf {
        let d8 = release::d8(folder, version).unwrap();
        for place in d8.ancestors().take_while(|place| *place != self.folder.path()) {
            if root() && place.starts_with(self.at("home")) {
                chown(place, Some(UID), Some(UID)).unwrap();
            }
        }
        d8
    }

    /// Runs something as the ordinary user.
    fn user(&self, program: &Path, line: &str) -> Finished {
        self.run(program, line, root().then_some(UID)).unwrap()
    }

    fn run(&self, program: &Path, line: &str, uid: Option<u32>) -> Result<Finished> {
        run(program, line.split_whitespace(), |command| {
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.at("home")).current_dir("/");
            command.env("KUBECONFIG", "/nonexistent").env("DECKHOUSE_CLI_PATH", self.at("root"));
            if let Some(uid) = uid {
                command.uid(uid).gid(uid);
            }
        })
    }

    /// v0.1.0 on the user's PATH, linked to the user's store, and v0.2.0 in it.
    fn switched() -> Result<(Self, PathBuf)> {
        let place = Self::new();
        place.release(&place.cli("versions/v0.2.0"), "v0.2.0");
        let d8 = place.release(&place.at("home/bin"), "v0.1.0");
        place.user(&d8, "cli use v0.1.0").expect_code(0)?;
        Ok((place, d8))
    }
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn open(place: &Path) {
    fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    open(path);
}

#[test]
fn a_store_without_its_current_is_mended_and_not_destroyed() -> Result<()> {
    let (place, d8) = Place::switched()?;
    for odd in [None, Some("/usr/bin/env"), Some("versions/v9.9.9/d8")] {
        fs::remove_file(place.cli("current")).unwrap();
        if let Some(odd) = odd {
            symlink(odd, place.cli("current")).unwrap();
        }
        let version = place.cli("versions/v0.1.0/d8");
        let mended = place.user(&version, "cli use v0.1.0").expect_code(0)?;
        assert_eq!(mended.stdout, "Switched deckhouse-cli to v0.1.0 (installed locally).\n", "{odd:?}");
        assert!(version.is_file() && !version.is_symlink(), "{odd:?}");
        assert_eq!(place.user(&d8, "--version").ok()?, "d8 v0.1.0\n", "{odd:?}");
        assert_eq!(place.user(&d8, "cli use v0.1.0").ok()?, "deckhouse-cli is already at v0.1.0.\n");
    }
    fs::remove_file(place.cli("current")).unwrap();
    fs::create_dir(place.cli("current")).unwrap();
    let refused = place.user(&place.cli("versions/v0.1.0/d8"), "cli use v0.2.0").expect_code(1)?;
    assert!(refused.stderr.contains("it is a directory") && refused.stderr.contains("fix:"), "{refused:?}");
    Ok(())
}

#[test]
fn a_command_that_leads_to_one_version_is_not_said_to_have_moved() -> Result<()> {
    let (place, d8) = Place::switched()?;
    fs::remove_file(&d8).unwrap();
    symlink("../.deckhouse-cli/cli/versions/v0.1.0/d8", &d8).unwrap();
    let warned = place.user(&d8, "-q cli use v0.2.0").expect_code(0)?;
    assert!(warned.stderr.contains("stays as it is: ln -sfn"), "{warned:?}");
    // By the version's own path nobody expects it to.
    let told = place.user(&place.cli("versions/v0.1.0/d8"), "-q cli use v0.1.0").expect_code(0)?;
    assert_eq!(told.stderr, "");
    Ok(())
}

#[test]
fn a_development_build_with_an_older_backup_is_kept() -> Result<()> {
    let place = Place::new();
    place.release(&place.cli("versions/v0.2.0"), "v0.2.0");
    let d8 = place.release(&place.at("home/bin"), "");
    fs::write(place.at("home/bin/d8.old"), "older").unwrap();
    let told = place.user(&d8, "cli use v0.2.0").expect_code(0)?;
    assert!(told.stderr.contains("d8.old.1: its only copy"), "{told:?}");
    assert!(place.user(&place.at("home/bin/d8.old.1"), "--version").ok()?.starts_with("d8 dev"));
    assert_eq!(fs::read_to_string(place.at("home/bin/d8.old")).unwrap(), "older");
    Ok(())
}

#[test]
fn what_a_home_or_a_path_must_not_be() -> Result<()> {
    let (place, d8) = Place::switched()?;
    // One that others run never leads into a home, nor, as root, where they cannot go.
    let shared = place.release(&place.at("pub"), "v0.1.0");
    if root() {
        chown(place.at("pub"), Some(UID), Some(UID)).unwrap();
    }
    let refused = place.user(&shared, "cli use v0.1.0").expect_code(1)?;
    assert!(refused.stderr.contains("not made a link into a home"), "{refused:?}");
    if root() {
        fs::create_dir(place.at("root")).unwrap();
        fs::set_permissions(place.at("root"), Permissions::from_mode(0o700)).unwrap();
        let refused = place.run(&shared, "cli use v0.1.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains("closed to others"), "{refused:?}");
        open(&place.at("root"));
        // A user's own store is not root's to change.
        let refused = place.run(&d8, "cli use v0.2.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains("repeat without sudo"), "{refused:?}");
        // Nor is a link into a home that root finds on its PATH.
        fs::remove_file(&shared).unwrap();
        symlink(place.release(&place.at("home/own"), "v0.1.0"), &shared).unwrap();
        let refused = place.run(&shared, "cli use v0.1.0", None)?.expect_code(1)?;
        assert!(refused.stderr.contains(&format!("belongs to the user with uid {UID}")), "{refused:?}");
        assert!(!place.at("root/cli").exists());
    }
    // Without write access nothing changes.
    let plain = place.release(&place.at("home/plain"), "v0.1.0");
    for closed in [place.at("home/plain"), place.at("home/.deckhouse-cli"), place.cli("")] {
        fs::set_permissions(&closed, Permissions::from_mode(0o555)).unwrap();
        let refused = place.user(&plain, "cli use v0.1.0").expect_code(1)?;
        assert!(refused.stderr.contains("nothing was changed"), "{}: {refused:?}", closed.display());
        open(&closed);
        assert!(!plain.is_symlink());
    }
    // A home that is none fails what needs it and nothing else.
    let nowhere = |line: &str| {
        run(&plain, line.split_whitespace(), |command| {
            command.env_clear().env("KUBECONFIG", "/nonexistent");
            if root() {
                command.uid(UID).gid(UID);
            }
        })
    };
    if root() {
        nowhere("cli use v0.1.0")?.expect_code(1)?;
        assert!(nowhere("cli check")?.expect_code(5)?.stderr.contains("kubeconfig"));
        nowhere("cli capabilities")?.expect_code(0)?;
        nowhere("mirror pull")?.expect_code(2)?;
    }
    Ok(())
}

#[test]
fn a_command_that_was_replaced_meanwhile_is_left_alone() -> Result<()> {
    let place = Place::new();
    place.release(&place.cli("versions/v0.2.0"), "v0.2.0");
    let d8 = place.release(&place.at("home/bin"), "v0.1.0");
    // The former d8 holds the lock: ours waits, and says so.
    let lock = place.cli("install.lock");
    fs::write(&lock, "").unwrap();
    let mut command = Command::new(&d8);
    command.args(["cli", "use", "v0.2.0"]).env_clear().env("HOME", place.at("home")).stderr(Stdio::piped());
    let mut waiting = command.of_user().spawn().unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for"), "{line}");
    script(&place.at("home/bin/next"), "echo another");
    fs::rename(place.at("home/bin/next"), &d8).unwrap();
    fs::remove_file(&lock).unwrap();
    told.read_to_string(&mut line).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(1), "{line}");
    assert!(line.contains("was replaced meanwhile"), "{line}");
    assert_eq!(place.user(&d8, "").ok()?, "another\n");
    assert!(!place.cli("versions/v0.1.0").exists() && !place.cli("current").exists());
    Ok(())
}

#[test]
fn a_fallback_that_is_none() -> Result<()> {
    let (place, d8) = Place::switched()?;
    let other = place.at("pub/other");
    let set = format!("cli fallback set {}", other.display());
    // It calls d8 for another of its commands, which is no loop.
    script(&other, &format!("[ \"$1\" = outer ] && exec {} inner; printf '<%s>' \"$@\"", d8.display()));
    place.user(&d8, &set).expect_code(0)?;
    assert_eq!(place.user(&d8, "outer").ok()?, "<inner>");
    assert_eq!(place.user(&d8, "cli fallback -o name").ok()?, format!("{}\n", other.display()));
    let odd = std::ffi::OsStr::from_bytes(b"a\xff b");
    let words = ["mirror".as_ref(), odd, "--".as_ref(), "".as_ref(), "-q".as_ref()];
    let verbatim = Command::new(&d8).args(words).env("HOME", place.at("home")).of_user().output();
    assert_eq!(verbatim.unwrap().stdout, b"<mirror><a\xff b><--><><-q>");
    // These are.
    for loops in ["exec {} \"$@\"", "{} \"$@\""] {
        script(&other, &loops.replace("{}", &d8.display().to_string()));
        let refused = place.user(&d8, "mirror pull").expect_code(2)?;
        assert!(refused.stderr.contains("leads back to this one"), "{loops}: {refused:?}");
    }
    for broken in ["not executable", "a directory", "gone"] {
        fs::remove_file(&other).unwrap();
        match broken {
            "not executable" => fs::write(&other, "x").unwrap(),
            "a directory" => fs::create_dir(&other).unwrap(),
            _ => {}
        }
        let refused = place.user(&d8, "mirror pull").expect_code(1)?;
        assert!(refused.stderr.contains("d8 cli fallback set PATH"), "{broken}: {refused:?}");
        if other.is_dir() {
            fs::remove_dir(&other).unwrap();
        }
        fs::write(&other, "x").unwrap();
    }
    place.user(&d8, "cli fallback unset").expect_code(0)?;
    place.user(&d8, "mirror pull").expect_code(2)?;
    Ok(())
}

/// Runs as the ordinary user where the tests run as root.
trait OfUser {
    fn of_user(&mut self) -> &mut Self;
}

impl OfUser for Command {
    fn of_user(&mut self) -> &mut Self {
        if root() { self.uid(UID).gid(UID) } else { self }
    }
}
