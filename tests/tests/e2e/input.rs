//! Wrong usage, invalid names, and unusable kubeconfigs and roots.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, tools};

#[test]
fn wrong_usage_exits_with_2() -> Result<()> {
    let lab = Lab::shared();
    // A command that reads this kubeconfig fails with 5.
    let alice = lab.new_workstation()?.with_env("KUBECONFIG", "/nowhere/kubeconfig");
    let before = alice.files();
    for line in [
        "plugins install",
        "plugins install ../x",
        "plugins install a/b",
        "plugins install ..",
        "plugins install a--b",
        "plugins install Upper",
        "plugins install a?b",
        "plugins install a#b",
        "plugins install hello --version 1.0.0 --use-major 1",
        "plugins install hello --unknown",
        "plugins update",
        "plugins update ../x",
        "plugins why",
        "plugins remove",
        "plugins remove ../x",
        "plugins frobnicate",
        "plugins list -o xml",
        "no-such-command",
    ] {
        let refused = alice.d8(line.split(' '))?.expect_code(2)?;
        assert!(!refused.stderr.is_empty() && refused.stdout.is_empty(), "{refused:?}");
    }
    for name in ["", "a b", "a\nb", "\u{1b}[31m"] {
        let refused = alice.d8(["plugins", "install", name])?.expect_code(2)?;
        assert!(!refused.stderr.contains('\u{1b}'), "{refused:?}");
    }
    assert_eq!(alice.files(), before);
    Ok(())
}

#[test]
fn local_commands_read_no_kubeconfig() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?.with_env("KUBECONFIG", "/nowhere/kubeconfig");
    let lines = ["--version", "--help", "plugins --help", "plugins list", "plugins remove x", "completion bash"];
    for line in lines {
        alice.d8(line.split(' '))?.expect_code(0)?;
    }
    Ok(())
}

#[test]
fn an_unusable_kubeconfig_is_named() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    let broken = alice.home().join("broken");
    std::fs::write(&broken, "clusters: [").expect("a file");
    for path in ["/nowhere/kubeconfig", &broken.display().to_string()] {
        let refused = alice.d8(["plugins", "install", "hello", "--kubeconfig", path])?.expect_code(5)?;
        assert!(refused.stderr.contains(path), "{refused:?}");
    }
    Ok(())
}

#[test]
fn an_unusable_root_is_not_replaced_by_another() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("rootless", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    let file = alice.home().join("a-file");
    std::fs::write(&file, "").expect("a file");
    let before = alice.files();
    for root in [file.display().to_string(), file.join("below").display().to_string(), "/proc/no-root".into()] {
        let refused = alice.d8(["plugins", "install", "rootless", "--plugins-dir", &root])?.expect_code(1)?;
        assert!(refused.stderr.contains(&root), "{refused:?}");
        alice.d8(["--help"])?.expect_code(0)?;
    }
    assert_eq!(alice.files(), before);
    assert!(!alice.home().join(".deckhouse-cli/plugins").exists(), "d8 used the home root instead");
    Ok(())
}

/// File modes do not bind root, so this runs d8 as another user. Without root there is no other user to run as.
#[test]
fn an_unwritable_root_refuses_changes_only() -> Result<()> {
    const OTHER_USER: u32 = 61_234;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let lab = Lab::shared();
    lab.publish(&Plugin::new("kept", "v1.0.0"))?;
    let alice = lab.new_workstation()?;
    alice.d8(["plugins", "install", "kept"])?.expect_code(0)?;

    let directory = lab.plane().scratch().directory("other-user")?;
    let home = directory.join("home");
    std::fs::create_dir_all(&home).expect("a home");
    let kubeconfig = directory.join("kubeconfig");
    std::fs::copy(alice.kubeconfig(), &kubeconfig).expect("a kubeconfig");
    let d8 = directory.join("d8");
    std::fs::copy(tools::binary("d8")?, &d8).expect("a d8");
    for path in [&home, &kubeconfig, &directory, &d8] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    chown(&home, Some(OTHER_USER), Some(OTHER_USER)).expect("an owner");
    let run = |args: &[&str]| {
        let mut command = Command::new(&d8);
        alice.environment(&mut command);
        command.env("HOME", &home).env("KUBECONFIG", &kubeconfig).current_dir("/");
        command.args(args).uid(OTHER_USER).gid(OTHER_USER).output().expect("d8 runs")
    };
    let before = alice.files();
    for change in [&["plugins", "install", "kept", "--force"][..], &["plugins", "remove", "kept"]] {
        let refused = run(change);
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{change:?}: {stderr}");
        assert!(stderr.contains(&alice.root().display().to_string()), "{stderr}");
    }
    for reading in [&["plugins", "list"][..], &["kept"]] {
        let read = run(reading);
        assert_eq!(read.status.code(), Some(0), "{reading:?}: {}", String::from_utf8_lossy(&read.stderr));
    }
    assert_eq!(alice.files(), before);
    assert!(!home.join(".deckhouse-cli/plugins").exists(), "d8 used the home root instead");
    Ok(())
}
