//! Damaged versions, linked directories and other states of a store that are not trusted.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use d8_agent::{
    SilentReporter, StoreError,
    d8_store::{PackageDatabases, PathEntry},
};
use d8_crds::values::{digest::Digest, version::Version};

use super::{TIMEOUT, executable, output, plain, program, request, store, switch};
use crate::{
    block_on,
    support::{MemorySource, layer, now, tree},
};

pub(super) fn broken_bytes() {
    let directory = plain();
    let before = tree(directory.path());
    block_on(async {
        let bytes = layer(&[("d8", b"#!/bin/sh\nexit 3\n")]);
        let (mut request, _) = request("v2.0.0").await;
        request.artifact.expect_layer = Some(Digest::of(&bytes));
        let source = MemorySource::default().with("d8", "v2.0.0", bytes.clone());
        let store = store(directory.path());
        let locked = store.lock(TIMEOUT, &SilentReporter).await.unwrap();
        let error = locked.stage(request.clone(), &source, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::Smoke { .. }), "{error}");
        request.artifact.expect_layer = Some(Digest::of(b"other"));
        let error = locked.stage(request, &source, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
    });
    assert_eq!(tree(directory.path()), before);
}

pub(super) fn immutable() {
    let directory = plain();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    block_on(switch(directory.path(), "v1.0.0", Some("v1.0.0"))).unwrap();
    let binary = directory.path().join("root/cli/versions/v2.0.0/d8");
    let good = fs::read(&binary).unwrap();
    fs::write(&binary, program("v2.0.1")).unwrap();
    let error = block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap_err();
    assert!(matches!(error, StoreError::NotStored { .. }), "{error}");
    assert_eq!(output(directory.path()), "d8 v1.0.0");
    // With another size the version is not complete any more, and is downloaded again.
    fs::write(&binary, "#!/bin/sh\nexit 1\n").unwrap();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(fs::read(&binary).unwrap(), good);
}

/// The active version is damaged, and its size is unchanged.
pub(super) fn damaged() {
    let directory = plain();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let wanted = tree(directory.path());
    let binary = directory.path().join("root/cli/versions/v2.0.0/d8");
    fs::write(&binary, program("v2.0.1")).unwrap();
    block_on(async {
        let store = store(directory.path());
        let mut locked = store.lock(TIMEOUT, &SilentReporter).await.unwrap();
        let stored = store.find(&Version::parse("2.0.0").unwrap()).unwrap().unwrap();
        let error = locked.test(&stored, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::NotStored { .. }), "{error}");
        let (request, source) = request("v2.0.0").await;
        let tested = locked.stage(request, &source, &SilentReporter).await.unwrap();
        locked.activate(tested, None, &binary, now(), &SilentReporter).unwrap();
    });
    assert_eq!(output(directory.path()), "d8 v2.0.0");
    assert_eq!(tree(directory.path()), wanted);
}

pub(super) fn no_current() {
    let directory = plain();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let wanted = tree(directory.path());
    let (current, version) =
        (directory.path().join("root/cli/current"), directory.path().join("root/cli/versions/v1.0.0/d8"));
    let none = PackageDatabases { dpkg: directory.path().join("none"), rpm: directory.path().join("no-rpm") };
    fs::remove_file(&current).unwrap();
    // A version in the store is not a plain file: replaced by a link to `current` it would lead to itself.
    let entry = PathEntry::of(&version, Some(directory.path()), &none);
    assert!(matches!(&entry, PathEntry::Linked { .. }), "{entry:?}");
    assert!(store(directory.path()).active().unwrap().is_none());
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(tree(directory.path()), wanted);
    // A link to anything else than a version of this store is replaced. A directory is not.
    for odd in ["/usr/bin/env", "versions", "versions/v9.9.9/d8", "../../cli/versions/v2.0.0/d8/x"] {
        fs::remove_file(&current).unwrap();
        symlink(odd, &current).unwrap();
        assert!(store(directory.path()).active().unwrap().is_none(), "{odd}");
        block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
        assert_eq!(tree(directory.path()), wanted, "{odd}");
    }
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    let before = tree(directory.path());
    let error = block_on(switch(directory.path(), "v2.0.0", None)).unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
    assert_eq!(tree(directory.path()), before);
}

pub(super) fn linked_directories() {
    for name in ["cli", "cli/versions", ".staging"] {
        let directory = plain();
        block_on(switch(directory.path(), "v1.1.0", Some("v1.0.0"))).unwrap();
        let (dir, elsewhere) = (directory.path().join("root").join(name), directory.path().join("elsewhere"));
        if dir.exists() {
            fs::rename(&dir, &elsewhere).unwrap();
        } else {
            fs::create_dir(&elsewhere).unwrap();
        }
        symlink(&elsewhere, &dir).unwrap();
        let before = tree(directory.path());
        let error = block_on(switch(directory.path(), "v2.0.0", None)).unwrap_err();
        assert!(matches!(&error, StoreError::NotADirectory { path, .. } if *path == dir), "{name}: {error}");
        assert!(!error.advice()[0].fix.contains("chown"), "{name}: {error}");
        assert_eq!(tree(directory.path()), before, "{name}");
    }
    // A version directory that is a link is not a version.
    let directory = plain();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let (version, elsewhere) = (directory.path().join("root/cli/versions/v1.0.0"), directory.path().join("elsewhere"));
    fs::rename(&version, &elsewhere).unwrap();
    symlink(&elsewhere, &version).unwrap();
    assert!(store(directory.path()).find(&Version::parse("1.0.0").unwrap()).unwrap().is_none());
}

pub(super) fn untrusted_fallback() {
    let directory = plain();
    block_on(switch(directory.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let (store, cli) = (store(directory.path()), directory.path().join("root/cli"));
    let other = directory.path().join("other/d8");
    executable(&other, "#!/bin/sh\n");
    block_on(async { store.lock(TIMEOUT, &SilentReporter).await?.set_fallback(&other) }).unwrap();
    assert_eq!(store.fallback().unwrap(), Some(other.clone()));
    let is_root = rustix::process::geteuid().is_root();
    for path in [&cli, other.parent().unwrap(), &other] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        let fallback = store.fallback();
        let refused = matches!(&fallback, Err(StoreError::Untrusted { path: found, .. }) if found == path);
        assert_eq!(refused, is_root, "{}: {fallback:?}", path.display());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // The configured path can still be read.
    assert_eq!(store.fallback_path(), Some(other));
}
