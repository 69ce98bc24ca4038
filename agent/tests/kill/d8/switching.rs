//! Switches of d8: the first one, a store of the d8 written in Go, development builds.

use std::{fs, os::unix::fs::symlink, path::Path};

use d8_agent::d8_store::PathEntry;
use d8_crds::values::version::Version;

use super::{entry, executable, output, plain, program, store, switch};
use crate::{block_on, scratch, support::tag};

pub(super) fn first_switch() {
    let directory = plain();
    let done = block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!((done.tag, done.previous), (tag("v2.0.0"), None));
    let (bin, root) = (directory.path().join("bin"), directory.path().join("root"));
    assert_eq!(done.backup.as_deref(), Some(bin.join("d8.old").as_path()));
    assert_eq!(done.linked.as_deref(), Some(bin.join("d8").as_path()));
    assert_eq!(fs::read_link(bin.join("d8")).unwrap(), root.join("cli/current"));
    assert_eq!(fs::read_link(root.join("cli/current")).unwrap(), Path::new("versions/v2.0.0/d8"));
    assert_eq!(fs::read_to_string(bin.join("d8.old")).unwrap(), program("v1.0.0"));
    let stored: Vec<_> = store(directory.path()).versions().unwrap().into_iter().map(|v| v.tag).collect();
    assert_eq!(stored, [tag("v2.0.0"), tag("v1.0.0")]);
    // Back to a version on disk. The command is a link now.
    let back = block_on(switch(directory.path(), "v1.0.0", Some("v2.0.0"))).unwrap();
    assert_eq!((back.previous, back.backup, back.linked), (Some(tag("v2.0.0")), None, None));
    assert_eq!(output(directory.path()), "d8 v1.0.0");
    // Another tool replaces the link by a file. It becomes a link again, and the older backup is kept.
    fs::remove_file(bin.join("d8")).unwrap();
    executable(&bin.join("d8"), &program("v1.5.0"));
    let again = block_on(switch(directory.path(), "v2.0.0", Some("v1.5.0"))).unwrap();
    assert_eq!(again.backup, None);
    assert_eq!(output(directory.path()), "d8 v2.0.0");
    assert_eq!(fs::read_to_string(bin.join("d8.old")).unwrap(), program("v1.0.0"));
    assert!(store(directory.path()).find(&Version::parse("1.5.0").unwrap()).unwrap().is_some());
    // A development build is not stored: the backup is its only copy.
    let directory = plain();
    let done = block_on(switch(directory.path(), "v2.0.0", None)).unwrap();
    assert!(done.backup.is_some());
    assert_eq!(store(directory.path()).versions().unwrap().len(), 1);
}

/// A store of the d8 written in Go: no receipts, and an absolute or relative `current`.
pub(super) fn go_store() {
    for target_kind in ["relative", "absolute", "through a link"] {
        let absolute = target_kind != "relative";
        let directory = scratch();
        let (bin, cli) = (directory.path().join("bin"), directory.path().join("root/cli"));
        for version in ["v0.13.0", "v0.13.1"] {
            executable(&cli.join("versions").join(version).join("d8"), &program(version));
        }
        let target = Path::new("versions/v0.13.1/d8");
        symlink(".", directory.path().join("alias")).unwrap();
        let dir = if target_kind == "through a link" { directory.path().join("alias/root/cli") } else { cli.clone() };
        symlink(if absolute { dir.join(target) } else { target.to_owned() }, cli.join("current")).unwrap();
        fs::create_dir(&bin).unwrap();
        symlink(cli.join("current"), bin.join("d8")).unwrap();
        let store_of_go = store(directory.path());
        assert_eq!(store_of_go.active().unwrap().unwrap().tag, tag("v0.13.1"));
        let versions: Vec<_> =
            store_of_go.versions().unwrap().into_iter().map(|v| (v.tag, v.receipt.is_some())).collect();
        assert_eq!(versions, [(tag("v0.13.1"), false), (tag("v0.13.0"), false)]);
        assert!(matches!(entry(directory.path()), PathEntry::Linked { store, .. } if store == cli));
        let done = block_on(switch(directory.path(), "v2.0.0", None)).unwrap();
        assert_eq!((done.previous, done.linked), (Some(tag("v0.13.1")), None));
        assert_eq!(output(directory.path()), "d8 v2.0.0");
        // The d8 written in Go can read the store: a relative link, a plain executable.
        assert_eq!(fs::read_link(cli.join("current")).unwrap(), Path::new("versions/v2.0.0/d8"));
        assert!(cli.join("versions/v0.13.1/d8").is_file());
        block_on(switch(directory.path(), "v0.13.0", None)).unwrap();
        assert_eq!(output(directory.path()), "d8 v0.13.0");
    }
}

pub(super) fn only_copy() {
    let directory = scratch();
    let bin = directory.path().join("bin");
    let mut backups = Vec::new();
    for build in ["one", "two", "three"] {
        executable(&bin.join("next"), &program(build));
        fs::rename(bin.join("next"), bin.join("d8")).unwrap();
        let done = block_on(switch(directory.path(), "v2.0.0", None)).unwrap();
        let backup = done.backup.unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), program(build));
        backups.push(backup);
    }
    assert_eq!(backups, ["d8.old", "d8.old.1", "d8.old.2"].map(|name| bin.join(name)));
    // A link that a user created is backed up as a link.
    let directory = scratch();
    executable(&directory.path().join("opt/d8"), &program("v1.0.0"));
    fs::create_dir(directory.path().join("bin")).unwrap();
    symlink("../opt/d8", directory.path().join("bin/d8")).unwrap();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(fs::read_link(directory.path().join("bin/d8.old")).unwrap(), Path::new("../opt/d8"));
    assert_eq!(fs::read_to_string(directory.path().join("opt/d8")).unwrap(), program("v1.0.0"));
    assert_eq!(output(directory.path()), "d8 v2.0.0");
}
