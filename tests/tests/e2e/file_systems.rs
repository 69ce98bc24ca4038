//! The shipped d8 on file systems that refuse something: locks, links, programs, writes, space, and names that are
//! UTF-8.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use d8_tests::catalog::Plugin;
use d8_tests::pack::Pack;
use d8_tests::restricted::{SystemCall, refusing, with_mounts};
use d8_tests::{CommandOutput, Lab, Result, Workstation, run, tools, workstation};
use rustix::io::Errno;
use serde_json::{Value, json};

/// A user that exists nowhere else.
const OTHER_USER: u32 = 61_236;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn contains(output: &CommandOutput, words: &[&str]) {
    for words in words {
        assert!(output.stderr.contains(words), "{words}: {output:?}");
    }
}

/// NFS without a lock service: `flock` fails with `ENOLCK`.
#[test]
fn without_locks_nothing_is_changed_and_the_message_says_why() -> Result<()> {
    let Some(system) = refusing(&[(SystemCall::Flock, Errno::NOLCK)]) else {
        println!("skipped: this processor has other numbers of system calls");
        return Ok(());
    };
    let lab = Lab::shared();
    lab.publish(&Plugin::new("unlocked", "v1.0.0"))?;
    lab.publish(&Plugin::new("unlocked", "v1.1.0"))?;
    let alice = lab.new_workstation()?;
    let refuse = |args: &[&str]| -> Result<CommandOutput> {
        let before = alice.files();
        let refused = alice.d8_through(&system, args)?.expect_code(1)?;
        contains(&refused, &["error: ", "cannot lock", "No locks available", "`--plugins-dir`", "local_lock=flock"]);
        assert_eq!(alice.files(), before, "{refused:?}");
        Ok(refused)
    };
    refuse(&["plugins", "install", "unlocked"])?;
    refuse(&["cli", "fallback", "set", "/bin/true"])?;
    alice.d8(["plugins", "install", "unlocked", "--version", "v1.0.0"])?.expect_code(0)?;
    refuse(&["plugins", "install", "unlocked", "--force"])?;
    refuse(&["plugins", "update", "unlocked"])?;
    refuse(&["plugins", "update", "all"])?;
    refuse(&["plugins", "remove", "unlocked"])?;
    // Reading and running need no lock.
    alice.d8_through(&system, ["plugins", "list"])?.expect_code(0)?;
    assert_eq!(alice.d8_through(&system, ["unlocked"])?.ok()?, "This is unlocked v1.0.0.\n");
    Ok(())
}

/// A file system without hard links and without an exchange of names: copies and two renames.
#[test]
fn without_links_and_exchange_everything_works() -> Result<()> {
    let refused = [(SystemCall::Linkat, Errno::PERM), (SystemCall::Renameat2, Errno::INVAL)];
    let Some(system) = refusing(&refused) else {
        println!("skipped: this processor has other numbers of system calls");
        return Ok(());
    };
    let lab = Lab::shared();
    for version in ["v1.0.0", "v1.1.0", "v2.0.0"] {
        lab.publish(&Plugin::new("copied", version))?;
    }
    let alice = lab.new_workstation()?;
    let install = |flags: &[&str]| alice.d8_through(&system, [&["plugins", "install", "copied"], flags].concat());
    for (flags, version) in [
        (&["--version", "v1.0.0"][..], "v1.0.0"),
        (&["--version", "v1.1.0"], "v1.1.0"),
        (&["--version", "v1.1.0", "--force"], "v1.1.0"),
        (&["--version", "v1.0.0"], "v1.0.0"),
        (&["--version", "v2.0.0"], "v2.0.0"),
    ] {
        install(flags)?.expect_code(0)?;
        let linked = alice.root().join("plugins/copied/current").canonicalize().expect("a program");
        assert_eq!(fs::metadata(linked).expect("a program").nlink(), 1, "the call was not refused");
        assert_eq!(alice.d8_through(&system, ["copied"])?.ok()?, format!("This is copied {version}.\n"));
        let list = alice.d8_through(&system, ["plugins", "list"])?.ok()?;
        assert!(!list.contains("broken") && !list.contains("damaged"), "{list}");
    }
    // A copy that followed the links.
    let current = alice.root().join("plugins/copied/current");
    fs::remove_file(&current).expect("a link");
    fs::create_dir(&current).expect("a directory");
    install(&[])?.expect_code(0)?;
    assert_eq!(alice.d8(["copied"])?.ok()?, "This is copied v2.0.0.\n");
    alice.d8_through(&system, ["plugins", "remove", "copied"])?.expect_code(0)?;
    let plugin = alice.root().join("plugins/copied");
    assert!(!plugin.exists());
    // A file in place of the directory comes back if the install fails.
    fs::write(&plugin, "of a person").expect("a file");
    lab.publish(&Plugin::new("copied", "v3.0.0").with_executable("#!/bin/sh\nexit 1\n"))?;
    install(&["--version", "v3.0.0"])?.expect_code(1)?;
    assert_eq!(fs::read_to_string(&plugin).expect("the file"), "of a person");
    install(&["--version", "v2.0.0"])?.expect_code(0)?;
    assert_eq!(alice.d8(["copied"])?.ok()?, "This is copied v2.0.0.\n");
    Ok(())
}

#[test]
fn a_root_that_is_mounted_noexec_is_named() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("noexec", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    let root = alice.root().display().to_string();
    let Some(system) = with_mounts(&format!("mount --bind '{root}' '{root}'; mount -o remount,bind,noexec '{root}'"))
    else {
        println!("skipped: this user may not create a mount namespace");
        return Ok(());
    };
    let named = |output: CommandOutput| -> Result<()> {
        let output = output.expect_code(1)?;
        let why = format!("no program can be run from {root}, which is mounted with `noexec`");
        contains(&output, &[&why, "`--plugins-dir`", &format!("`mount -o remount,exec {root}`")]);
        assert!(!output.stderr.contains("disk space") && !output.stderr.contains("--force"), "{output:?}");
        Ok(())
    };
    named(alice.d8_through(&system, ["plugins", "install", "noexec"])?)?;
    let left: Vec<_> = alice.files().into_iter().filter(|file| !file.starts_with("policy/")).collect();
    assert!(left.iter().all(|file| file == "host-id"), "{left:?}");
    alice.d8(["plugins", "install", "noexec"])?.expect_code(0)?;
    named(alice.d8_through(&system, ["noexec"])?)?;
    alice.d8_through(&system, ["plugins", "list"])?.expect_code(0)?;
    alice.d8_through(&system, ["plugins", "remove", "noexec"])?.expect_code(0)?;
    Ok(())
}

/// A home of a user who may not write to it, as in a locked-down session: what d8 must keep is kept in the plugin root.
#[test]
fn a_home_that_cannot_be_written_hides_no_policy() -> Result<()> {
    if !is_root() {
        println!("skipped: only root can become another user");
        return Ok(());
    }
    let lab = Lab::shared();
    lab.publish(&Plugin::new("homeless", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    for path in [alice.root(), alice.kubeconfig()] {
        chown(path, Some(OTHER_USER), Some(OTHER_USER)).expect("an owner");
    }
    let program = tools::binary("d8")?;
    let id = OTHER_USER.to_string();
    let d8 = |user: &Workstation, args: &[&str]| {
        let line = ["--reuid", &id, "--regid", &id, "--clear-groups"].map(OsString::from);
        let line = line.into_iter().chain([program.clone().into_os_string()]).chain(args.iter().map(OsString::from));
        run("setpriv", line, |command| user.environment(command))
    };
    d8(&alice, &["plugins", "install", "homeless"])?.expect_code(0)?;
    lab.apply_policy("homeless", &json!({"hostSelector": {}, "rules": [{"plugins": ["homeless"], "access": "Deny"}]}))?;
    let why = d8(&alice, &["plugins", "why", "homeless"])?.expect_code(0)?;
    assert!(!why.stderr.contains("warning"), "{why:?}");
    assert!(!alice.home().join(".deckhouse-cli").exists());
    let pins = workstation::files(&alice.root().join("policy"));
    assert!(pins.iter().any(|file| file.starts_with("endpoints/") && !file.ends_with('/')), "{pins:?}");
    let offline = alice.clone().with_env("KUBECONFIG", "/nonexistent");
    contains(&d8(&offline, &["homeless"])?.expect_code(3)?, &["homeless"]);

    // Nowhere: the user is told.
    let nowhere = alice.home().join("nowhere");
    let lost = alice.with_env("DECKHOUSE_CLI_PATH", nowhere);
    let warned = d8(&lost, &["plugins", "why", "homeless"])?.expect_code(0)?;
    contains(&warned, &["warning: the policies of https://", "are not enforced without the cluster", "denied"]);
    Ok(())
}

/// A home and a plugin root without a free block. Each command says so, nothing is damaged, and with space the next
/// command works.
#[test]
fn a_full_disk_stops_changes_and_hides_no_policy() -> Result<()> {
    let lab = Lab::shared();
    for name in ["fulldisk", "other-on-fulldisk"] {
        lab.publish(&Plugin::new(name, "v1.0.0"))?;
        lab.publish(&Plugin::new(name, "v1.1.0"))?;
    }
    lab.apply_policy("fulldisk", &json!({"hostSelector": {}, "rules": [{"plugins": ["no-such"], "access": "Deny"}]}))?;
    let alice = lab.new_workstation()?;
    let d8 = tools::binary("d8")?.display().to_string();
    // Prints the exit code and the messages of each command.
    let script = r#"
        for directory in "$HOME/.deckhouse-cli" "$DECKHOUSE_CLI_PATH"; do
            mkdir -p "$directory"; mount -t tmpfs -o size=256k,mode=755 tmpfs "$directory"
        done
        fill() { cat /dev/zero >"$1/filler" 2>/dev/null || true; }
        say() { echo "== $*"; "$D8" "$@" 2>&1 || echo "exit $?"; }
        say plugins install fulldisk other-on-fulldisk --version v1.0.0
        echo "-- full"
        rm -rf "$HOME/.deckhouse-cli/policy" "$DECKHOUSE_CLI_PATH/policy"
        fill "$HOME/.deckhouse-cli"
        say plugins why fulldisk
        [ -d "$DECKHOUSE_CLI_PATH/policy" ] && echo "kept in the root"
        fill "$DECKHOUSE_CLI_PATH"
        rm -rf "$DECKHOUSE_CLI_PATH/policy"; fill "$DECKHOUSE_CLI_PATH/x"; cat /dev/zero >>"$DECKHOUSE_CLI_PATH/filler" || true
        say plugins why fulldisk
        say plugins update fulldisk
        say fulldisk
        say plugins list
        echo "-- freed"
        rm "$HOME/.deckhouse-cli/filler" "$DECKHOUSE_CLI_PATH/filler"
        say plugins update fulldisk
        say fulldisk
        say plugins list
        find "$DECKHOUSE_CLI_PATH" -name '.staging' -o -name 'install.lock*'
    "#;
    let Some(system) = with_mounts(script) else {
        println!("skipped: this user may not create a mount namespace");
        return Ok(());
    };
    let mut line = system.into_iter();
    let program = line.next().unwrap_or_default();
    let output = run(program, line.chain(["true".into()]), |command| {
        alice.environment(command);
        command.env("D8", &d8);
    })?
    .expect_code(0)?;
    let (before, rest) = output.stdout.split_once("-- full\n").unwrap_or_else(|| panic!("{output:?}"));
    let (full, freed) = rest.split_once("-- freed\n").unwrap_or_else(|| panic!("{output:?}"));
    assert!(!before.contains("exit "), "{before}");
    let (one_full, both_full) = full.split_once("kept in the root\n").unwrap_or_else(|| panic!("{full}"));
    assert!(!one_full.contains("exit ") && !one_full.contains("warning"), "{one_full}");
    for words in [
        "warning: the policies of https://",
        "are not enforced without the cluster",
        "exit 1\n",
        "No space left on device",
        "free some space or inodes on the file system of",
        "This is fulldisk v1.0.0.",
    ] {
        assert!(both_full.contains(words), "{words}: {both_full}");
    }
    assert!(!both_full.contains("sudo") && !both_full.contains("damaged"), "{both_full}");
    assert!(freed.contains("This is fulldisk v1.1.0."), "{freed}");
    for word in ["exit ", "warning", "damaged", "broken", ".staging", "install.lock"] {
        assert!(!freed.contains(word), "{word}: {freed}");
    }
    Ok(())
}

/// State that other users of a root read has the same modes whatever the umask is.
#[test]
fn state_directories_are_readable_under_any_umask() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("masked", "v1.0.0"))?;
    lab.apply_policy("masked", &json!({"hostSelector": {}, "rules": [{"plugins": ["no-such"], "access": "Deny"}]}))?;
    let alice = lab.new_workstation()?;
    let masked = ["sh", "-c", "umask 077; exec \"$@\"", "sh"].map(OsString::from);
    alice.d8_through(&masked, ["plugins", "install", "masked"])?.expect_code(0)?;
    // The home cannot keep them, so they are in the shared root, too.
    let home = alice.home().join(".deckhouse-cli");
    let kept = alice.home().join("kept");
    fs::rename(&home, &kept).expect("the state of the home");
    fs::write(&home, "").expect("a file");
    alice.d8_through(&masked, ["plugins", "install", "masked", "--force"])?.expect_code(0)?;
    for root in [&kept, alice.root()] {
        for directory in ["", "policy", "policy/endpoints"] {
            let path = root.join(directory);
            assert_eq!(
                mode(&path),
                if path == alice.root() { mode(alice.root()) } else { 0o755 },
                "{}",
                path.display()
            );
            for file in fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()) {
                if file.extension().is_some_and(|extension| extension == "json") {
                    assert_eq!(mode(&file), 0o644, "{}", file.display());
                }
            }
        }
    }
    Ok(())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode() & 0o7777
}

/// A directory `policy` that another user created in a root that both may write to.
#[test]
fn state_of_another_user_in_a_shared_root_is_not_used() -> Result<()> {
    if !is_root() {
        println!("skipped: only root can give files to another user");
        return Ok(());
    }
    let lab = Lab::shared();
    lab.publish(&Plugin::new("foreign-state", "v1.0.0"))?;
    let rules = json!({"hostSelector": {}, "rules": [{"plugins": ["foreign-state"], "access": "Deny"}]});
    lab.apply_policy("foreign-state", &rules)?;
    let alice = lab.new_workstation()?;
    fs::write(alice.home().join(".deckhouse-cli"), "a file in place of the root").expect("a file");
    let policy = alice.root().join("policy");
    fs::create_dir(&policy).expect("a directory");
    chown(&policy, Some(OTHER_USER), Some(OTHER_USER)).expect("an owner");
    let warned = alice.d8(["plugins", "why", "foreign-state"])?.expect_code(0)?;
    contains(&warned, &["warning: the policies of https://", "are not enforced without the cluster"]);
    assert_eq!(fs::read_dir(&policy).expect("a directory").count(), 0, "root wrote for another user");
    Ok(())
}

/// Names that are not UTF-8, which Unix allows: of the home, the root, the kubeconfig and the working directory.
#[test]
fn names_that_are_not_utf8_work() -> Result<()> {
    let lab = Lab::shared();
    for version in ["v1.0.0", "v1.1.0"] {
        lab.publish(&Plugin::new("odd-names", version))?;
    }
    let user = lab.new_workstation()?;
    let odd = |name: &str| -> PathBuf { user.home().join(OsStr::from_bytes(&[name.as_bytes(), b"\xff"].concat())) };
    let [home, root, flag] = ["home", "root", "flag"].map(odd);
    for directory in [&home, &root, &flag] {
        fs::create_dir(directory).expect("a directory");
    }
    let (kubeconfig, policy) = (odd("config"), odd("policy"));
    fs::copy(user.kubeconfig(), &kubeconfig).expect("a kubeconfig");
    fs::write(&policy, POLICY).expect("a policy");
    let alice = (user.clone().with_env("HOME", &home).with_env("DECKHOUSE_CLI_PATH", &root))
        .with_env("KUBECONFIG", &kubeconfig);
    let with_flag = |args: &[&str]| {
        let flags =
            ["--plugins-dir".into(), flag.clone().into_os_string(), "--kubeconfig".into(), kubeconfig.clone().into()];
        alice.d8(args.iter().map(OsString::from).chain(flags))
    };
    for line in [
        "plugins list",
        "plugins why odd-names",
        "plugins install odd-names --version v1.0.0",
        "plugins list",
        "plugins update all",
        "odd-names",
        "plugins install odd-names --force",
        "cli fallback set /bin/true",
        "cli fallback show",
        "cli capabilities",
        "policy get",
        "policy get --effective",
        "completion bash",
        "plugins remove odd-names",
    ] {
        let done = alice.d8(line.split(' '))?;
        assert_eq!(done.code(), 0, "{done:?}");
        // A plugin gets all flags after its name.
        if !line.starts_with("odd-names")
            && !line.contains("fallback")
            && !line.contains("completion")
            && !line.contains("capabilities")
        {
            let done = with_flag(&line.split(' ').collect::<Vec<_>>())?;
            assert_eq!(done.code(), 0, "{done:?}");
        }
    }
    alice.d8(["plugins", "install", "odd-names"])?.expect_code(0)?;
    for line in [["plugins", "list", "-o", "json"], ["plugins", "list", "-o", "yaml"]] {
        let list = alice.d8(line)?.ok()?;
        assert!(list.contains("odd-names"), "{list}");
    }
    let list: Value = serde_json::from_str(&alice.d8(["plugins", "list", "-o", "json"])?.ok()?).expect("JSON");
    assert!(list.to_string().contains("v1.1.0"), "{list}");
    for command in ["check", "diff"] {
        let line: [OsString; 4] = ["policy".into(), command.into(), "-f".into(), policy.clone().into()];
        alice.d8(line)?.expect_code(0)?;
    }
    Ok(())
}

const POLICY: &str = "apiVersion: cli.deckhouse.io/v1alpha1\nkind: PluginPolicy\nmetadata: {name: odd-names}\n\
                      spec: {hostSelector: {matchLabels: {no: host}}}\n";

/// The same for the layout and the files of `d8-rpp`, and for a kubeconfig of `d8-operator`.
#[test]
fn servers_use_files_whose_names_are_not_utf8() -> Result<()> {
    let lab = Lab::shared();
    let directory = lab.plane().scratch().directory("odd-layouts")?;
    let odd = |name: &str| -> PathBuf { directory.join(OsStr::from_bytes(&[name.as_bytes(), b"\xff"].concat())) };
    let (layout, executable, contract) = (odd("layout"), odd("executable"), odd("contract.yaml"));
    fs::write(&executable, "#!/bin/sh\n").expect("an executable");
    fs::write(&contract, "name: odd-layout\nversion: v1.0.0\n").expect("a contract");
    let mut platform = OsString::from("linux-amd64=");
    platform.push(&executable);
    let pack = Pack::new("deckhouse-cli/plugins/odd-layout", "v1.0.0").flag("--platform", platform);
    pack.flag("--contract", &contract).to(&layout)?.expect_code(0)?;
    assert!(layout.join("index.json").is_file());
    let flags = ["--layout".into(), layout.into_os_string()];
    let (mut server, _) = d8_tests::proxy::serve(lab.plane(), "odd-layouts", flags)?;
    server.check()?;

    let kubeconfig = odd("config");
    fs::write(&kubeconfig, "no kubeconfig: [").expect("a file");
    let refused = run(tools::binary("d8-operator")?, ["--listen", "127.0.0.1:0"], |command| {
        command.env("KUBECONFIG", &kubeconfig);
    })?;
    contains(&refused.expect_code(2)?, &["error: ", "odd-layouts/config"]);
    Ok(())
}
