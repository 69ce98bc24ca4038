//! d8 itself: checking, updating, switching, going back. Releases are the program under test with another
//! release's name in its stamp.

use std::path::{Path, PathBuf};

use d8_tests::catalog::Plugin;
use d8_tests::command::run_as_seen;
use d8_tests::{ADMIN, Finished, Lab, Result, Workstation, release, run, tools};
use serde_json::{Value, json};

/// A workstation with a d8 of its own on the PATH.
pub(crate) struct Machine {
    pub(crate) who: Workstation,
    pub(crate) d8: PathBuf,
}

impl Machine {
    pub(crate) fn new(lab: &Lab, version: &str) -> Result<Self> {
        let who = lab.new_workstation()?;
        let d8 = release::d8(&who.home().join("bin"), version)?;
        Ok(Self { who, d8 })
    }

    pub(crate) fn d8(&self, line: &str) -> Result<Finished> {
        run(self.d8.clone(), line.split_whitespace(), |command| self.who.environment(command))
    }

    /// The same without a cluster to ask.
    pub(crate) fn offline(&self, line: &str) -> Result<Finished> {
        run(self.d8.clone(), line.split_whitespace(), |command| {
            self.who.environment(command);
            command.env("KUBECONFIG", "/nonexistent");
        })
    }

    pub(crate) fn says(&self) -> Result<String> {
        Ok(self.d8("--version")?.ok()?.trim().to_owned())
    }

    /// As root the store is the one that all users of the root share.
    pub(crate) fn store(&self) -> PathBuf {
        let root = if nix::unistd::geteuid().is_root() {
            self.who.root().to_owned()
        } else {
            self.who.home().join(".deckhouse-cli")
        };
        root.join("cli")
    }

    /// All of the store and of the folder on the PATH.
    pub(crate) fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let target = std::fs::read_link(entry.path()).map(|to| format!(" -> {}", to.display()));
                found.push(format!("{}{}", entry.path().display(), target.unwrap_or_default()));
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.store(), &mut found);
        walk(self.d8.parent().unwrap_or(Path::new("/")), &mut found);
        found.sort();
        found
    }
}

/// A d8 of another kind: it answers `--version`, and says what it was asked.
fn former(version: &str) -> Plugin {
    Plugin::new("d8", version).runs(&format!(
        "#!/bin/sh\ncase \"$1\" in --version) echo d8 {version};; cli) exit 2;; *) echo \"former: $*\";; esac\n"
    ))
}

pub(crate) fn publish(lab: &Lab, version: &str) -> Result<()> {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    lab.registry().publish_d8(version, &release::d8(folder.path(), version)?)
}

/// One story in one lab: publishing a real d8 takes seconds, and policies about d8 speak for everybody.
#[test]
fn d8_itself() -> Result<()> {
    let lab = &Lab::start(|_| {})?;
    let nobody = Machine::new(lab, "v0.13.1")?;
    let refused = nobody.d8("cli check")?.expect_code(1)?;
    assert!(refused.stderr.contains("not published") || refused.stderr.contains("no version"), "{refused:?}");

    publish(lab, "v0.13.1")?;
    publish(lab, "v0.14.0")?;
    lab.publish(&former("v0.12.0"))?;
    lab.publish(&Plugin::new("d8", "latest"))?;
    lab.publish(&Plugin::new("d8", "v0.15.0-rc.1"))?;

    lab.track(&["d8"])?;
    lab.poll("d8")?;
    for version in ["v0.14.0", "v0.13.1", "v0.12.0"] {
        lab.release_with("d8", version)?;
    }
    the_page(lab)?;
    there_and_back(lab)?;
    wrong_input(lab)?;
    broken_releases(lab)?;
    a_development_build(lab)?;
    the_former_tool(lab)?;
    policies(lab)
}

/// Every command of `docs/self-update.md` gives what the page says, in the order of the page.
fn the_page(lab: &Lab) -> Result<()> {
    let page = include_str!("../../../docs/self-update.md");
    let who = lab.workstation(lab.plane().new_user())?;
    let alice = Machine { d8: release::d8(&who.home().join("bin"), "v0.13.1")?, who };
    let admin = lab.workstation(lab.plane().user(ADMIN))?;
    let bin = alice.d8.parent().unwrap_or(Path::new("/")).display().to_string();
    let places = [(alice.store().display().to_string(), "/home/alice/.deckhouse-cli/cli"), (bin, "/home/alice/bin")];
    let folders = [places[1].0.as_ref(), tools::Tools::get()?.folder(), Path::new("/usr/bin"), Path::new("/bin")];
    let path = std::env::join_paths(folders).unwrap_or_default();
    let mut ran = 0;
    for block in page.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for example in block.split("\n\n") {
            let Some((prompt, rest)) = example.split_once("$ ") else { panic!("no command in {example:?}") };
            let (line, want) = rest.split_once('\n').unwrap_or((rest, ""));
            let typist = if prompt == "admin" { &admin } else { &alice.who };
            let real = places.iter().fold(line.to_owned(), |line, (real, shown)| line.replace(shown, real));
            let finished = run_as_seen("bash", ["-c", &real], |command: &mut std::process::Command| {
                typist.environment(command);
                command.env("PATH", &path).env("ALICE", &alice.who.who().user);
            })?;
            let said = places.iter().fold(finished.stdout, |said, (real, shown)| said.replace(real, shown));
            assert_eq!(said.trim(), want.trim(), "{line}");
            ran += 1;
        }
    }
    assert!(ran > 15, "{ran}");
    Ok(())
}

fn there_and_back(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    assert_eq!(alice.says()?, "d8 v0.13.1");
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
    assert_eq!(alice.files(), before, "nothing is changed by looking");

    let update = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(update.stdout, "deckhouse-cli updated to v0.14.0.\n");
    let told = ["switch back with 'd8 cli use v0.13.1'", "is a link to", "d8.old"];
    assert!(told.iter().all(|words| update.stderr.contains(words)), "{update:?}");
    assert_eq!(alice.says()?, "d8 v0.14.0");
    assert_eq!(std::fs::read_link(&alice.d8).ok(), Some(alice.store().join("current")));
    assert_eq!(alice.d8("cli check")?.ok()?, "deckhouse-cli is up to date (v0.14.0).\n");
    alice.d8("cli check --exit-code")?.expect_code(0)?;
    assert_eq!(alice.d8("cli update")?.ok()?, "deckhouse-cli is already at v0.14.0.\n");

    let back = alice.offline("cli use v0.13.1")?.expect_code(0)?;
    assert_eq!(back.stdout, "Switched deckhouse-cli to v0.13.1 (installed locally).\n");
    assert!(back.stderr.contains("'d8 cli use v0.14.0'"), "{back:?}");
    assert_eq!(alice.says()?, "d8 v0.13.1");
    assert_eq!(alice.offline("dist use 0.13.1")?.ok()?, "deckhouse-cli is already at v0.13.1.\n");
    assert_eq!(alice.d8("cli list")?.ok()?, "  v0.14.0  newer  installed\n* v0.13.1  current  installed\n  v0.12.0\n");
    // What is in the store is not fetched again.
    let again = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(again.stdout, "Switched deckhouse-cli to v0.14.0 (installed locally).\n");

    // Damage that the size does not show: the store's copy is refused, and fetched again.
    let stored = alice.store().join("versions/v0.13.1/d8");
    let good = std::fs::read(&stored).unwrap_or_else(|error| panic!("{error}"));
    let mut bad = good.clone();
    bad.reverse();
    std::fs::write(&stored, &bad).unwrap_or_else(|error| panic!("{error}"));
    let refused = alice.offline("cli use v0.13.1")?.expect_code(1)?;
    assert!(refused.stderr.contains("d8 cli update --version v0.13.1"), "{refused:?}");
    let mended = alice.d8("cli update --version v0.13.1")?.expect_code(0)?;
    assert!(mended.stderr.contains("its receipt says"), "{mended:?}");
    assert_eq!(std::fs::read(&stored).ok(), Some(good));
    assert_eq!(alice.says()?, "d8 v0.13.1");

    // `use` of what runs already makes it a link, without a download and without a kubeconfig.
    let bob = Machine::new(lab, "v0.13.1")?;
    bob.offline("cli use v0.13.1")?.expect_code(0)?;
    assert_eq!(std::fs::read_link(&bob.d8).ok(), Some(bob.store().join("current")));
    assert_eq!(bob.says()?, "d8 v0.13.1");
    assert!(bob.files().iter().any(|file| file.ends_with("bin/d8.old")), "{:?}", bob.files());
    Ok(())
}

fn wrong_input(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let before = alice.files();
    for (line, code, says) in [
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
        assert!(refused.stderr.contains(says), "{line}: {refused:?}");
    }
    let own = alice.d8.display().to_string();
    alice.d8(&format!("cli fallback set {own}"))?.expect_code(2)?;
    alice.offline("cli check")?.expect_code(5)?;
    assert_eq!(alice.files(), before);
    Ok(())
}

fn broken_releases(lab: &Lab) -> Result<()> {
    lab.publish(&Plugin::new("d8", "v0.13.7").runs("#!/bin/sh\necho no such luck >&2\nexit 3\n"))?;
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    lab.registry().publish_d8("v0.13.5", &release::d8(folder.path(), "v0.13.6")?)?;
    lab.poll("d8")?;
    for version in ["v0.13.5", "v0.13.7"] {
        lab.release_with("d8", version)?;
    }
    let alice = Machine::new(lab, "v0.13.1")?;
    let before = alice.files();
    let refused = alice.d8("cli update --version v0.13.7")?.expect_code(1)?;
    assert!(refused.stderr.contains("smoke test") && refused.stderr.contains("no such luck"), "{refused:?}");
    assert_eq!(alice.files(), before);
    let warned = alice.d8("cli update --version v0.13.5")?.expect_code(0)?;
    assert!(warned.stderr.contains("warning: v0.13.5 says of itself: d8 v0.13.6"), "{warned:?}");
    Ok(())
}

fn a_development_build(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "")?;
    assert!(alice.says()?.starts_with("d8 dev"), "{}", alice.says()?);
    let list = alice.d8("cli versions")?.ok()?;
    assert!(list.lines().all(|line| !line.contains([' ', '*'])), "a plain list: {list}");
    let check = alice.d8("cli check")?.ok()?;
    assert!(check.contains("v0.14.0 (current: dev"), "{check}");
    let update = alice.d8("cli update")?.expect_code(0)?;
    assert!(update.stderr.contains("its only copy"), "{update:?}");
    assert_eq!(alice.says()?, "d8 v0.14.0");
    let stored: Vec<_> = alice.d8("cli versions")?.ok()?.lines().map(str::to_owned).collect();
    assert_eq!(stored.iter().filter(|line| line.contains("installed")).count(), 1, "{stored:?}");
    Ok(())
}

/// The Go d8 beside ours: commands that ours has not are handed to it.
fn the_former_tool(lab: &Lab) -> Result<()> {
    let alice = Machine::new(lab, "v0.13.1")?;
    let warned = alice.d8("cli update --version v0.12.0")?.expect_code(0)?;
    assert!(warned.stderr.contains("v0.12.0 does not know policies"), "{warned:?}");
    assert_eq!(alice.d8("mirror pull -x -- y")?.ok()?, "former: mirror pull -x -- y\n");
    // Back by ours, which is in the store; it remembers the other.
    let ours = alice.store().join("versions/v0.13.1/d8");
    let back = run(ours, ["cli", "use", "v0.13.1"], |command| alice.who.environment(command))?;
    back.expect_code(0)?;
    assert_eq!(alice.says()?, "d8 v0.13.1");
    assert_eq!(alice.d8("mirror --help pull -x -- y")?.ok()?, "former: mirror --help pull -x -- y\n");
    assert!(alice.d8("cli fallback")?.ok()?.contains("versions/v0.12.0/d8"));
    alice.d8("cli fallback unset")?.expect_code(0)?;
    assert!(alice.d8("cli fallback show")?.ok()?.contains("found in the store"));
    // One that is set by hand.
    let other = alice.who.home().join("other-d8");
    std::fs::write(&other, "#!/bin/sh\necho by hand: $*\nexit 7\n").unwrap_or_else(|error| panic!("{error}"));
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&other, mode).unwrap_or_else(|error| panic!("{error}"));
    alice.d8(&format!("cli fallback set {}", other.display()))?.expect_code(0)?;
    assert_eq!(alice.d8("backup now")?.expect_code(7)?.stdout, "by hand: backup now\n");
    Ok(())
}

fn policies(lab: &Lab) -> Result<()> {
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"block": ["v0.14.0"]}}))?;
    let alice = Machine::new(lab, "v0.13.1")?;
    let check = alice.d8("cli check")?.ok()?;
    assert!(check.starts_with("A newer deckhouse-cli is available: v0.13.7"), "{check}");
    assert!(check.contains("v0.14.0 is passed over: policy own, cli.block"), "{check}");
    let update = alice.d8("cli update --version v0.14.0")?.expect_code(3)?;
    assert!(update.stderr.contains("policy own, cli.block"), "{update:?}");
    assert_eq!(alice.says()?, "d8 v0.13.1");

    // Offline the kept policies decide; leaving what is blocked goes down, too.
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    alice.d8("cli update --version v0.14.0")?.expect_code(0)?;
    must_be_left(lab, &alice)?;
    kept_policies(lab, &alice)?;
    alice.offline("cli use v0.13.1")?.expect_code(0)?;
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"block": ["v0.14.0", "v0.13.5"]}}))?;
    alice.d8("cli check")?.expect_code(0)?;
    let refused = alice.offline("cli use v0.14.0")?.expect_code(3)?;
    assert!(refused.stderr.contains("policy own, cli.block"), "{refused:?}");
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"block": ["v0.13.1", "v0.14.0", "v0.13.5", "v0.13.7"]}}))?;
    assert_eq!(alice.d8("--version")?.ok()?, "d8 v0.13.1\n", "no policy refuses running d8 itself");

    // One that does not know policies, where one speaks.
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    let refused = alice.d8("cli update --version v0.12.0")?.expect_code(3)?;
    assert!(refused.stderr.contains("--allow-ungoverned"), "{refused:?}");
    assert_eq!(alice.says()?, "d8 v0.13.1");
    let allowed = alice.d8("cli update --version v0.12.0 --allow-ungoverned")?.expect_code(0)?;
    assert!(allowed.stderr.contains("does not know policies"), "{allowed:?}");
    Ok(())
}

/// At v0.14.0, which a policy forbids by and by: there is an older one to leave it for, or none.
fn must_be_left(lab: &Lab, alice: &Machine) -> Result<()> {
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"versions": "=0.13.1"}}))?;
    let check = alice.d8("cli check --exit-code")?.expect_code(100)?.stdout;
    assert!(
        check.starts_with("deckhouse-cli v0.14.0 may not stay. Run 'd8 cli update' to move to v0.13.1.\npolicy own"),
        "{check}"
    );
    assert_eq!(alice.d8("cli update --dry-run")?.ok()?, "Would switch deckhouse-cli from v0.14.0 to v0.13.1.\n");
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=5"}}))?;
    let check = alice.d8("cli check --exit-code")?.expect_code(0)?.stdout;
    assert!(check.contains("may not stay, and there is no version to leave it for.\npolicy own"), "{check}");
    let kept = alice.d8("cli update")?.expect_code(0)?;
    assert_eq!(kept.stdout, "deckhouse-cli is already at v0.14.0.\n");
    assert!(kept.stderr.contains("may not stay: policy own"), "{kept:?}");
    lab.policy("own", &json!({"hostSelector": {}, "cli": {"versions": ">=0.12"}}))?;
    alice.d8("cli check")?.expect_code(0).map(drop)
}

/// At v0.14.0: what binds going back to v0.13.1, which is in the store, by the policy kept on the machine.
fn kept_policies(lab: &Lab, alice: &Machine) -> Result<()> {
    let cli = |rule: Value| json!({"hostSelector": {}, "cli": rule});
    for (policy, held_by) in [
        (json!({"hostSelector": {}, "paused": true}), Some("paused")),
        (cli(json!({"updates": "Frozen"})), Some("Frozen")),
        (cli(json!({"versions": ">0.13"})), Some("cli.versions")),
        // These are about what comes anew.
        (cli(json!({"updates": "Manual"})), None),
        (cli(json!({"updates": "Auto", "minAge": "720h"})), None),
    ] {
        lab.policy("own", &policy)?;
        // Whatever it says, it has read the policy.
        alice.d8("cli check")?.expect_code(0)?;
        let back = alice.offline("cli use v0.13.1")?;
        let Some(held_by) = held_by else {
            back.expect_code(0)?;
            alice.offline("cli use v0.14.0")?.expect_code(0)?;
            continue;
        };
        let refused = back.expect_code(3)?;
        let told = [held_by, "policy own", "d8 cli update --version v0.13.1"];
        assert!(told.iter().all(|words| refused.stderr.contains(words)), "{policy}: {refused:?}");
        assert_eq!(alice.says()?, "d8 v0.14.0", "{policy}");
        let online = alice.d8("cli update --version v0.13.1")?.expect_code(3)?;
        assert!(online.stderr.contains("policy own"), "{policy}: {online:?}");
    }
    lab.policy("own", &cli(json!({"versions": ">=0.12"})))?;
    alice.d8("cli check")?.expect_code(0).map(drop)
}

#[test]
fn completion_knows_what_is_here_and_asks_nobody() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("completed", "v1.0.0").described("Goes\u{7} on"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "completed"])?.expect_code(0)?;
    let versions = alice.root().join("cli/versions");
    for version in ["v0.9.0", "v0.10.0"] {
        let folder = versions.join(version);
        std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{error}"));
        std::fs::write(folder.join("d8"), "#!/bin/sh\n").unwrap_or_else(|error| panic!("{error}"));
    }
    let asks = |words: &[&str]| {
        let offline = alice.clone().with("KUBECONFIG", "/nonexistent").with("_D8_COMPLETE", "fish");
        let line = ["--", "d8"].iter().chain(words).copied();
        Ok::<_, d8_tests::Error>(offline.d8(line)?.ok()?.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let all = asks(&["plugins", "update", ""])?;
    assert!(all.iter().any(|line| line.starts_with("completed\tGoes")), "{all:?}");
    assert!(all.iter().any(|line| line.starts_with("all\t")) && !all.concat().contains('\u{7}'), "{all:?}");
    assert_eq!(asks(&["plugins", "why", "comp"])?.len(), 1);
    assert!(asks(&["comp"])?.iter().any(|line| line.starts_with("completed")), "plugins are commands");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(asks(&["cli", "use", "v"])?, ["v0.10.0\tinstalled", "v0.9.0\tinstalled"]);
    }
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(alice.d8(["completion", shell])?.ok()?.contains("_D8_COMPLETE"), "{shell}");
    }
    Ok(())
}
