//! `d8 cli`: check, update, use and going back. Releases of d8 are the program under test with other versions in
//! its release stamp.

use std::path::{Path, PathBuf};
use std::process::Command;

use d8_tests::catalog::{self, Plugin};
use d8_tests::command::run_merged;
use d8_tests::page::{self, Substitutions};
use d8_tests::workstation::files;
use d8_tests::{ADMIN, CommandOutput, Lab, Result, Workstation, d8_build, oci, run, tools};
use serde_json::{Value, json};

use crate::policy_unaware;

/// A workstation with its own d8 in `PATH`.
pub(crate) struct Machine {
    pub(crate) user: Workstation,
    pub(crate) d8: PathBuf,
}

impl Machine {
    pub(crate) fn new(lab: &Lab, version: &str) -> Result<Self> {
        let user = lab.new_workstation()?;
        let d8 = d8_build::stamped(&user.home().join("bin"), version)?;
        Ok(Self { user, d8 })
    }

    pub(crate) fn d8(&self, line: &str) -> Result<CommandOutput> {
        run(self.d8.clone(), line.split_whitespace(), |command| self.user.environment(command))
    }

    /// Runs `d8` without a kubeconfig.
    pub(crate) fn offline(&self, line: &str) -> Result<CommandOutput> {
        run(self.d8.clone(), line.split_whitespace(), |command| {
            self.user.environment(command);
            command.env("KUBECONFIG", "/nonexistent");
        })
    }

    pub(crate) fn version(&self) -> Result<String> {
        Ok(self.d8("--version")?.ok()?.trim().to_owned())
    }

    /// Returns the directory of the store. For root, this is the store that all users of the root share.
    pub(crate) fn store(&self) -> PathBuf {
        let root = if nix::unistd::geteuid().is_root() {
            self.user.root().to_owned()
        } else {
            self.user.home().join(".deckhouse-cli")
        };
        root.join("cli")
    }

    /// Returns the files of the store, and of the directory that is in `PATH`.
    pub(crate) fn files(&self) -> Vec<String> {
        let bin = self.d8.parent().unwrap_or(Path::new("/"));
        [files(&self.store()), files(bin)].concat()
    }
}

/// Returns a former d8: it supports `--version`, and prints its arguments.
pub(crate) fn former(version: &str) -> Plugin {
    Plugin::new("d8", version).with_executable(&format!(
        "#!/bin/sh\ncase \"$1\" in --version) echo d8 {version};; cli) exit 2;; *) echo \"former: $*\";; esac\n"
    ))
}

pub(crate) fn publish(lab: &Lab, version: &str) -> Result<()> {
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    lab.proxy().publish_d8(version, &d8_build::stamped(directory.path(), version)?)
}

/// One test with one lab: publishing a real d8 takes seconds, and policies for d8 apply to every workstation.
#[test]
fn d8_cli() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    let unpublished = Machine::new(lab, "v0.13.1")?.d8("cli check")?.expect_code(1)?;
    assert!(unpublished.stderr.contains("not published"), "{unpublished:?}");

    publish(lab, "v0.13.1")?;
    publish(lab, "v0.14.0")?;
    lab.publish(&former("v0.12.0"))?;
    // `d8-rpp pack` refuses such a tag; registries have them.
    let layer = oci::layer(&[oci::Entry::file("plugin", catalog::script("d8", "latest"))]);
    oci::push(lab.proxy().layout(), &catalog::image("d8"), "latest", &layer, &json!({}))?;
    lab.publish(&Plugin::new("d8", "v0.15.0-rc.1"))?;

    lab.create_releases(&["d8"])?;
    lab.request_poll("d8")?;
    for version in ["v0.14.0", "v0.13.1", "v0.12.0"] {
        lab.wait_for_version("d8", version)?;
    }
    run_the_page(lab)?;
    update_and_go_back(lab)?;
    wrong_input(lab)?;
    broken_releases(lab)?;
    development_build(lab)?;
    former_d8(lab)?;
    policies(lab)
}

/// Every command of `docs/self-update.md` prints what the page shows, in the order of the page.
fn run_the_page(lab: &Lab) -> Result<()> {
    let user = lab.workstation(lab.plane().new_user())?;
    let alice = Machine { d8: d8_build::stamped(&user.home().join("bin"), "v0.13.1")?, user };
    let admin = lab.workstation(lab.plane().user(ADMIN))?;
    let bin = alice.d8.parent().unwrap_or(Path::new("/"));
    let mut names = Substitutions::default();
    names.add(alice.store().display().to_string(), "/home/alice/.deckhouse-cli/cli");
    names.add(bin.display().to_string(), "/home/alice/bin");
    names.add(format!("lab ({})", lab.plane().url()), "prod (https://api.example.com:6443)");
    let directories = [bin, tools::Tools::get()?.directory(), Path::new("/usr/bin"), Path::new("/bin")];
    let path = std::env::join_paths(directories).unwrap_or_default();
    let examples = page::examples(include_str!("../../../docs/self-update.md"));
    for example in &examples {
        let user = if example.user == "admin" { &admin } else { &alice.user };
        let output = run_merged("bash", ["-c", &names.to_machine(example.line)], |command: &mut Command| {
            user.environment(command);
            command.env("PATH", &path).env("ALICE", &alice.user.identity().user);
        })?;
        assert_eq!(names.to_page(&output.stdout).trim(), example.output, "{}", example.line);
    }
    assert!(examples.len() > 15, "{}", examples.len());
    Ok(())
}

fn update_and_go_back(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    assert_eq!(alice.version()?, "d8 v0.13.1");
    let check = alice.d8("cli check")?.ok()?;
    assert_eq!(
        check,
        "A newer deckhouse-cli is available: v0.14.0 (current: v0.13.1). Run 'd8 cli update' to upgrade.\n"
    );
    alice.d8("cli check --exit-code")?.expect_code(100)?;
    assert_eq!(
        alice.d8("cli versions")?.ok()?,
        "  v0.14.0  newer\n* v0.13.1  current\n  v0.12.0\n",
        "the record is of channel Stable"
    );
    let check = alice.d8("cli check -o json")?.ok()?;
    let check: Value = serde_json::from_str(&check).unwrap_or_else(|error| panic!("{error}: {check}"));
    assert_eq!(check, json!({"current": "v0.13.1", "available": "v0.14.0", "passedOver": []}));
    assert_eq!(alice.d8("dist versions -o name")?.ok()?, "v0.14.0\nv0.13.1\nv0.12.0\n");
    let before = alice.files();
    let dry = alice.d8("cli update --dry-run")?.ok()?;
    assert_eq!(dry, "Would switch deckhouse-cli from v0.13.1 to v0.14.0.\n");
    assert_eq!(alice.files(), before, "a dry run changes nothing");

    let update = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(update.stdout, "deckhouse-cli updated to v0.14.0.\n");
    for text in ["switch back with 'd8 cli use v0.13.1'", "is now a link to", "d8.old"] {
        assert!(update.stderr.contains(text), "{text}: {update:?}");
    }
    assert_eq!(alice.version()?, "d8 v0.14.0");
    assert_eq!(std::fs::read_link(&alice.d8).ok(), Some(alice.store().join("current")));
    assert_eq!(alice.d8("cli check")?.ok()?, "deckhouse-cli is up to date (v0.14.0).\n");
    alice.d8("cli check --exit-code")?.expect_code(0)?;
    assert_eq!(alice.d8("cli update")?.ok()?, "deckhouse-cli is already at v0.14.0.\n");

    let back = alice.offline("cli use v0.13.1")?.expect_code(0)?;
    assert_eq!(back.stdout, "Switched deckhouse-cli to v0.13.1 (installed locally).\n");
    assert!(back.stderr.contains("'d8 cli use v0.14.0'"), "{back:?}");
    assert_eq!(alice.version()?, "d8 v0.13.1");
    assert_eq!(alice.offline("dist use 0.13.1")?.ok()?, "deckhouse-cli is already at v0.13.1.\n");
    assert_eq!(alice.d8("cli list")?.ok()?, "  v0.14.0  newer  installed\n* v0.13.1  current  installed\n  v0.12.0\n");
    // A version in the store is not downloaded again.
    let again = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(again.stdout, "Switched deckhouse-cli to v0.14.0 (installed locally).\n");

    // The size of a damaged file may be right. d8 refuses the file and downloads it again.
    let stored = alice.store().join("versions/v0.13.1/d8");
    let good = std::fs::read(&stored).unwrap_or_else(|error| panic!("{error}"));
    let mut bad = good.clone();
    bad.reverse();
    std::fs::write(&stored, &bad).unwrap_or_else(|error| panic!("{error}"));
    let refused = alice.offline("cli use v0.13.1")?.expect_code(1)?;
    assert!(refused.stderr.contains("d8 cli update --version v0.13.1"), "{refused:?}");
    let repaired = alice.d8("cli update --version v0.13.1")?.expect_code(0)?;
    assert!(repaired.stderr.contains("its receipt says"), "{repaired:?}");
    assert_eq!(std::fs::read(&stored).ok(), Some(good));
    assert_eq!(alice.version()?, "d8 v0.13.1");

    // `use` of the running version makes the command a link, without a download and without a kubeconfig.
    let bob = Machine::new(lab, "v0.13.1")?;
    bob.offline("cli use v0.13.1")?.expect_code(0)?;
    assert_eq!(std::fs::read_link(&bob.d8).ok(), Some(bob.store().join("current")));
    assert_eq!(bob.version()?, "d8 v0.13.1");
    assert!(bob.files().iter().any(|file| file == "d8.old"), "{:?}", bob.files());
    Ok(())
}

fn wrong_input(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let before = alice.files();
    for (line, code, text) in [
        ("cli use nonsense", 2, "nonsense"),
        ("cli update --version 1.2.3.4", 2, "1.2.3.4"),
        ("cli update --version v7.7.7", 1, "d8 cli versions"),
        ("cli use v7.7.7", 1, "v7.7.7"),
        ("cli frobnicate", 2, "frobnicate"),
        ("cli fallback set /nonexistent", 2, "/nonexistent"),
        ("cli fallback set /etc/passwd", 2, "executable"),
        ("mirror pull", 2, "mirror"),
    ] {
        let refused = alice.d8(line)?.expect_code(code)?;
        assert!(refused.stderr.contains(text), "{line}: {refused:?}");
    }
    let itself = alice.d8.display().to_string();
    alice.d8(&format!("cli fallback set {itself}"))?.expect_code(2)?;
    alice.offline("cli check")?.expect_code(5)?;
    assert_eq!(alice.files(), before);
    Ok(())
}

fn broken_releases(lab: &Lab) -> Result<()> {
    lab.publish(&Plugin::new("d8", "v0.13.7").with_executable("#!/bin/sh\necho cannot start >&2\nexit 3\n"))?;
    let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    lab.proxy().publish_d8("v0.13.5", &d8_build::stamped(directory.path(), "v0.13.6")?)?;
    lab.request_poll("d8")?;
    for version in ["v0.13.5", "v0.13.7"] {
        lab.wait_for_version("d8", version)?;
    }
    let alice = Machine::new(lab, "v0.13.1")?;
    let before = alice.files();
    let refused = alice.d8("cli update --version v0.13.7")?.expect_code(1)?;
    assert!(refused.stderr.contains("smoke test") && refused.stderr.contains("cannot start"), "{refused:?}");
    assert_eq!(alice.files(), before);
    let warned = alice.d8("cli update --version v0.13.5")?.expect_code(0)?;
    assert!(warned.stderr.contains("warning: v0.13.5 reports another version: d8 v0.13.6"), "{warned:?}");
    Ok(())
}

fn development_build(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "")?;
    assert!(alice.version()?.starts_with("d8 dev"), "{}", alice.version()?);
    let list = alice.d8("cli versions")?.ok()?;
    assert!(list.lines().all(|line| !line.contains([' ', '*'])), "a plain list: {list}");
    let check = alice.d8("cli check")?.ok()?;
    assert!(check.contains("v0.14.0 (current: dev"), "{check}");
    let update = alice.d8("cli update")?.expect_code(0)?;
    assert!(update.stderr.contains("the only copy"), "{update:?}");
    assert_eq!(alice.version()?, "d8 v0.14.0");
    let stored: Vec<_> = alice.d8("cli versions")?.ok()?.lines().map(str::to_owned).collect();
    assert_eq!(stored.iter().filter(|line| line.contains("installed")).count(), 1, "{stored:?}");
    Ok(())
}

/// Returns the former d8, written in Go: unknown commands are forwarded to it.
fn former_d8(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let warned = alice.d8("cli update --version v0.12.0 --allow-ungoverned")?.expect_code(0)?;
    assert!(warned.stderr.contains("v0.12.0 does not support policies"), "{warned:?}");
    assert_eq!(alice.d8("mirror pull -x -- y")?.ok()?, "former: mirror pull -x -- y\n");
    // Go back with our d8, which is in the store. It sets the former one as the fallback.
    // The way back is the printed one.
    let ours = alice.store().join("versions/v0.13.1/d8");
    let printed = warned.stderr.split('\'').find_map(|words| words.strip_suffix(" cli use v0.13.1"));
    assert_eq!(printed, Some(ours.display().to_string().as_str()), "{warned:?}");
    let back = run(ours, ["cli", "use", "v0.13.1"], |command| alice.user.environment(command))?;
    back.expect_code(0)?;
    assert_eq!(alice.version()?, "d8 v0.13.1");
    assert_eq!(alice.d8("mirror --help pull -x -- y")?.ok()?, "former: mirror --help pull -x -- y\n");
    assert!(alice.d8("cli fallback")?.ok()?.contains("versions/v0.12.0/d8"));
    alice.d8("cli fallback unset")?.expect_code(0)?;
    assert!(alice.d8("cli fallback show")?.ok()?.contains("found in the store"));
    // A fallback that the user sets.
    let other = alice.user.home().join("other-d8");
    std::fs::write(&other, "#!/bin/sh\necho other: $*\nexit 7\n").unwrap_or_else(|error| panic!("{error}"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&other, mode).unwrap_or_else(|error| panic!("{error}"));
    alice.d8(&format!("cli fallback set {}", other.display()))?.expect_code(0)?;
    assert_eq!(alice.d8("backup now")?.expect_code(7)?.stdout, "other: backup now\n");
    Ok(())
}

fn policies(lab: &Lab) -> Result<()> {
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"block": ["v0.14.0"]}}))?;
    let alice = Machine::new(lab, "v0.13.1")?;
    let check = alice.d8("cli check")?.ok()?;
    assert!(check.starts_with("A newer deckhouse-cli is available: v0.13.7"), "{check}");
    assert!(check.contains("Skipped v0.14.0: policy own, cli.block"), "{check}");
    assert!(!check.contains("d8 cli check"), "it refers to itself: {check}");
    let update = alice.d8("cli update --version v0.14.0")?.expect_code(3)?;
    assert!(update.stderr.contains("policy own, cli.block"), "{update:?}");
    assert_eq!(alice.version()?, "d8 v0.13.1");

    // Offline, the cached policies bind. A blocked version may be replaced by an older one.
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    alice.d8("cli update --version v0.14.0")?.expect_code(0)?;
    forbidden_version(lab, &alice)?;
    kept_policies(lab, &alice)?;
    alice.offline("cli use v0.13.1")?.expect_code(0)?;
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"block": ["v0.14.0", "v0.13.5"]}}))?;
    alice.d8("cli check")?.expect_code(0)?;
    let refused = alice.offline("cli use v0.14.0")?.expect_code(3)?;
    assert!(refused.stderr.contains("policy own, cli.block"), "{refused:?}");
    lab.apply_policy(
        "own",
        &json!({"hostSelector": {}, "cli": {"block": ["v0.13.1", "v0.14.0", "v0.13.5", "v0.13.7"]}}),
    )?;
    assert_eq!(alice.d8("--version")?.ok()?, "d8 v0.13.1\n", "no policy refuses running d8 itself");

    // A version that does not support policies, on a machine that a policy selects.
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    let refused = alice.d8("cli update --version v0.12.0")?.expect_code(3)?;
    assert!(refused.stderr.contains("--allow-ungoverned"), "{refused:?}");
    assert_eq!(alice.version()?, "d8 v0.13.1");
    let allowed = alice.d8("cli update --version v0.12.0 --allow-ungoverned")?.expect_code(0)?;
    assert!(allowed.stderr.contains("does not support policies"), "{allowed:?}");
    policy_unaware::newest_version(lab)
}

/// v0.14.0 is active and becomes forbidden: with an older eligible version, and without one.
fn forbidden_version(lab: &Lab, alice: &Machine) -> Result<()> {
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"versions": "=0.13.1"}}))?;
    let check = alice.d8("cli check --exit-code")?.expect_code(100)?.stdout;
    assert!(
        check.starts_with(
            "deckhouse-cli v0.14.0 is no longer permitted: it must be replaced, and still runs. Run 'd8 cli update' to switch to v0.13.1.\npolicy own"
        ),
        "{check}"
    );
    let document = alice.d8("cli check -o json")?.ok()?;
    let document: Value = serde_json::from_str(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
    assert_eq!(
        (&document["forbidden"]["code"], &document["available"]),
        (&json!("VersionNotPermitted"), &json!("v0.13.1"))
    );
    let named = alice.d8("cli update --version v0.14.0")?.expect_code(0)?;
    assert!(named.stderr.contains("is no longer permitted: policy own"), "{named:?}");
    assert_eq!(alice.d8("cli update --dry-run")?.ok()?, "Would switch deckhouse-cli from v0.14.0 to v0.13.1.\n");
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=5"}}))?;
    let check = alice.d8("cli check --exit-code")?.expect_code(0)?.stdout;
    assert!(
        check.contains("is no longer permitted. It still runs, because no other version is available.\npolicy own"),
        "{check}"
    );
    let kept = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(kept.stdout, "deckhouse-cli is already at v0.14.0.\n");
    assert!(kept.stderr.contains("is no longer permitted: policy own"), "{kept:?}");
    lab.apply_policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    alice.d8("cli check")?.expect_code(0).map(drop)
}

/// v0.14.0 is active: which cached policies bind `d8 cli use v0.13.1`, which is in the store.
fn kept_policies(lab: &Lab, alice: &Machine) -> Result<()> {
    let cli = |rule: Value| json!({"hostSelector": {}, "cli": rule});
    for (policy, held_by) in [
        (json!({"hostSelector": {}, "paused": true}), Some("paused")),
        (cli(json!({"updates": "Frozen"})), Some("cli.updates: d8 is frozen")),
        (cli(json!({"versions": ">0.13"})), Some("cli.versions")),
        // These gates bind new versions only.
        (cli(json!({"updates": "Manual"})), None),
        (cli(json!({"updates": "Auto", "minAge": "720h"})), None),
    ] {
        lab.apply_policy("own", &policy)?;
        // This command reads the policies and caches them.
        alice.d8("cli check")?.expect_code(0)?;
        let back = alice.offline("cli use v0.13.1")?;
        let Some(held_by) = held_by else {
            back.expect_code(0)?;
            alice.offline("cli use v0.14.0")?.expect_code(0)?;
            continue;
        };
        let refused = back.expect_code(3)?;
        for text in [held_by, "policy own", "d8 cli update --version v0.13.1"] {
            assert!(refused.stderr.contains(text), "{policy}, {text}: {refused:?}");
        }
        assert_eq!(alice.version()?, "d8 v0.14.0", "{policy}");
        let online = alice.d8("cli update --version v0.13.1")?.expect_code(3)?;
        assert!(online.stderr.contains("policy own"), "{policy}: {online:?}");
    }
    lab.apply_policy("own", &cli(json!({"versions": ">=0.12"})))?;
    alice.d8("cli check")?.expect_code(0).map(drop)
}

#[test]
fn completion_lists_local_names_without_network() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("completed", "v1.0.0").with_description("Goes\u{7} on"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "completed"])?.expect_code(0)?;
    let versions = alice.root().join("cli/versions");
    for version in ["v0.9.0", "v0.10.0"] {
        let directory = versions.join(version);
        std::fs::create_dir_all(&directory).unwrap_or_else(|error| panic!("{error}"));
        let executable = directory.join("d8");
        std::fs::write(&executable, "#!/bin/sh\n").unwrap_or_else(|error| panic!("{error}"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&executable, mode).unwrap_or_else(|error| panic!("{error}"));
    }
    let complete = |words: &[&str]| {
        let offline = alice.clone().with_env("KUBECONFIG", "/nonexistent").with_env("_D8_COMPLETE", "fish");
        let line = ["--", "d8"].iter().chain(words).copied();
        Ok::<_, d8_tests::Error>(offline.d8(line)?.ok()?.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let all = complete(&["plugins", "update", ""])?;
    assert!(all.iter().any(|line| line.starts_with("completed\tGoes")), "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("all\t")) && !all.concat().contains('\u{7}'), "{all:?}");
    assert_eq!(complete(&["plugins", "why", "comp"])?.len(), 1);
    assert!(
        complete(&["comp"])?.iter().any(|line| line.starts_with("completed")),
        "installed plugins complete as commands"
    );
    if nix::unistd::geteuid().is_root() {
        assert_eq!(complete(&["cli", "use", "v"])?, ["v0.10.0\tinstalled", "v0.9.0\tinstalled"]);
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(alice.d8(["completion", shell])?.ok()?.contains("_D8_COMPLETE"), "{shell}");
    }
    Ok(())
}
