//! The command on the PATH: its kind, how it was started, and a directory without write access.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use d8_agent::{
    SilentReporter, StoreError,
    d8_store::{PackageDatabases, PathEntry, PathMigration, inaccessible_ancestor, invocation_path},
};

use super::{TIMEOUT, executable, plain, request, store, switch};
use crate::{
    block_on, scratch,
    support::{now, tree},
};

pub(super) fn kinds() {
    let directory = scratch();
    let at = |name: &str| directory.path().join(name);
    let dpkg = at("dpkg");
    fs::create_dir(&dpkg).unwrap();
    executable(&at("usr/bin/d8"), "#!/bin/sh\n");
    executable(&at("own/d8"), "#!/bin/sh\n");
    executable(&at("opt/Cellar/d8/1/d8"), "#!/bin/sh\n");
    fs::create_dir(at("bin")).unwrap();
    symlink(at("opt/Cellar/d8/1/d8"), at("bin/brewed")).unwrap();
    symlink(at("own/d8"), at("bin/linked")).unwrap();
    fs::write(dpkg.join("d8-tools:amd64.list"), format!("/.\n{}\n", at("usr/bin/d8").display())).unwrap();
    let rpm = at("rpm");
    executable(&rpm, "#!/bin/sh\ncase \"$5\" in */own/rpmed) echo d8-rpm;; *) exit 1;; esac\n");
    executable(&at("own/rpmed"), "#!/bin/sh\n");
    let databases = PackageDatabases { dpkg, rpm };
    let entry = |name: &str, home: Option<&Path>| PathEntry::of(&at(name), home, &databases);
    let managed = |name: &str| match entry(name, None) {
        PathEntry::Managed { by, .. } => by,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(managed("usr/bin/d8"), "dpkg (package d8-tools)");
    assert_eq!(managed("own/rpmed"), "rpm (package d8-rpm)");
    assert_eq!(managed("bin/brewed"), "Homebrew");
    assert!(matches!(entry("bin/linked", Some(directory.path())), PathEntry::Plain { shared: false, .. }));
    // Other users cannot enter this directory. Directories that do not exist will be created accessible.
    fs::create_dir_all(at("open/closed/open")).unwrap();
    fs::set_permissions(at("open/closed"), fs::Permissions::from_mode(0o750)).unwrap();
    let closed = |name: &str| inaccessible_ancestor(&at(name)).filter(|path| path.starts_with(directory.path()));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(closed("open/closed/open/new"), Some(at("open/closed")));
    assert_eq!(closed("open/new/newer"), None);
    // Other users cannot run a command in a private directory.
    fs::set_permissions(at("own"), fs::Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(entry("own/d8", None), PathEntry::Plain { shared: false, .. }));
    assert!(matches!(
        PathEntry::of(Path::new("/bin/sh"), None, &PackageDatabases { dpkg: at("none"), rpm: at("none") }),
        PathEntry::Plain { shared: true, .. }
    ));
    // The database of this machine, if it has one.
    if Path::new("/var/lib/dpkg/info/coreutils.list").exists() {
        let ls = PathEntry::of(Path::new("/bin/ls"), None, &PackageDatabases::default());
        assert!(matches!(&ls, PathEntry::Managed { by, .. } if by == "dpkg (package coreutils)"), "{ls:?}");
    }
}

pub(super) fn invocation() {
    let directory = scratch();
    let real = directory.path().join("store/d8");
    executable(&real, "#!/bin/sh\n");
    let bin = directory.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(&real, bin.join("d8")).unwrap();
    executable(&directory.path().join("other/d8"), "#!/bin/sh\n");
    let path = std::env::join_paths([directory.path().join("other"), bin.clone()]).unwrap();
    let real = real.canonicalize().unwrap();
    let invocation = |argv0: &str| invocation_path(argv0.as_ref(), Some(&path), directory.path(), &real);
    for (argv0, expected) in [
        ("d8", bin.join("d8")),
        ("bin/d8", bin.join("d8")),
        ("./bin/d8", directory.path().join("./bin/d8")),
        ("other/d8", real.clone()),
        ("nothing", real.clone()),
        ("", real.clone()),
    ] {
        assert_eq!(invocation(argv0), expected, "{argv0:?}");
    }
    assert_eq!(invocation(&bin.join("d8").display().to_string()), bin.join("d8"));
}

pub(super) fn unwritable() {
    if rustix::process::geteuid().is_root() {
        // Root can write to every directory except for those of some file systems.
        let command = Path::new("/proc/self/d8");
        let directory = scratch();
        let done = block_on(async {
            let store = store(directory.path());
            let mut locked = store.lock(TIMEOUT, &SilentReporter).await?;
            let (request, source) = request("v2.0.0").await;
            let tested = locked.stage(request, &source, &SilentReporter).await?;
            let migration = PathMigration { path: command.to_owned(), seed: None };
            locked.activate(tested, Some(&migration), command, now(), &SilentReporter)
        });
        let error = done.unwrap_err();
        assert!(matches!(error, StoreError::EntryUnwritable { .. }), "{error}");
        assert!(error.advice()[0].fix.contains("sudo"), "{error}");
        assert_eq!(tree(directory.path()), [""; 0]);
        return;
    }
    let directory = plain();
    fs::set_permissions(directory.path().join("bin"), fs::Permissions::from_mode(0o555)).unwrap();
    let before = tree(directory.path());
    let error = block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap_err();
    assert!(matches!(error, StoreError::EntryUnwritable { .. }), "{error}");
    assert_eq!(tree(directory.path()), before);
    fs::set_permissions(directory.path().join("bin"), fs::Permissions::from_mode(0o755)).unwrap();
}
