//! Stores that were copied without their links, or damaged otherwise: what `list` names, `install` mends.

use std::process::Command;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, Workstation, run};

/// What happened to the store, as a shell command in directory `plugins/<name>`.
const DAMAGE: &[(&str, &str)] = &[
    ("a copy that followed the links", "cd .. && cp -rL restored copy && rm -rf restored && mv copy restored"),
    ("`current` is a directory", "rm current && mkdir current && touch current/file"),
    ("`current` is a file", "rm current && touch current"),
    ("`current` leads outside", "ln -sfn /bin/true current"),
    ("`current` leads nowhere", "rm -rf v1"),
    ("the program is cut short", "truncate -s 10 versions/v1.0.0/restored"),
    ("the program is empty", "truncate -s 0 versions/v1.0.0/restored"),
    ("the program cannot be executed", "chmod a-x versions/v1.0.0/restored"),
    ("the linked program is cut short", "rm v1/restored && head -c 10 versions/v1.0.0/restored >v1/restored"),
    ("the version is gone", "rm -rf versions/v1.0.0 && chmod a-x v1/restored"),
    ("the version and its links are gone", "rm -rf versions v1"),
    ("the plugin is a file", "cd .. && rm -rf restored && touch restored"),
    ("the plugin is a link", "cd .. && mv restored ../elsewhere && ln -s ../elsewhere restored"),
    ("`v1` is a file", "rm -rf v1 && touch v1"),
    ("`v1` is a link", "mv v1 ../../elsewhere && ln -s ../../elsewhere v1"),
    ("`versions` is a file", "rm -rf versions && touch versions"),
    ("the version is a file", "rm -rf versions/v1.0.0 && touch versions/v1.0.0"),
    ("the linked program is a directory", "rm v1/restored && mkdir v1/restored"),
    ("the program is a directory", "rm versions/v1.0.0/restored v1/restored && mkdir versions/v1.0.0/restored"),
    ("the program was changed in place", "sed s/This/That/ v1/restored >t && cat t >v1/restored && rm t"),
    (
        "the program was changed in place, and its time was set back",
        "cp -p v1/restored t && sed s/This/That/ t >u && cat u >v1/restored && touch -r t v1/restored && rm t u",
    ),
    ("the linked program was edited", "sed -i s/This/That/ v1/restored"),
    ("the linked program was edited and is longer", "sed -i s/This/Something/ v1/restored"),
    ("the contract is damaged", "echo '{' >../../cache/contracts/restored.json"),
    ("the contract is a directory", "cd ../../cache/contracts && rm restored.json && mkdir restored.json"),
    ("the contract is a link", "cd ../../cache/contracts && mv restored.json c && ln -s c restored.json"),
    (
        "the contract is damaged, and the version is gone",
        "rm -rf versions/v1.0.0 v1; : >../../cache/contracts/restored.json",
    ),
];

#[test]
fn install_mends_what_list_names() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("restored", "v1.0.0"))?;
    // A damaged plugin stays within its major version.
    lab.publish(&Plugin::new("restored", "v2.0.0"))?;
    let mut findings = Vec::new();
    for (what, command) in DAMAGE {
        for force in [false, true] {
            if let Some(finding) = damage_and_mend(&lab.new_workstation()?, command, force)? {
                findings.push(format!("{what} (--force: {force}): {finding}"));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
    Ok(())
}

/// Returns what is wrong after the damage, or after the install.
fn damage_and_mend(alice: &Workstation, command: &str, force: bool) -> Result<Option<String>> {
    alice.d8(["plugins", "install", "restored", "--version", "v1.0.0"])?.expect_code(0)?;
    run("bash", ["-ec", command], |command: &mut Command| {
        command.current_dir(alice.root().join("plugins/restored"));
    })?
    .expect_code(0)?;
    let listed = alice.d8(["plugins", "list"])?;
    let damaged = alice.d8(["restored"])?;
    let named = listed.stdout.contains("damaged");
    if damaged.code() != 0 && !named {
        return Ok(Some(format!("list does not name it: {listed:?}\n{damaged:?}")));
    }
    let install: &[&str] = if force { &["--force"] } else { &[] };
    let mended = alice.d8([&["plugins", "install", "restored"], install].concat())?;
    if mended.code() != 0 || (named && mended.combined().contains("already active")) {
        return Ok(Some(format!("install does not mend it: {mended:?}\n{listed:?}")));
    }
    let ran = alice.d8(["restored"])?;
    let list = alice.d8(["plugins", "list"])?.ok()?;
    let whole = ran.code() == 0 && ran.stdout == "This is restored v1.0.0.\n" && !list.contains("damaged");
    Ok((!whole).then(|| format!("it is not mended: {ran:?}\n{list}")))
}
