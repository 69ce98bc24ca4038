//! The store of d8 itself: there is a d8 on the PATH at every instant, whatever is killed or fails.

mod entry;

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use d8_agent::{
    Artifact, SilentReporter, StoreError,
    d8_store::{D8InstallRequest, D8Store, PackageDatabases, PathEntry, PathMigration},
    smoke::Sandbox,
    testing,
};
use d8_crds::values::{digest::Digest, name::Component, platform::Platform, version::Version};

use crate::{
    Case, block_on, copy_tree, own, scratch,
    support::{Memory, layer, now, tag, tree},
};

pub const CASES: &[Case] = &[
    ("d8_killed_at_every_failpoint", killed),
    ("d8_failing_half_way_puts_everything_back", failing),
    ("d8_first_switch_keeps_the_file_and_stores_its_version", first_switch),
    ("d8_versions_of_the_go_d8_are_taken_over", go_store),
    ("d8_that_does_not_start_never_enters_the_store", broken_bytes),
    ("d8_entry_is_immutable_and_tested_again", immutable),
    ("d8_damaged_entry_is_replaced_by_what_is_fetched_again", damaged),
    ("d8_store_that_lost_its_current_is_still_a_store", no_current),
    ("d8_development_build_is_never_lost", only_copy),
    ("d8_directories_of_the_store_that_are_links_are_refused", linked_directories),
    ("d8_fallback_that_others_could_change_is_not_run", untrusted_fallback),
    ("d8_what_stands_on_the_path", entry::entries),
    ("d8_how_it_was_started", entry::started),
    ("d8_without_write_access_nothing_changes", entry::unwritable),
    ("d8_is_there_at_every_instant_of_a_thousand_switches", every_instant),
];

const TIMEOUT: Duration = Duration::from_secs(30);

/// A d8 that says its version, and that it knows policies from v2 on.
fn program(version: &str) -> String {
    let knows = if version.starts_with("v2") { r#"echo '{"capabilities":["policy/v1alpha1"]}'"# } else { "exit 2" };
    format!("#!/bin/sh\nif [ \"$1\" = cli ]; then {knows}; else echo d8 {version}; fi\n")
}

fn executable(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the command on the PATH says.
fn says(folder: &Path) -> String {
    let output = loop {
        // A fork of another thread of this test may hold a file open for writing that it has just made.
        match Command::new(folder.join("bin/d8")).output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.expect("there is no d8"),
        }
    };
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn store(folder: &Path) -> D8Store {
    D8Store::at(folder.join("root")).unwrap().with_sandbox(Sandbox::of(own()))
}

fn entry(folder: &Path) -> PathEntry {
    let nobody = PackageDatabases { dpkg: folder.join("none"), rpm: folder.join("no-rpm") };
    PathEntry::of(&folder.join("bin/d8"), Some(folder), &nobody)
}

async fn order(version: &str) -> (D8InstallRequest, Memory) {
    let bytes = layer(&[("d8", program(version).as_bytes())]);
    let artifact = Artifact {
        component: Component::D8,
        tag: tag(version),
        platform: Platform::current(),
        expect_layer: Some(Digest::of(&bytes)),
    };
    let order = D8InstallRequest { artifact, manifest: None, accept: None, source: "memory".to_owned(), now: now() };
    (order, Memory::default().with("d8", version, bytes))
}

/// Fetches `version` unless it is on disk and makes it current, as `d8 cli update --version` does; the
/// running program is `seed`.
async fn switch(
    folder: &Path,
    version: &str,
    seed: Option<&str>,
) -> Result<d8_agent::d8_store::D8Activation, StoreError> {
    let store = store(folder);
    let entry = entry(folder);
    let mut locked = store.lock(TIMEOUT, &SilentReporter).await?;
    let tested = if let Some(stored) = store.find(&Version::parse(version).unwrap())? {
        locked.test(&stored, &SilentReporter).await?
    } else {
        let (order, source) = order(version).await;
        locked.stage(order, &source, &SilentReporter).await?
    };
    let migration = PathMigration::of(&entry, seed.map(tag));
    locked.activate(tested, migration.as_ref(), &folder.join("bin/d8"), now(), &SilentReporter)
}

/// `child-d8 <folder> <version> <seed>`.
pub fn main(arguments: &[String]) -> ExitCode {
    let [folder, version, seed] = arguments else { panic!("child-d8 <folder> <version> <seed>") };
    match block_on(switch(Path::new(folder), version, Some(seed))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}: {error}", error.kind().as_str());
            ExitCode::FAILURE
        }
    }
}

fn plain() -> tempfile::TempDir {
    let folder = scratch();
    executable(&folder.path().join("bin/d8"), &program("v1.0.0"));
    folder
}

fn child(folder: &Path, version: &str, failpoint: &str) -> std::process::Output {
    let mut child = Command::new(own());
    child.arg("child-d8").arg(folder).args([version, "v1.0.0"]).env("D8_FAILPOINT", failpoint);
    child.output().unwrap()
}

fn killed() {
    let outer = scratch();
    let [folder, template] = ["world", "template"].map(|name| outer.path().join(name));
    let mut kills = 0;
    for (what, switched) in [("the first switch", false), ("a later one", true)] {
        let _ = fs::remove_dir_all(&folder);
        executable(&folder.join("bin/d8"), &program("v1.0.0"));
        if switched {
            block_on(switch(&folder, "v1.1.0", Some("v1.0.0"))).unwrap();
        }
        copy_tree(&folder, &template).unwrap();
        let before = says(&folder);
        block_on(switch(&folder, "v2.0.0", Some("v1.0.0"))).unwrap();
        let wanted = tree(&folder);
        for point in testing::ALL.iter().filter(|point| !point.starts_with("disk.")) {
            copy_tree(&template, &folder).unwrap();
            let child = child(&folder, "v2.0.0", &format!("{point}=kill"));
            if child.status.signal() != Some(9) {
                assert!(child.status.success(), "{what} at {point}: {child:?}");
                assert!(switched || !point.starts_with("own."), "{what} does not come to {point}");
                continue;
            }
            kills += 1;
            let said = says(&folder);
            assert!(said == before || said == "d8 v2.0.0", "{what}, killed at {point}: {said}");
            block_on(switch(&folder, "v2.0.0", Some("v1.0.0"))).unwrap();
            assert_eq!(says(&folder), "d8 v2.0.0", "{what}, killed at {point}");
            assert_eq!(tree(&folder), wanted, "{what}, killed at {point}");
        }
    }
    println!("  {kills} kills");
}

fn failing() {
    for switched in [false, true] {
        let folder = plain();
        if switched {
            block_on(switch(folder.path(), "v1.1.0", Some("v1.0.0"))).unwrap();
        }
        let (before, said) = (tree(folder.path()), says(folder.path()));
        for point in ["own.seeded", "own.placed", "own.current", "own.backup"] {
            let child = child(folder.path(), "v2.0.0", &format!("{point}=fail"));
            if switched && point == "own.backup" {
                assert!(child.status.success(), "nothing is kept twice");
                continue;
            }
            assert!(!child.status.success(), "{point}: {child:?}");
            assert_eq!(says(folder.path()), said, "{point}");
            let left: Vec<_> = tree(folder.path()).into_iter().filter(|line| !line.contains("digests.jsonl")).collect();
            let before: Vec<_> = before.iter().filter(|line| !line.contains("digests.jsonl")).cloned().collect();
            assert_eq!(left, before, "{point}");
        }
    }
}

fn first_switch() {
    let folder = plain();
    let done = block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!((done.tag, done.previous), (tag("v2.0.0"), None));
    let (bin, root) = (folder.path().join("bin"), folder.path().join("root"));
    assert_eq!(done.backup.as_deref(), Some(bin.join("d8.old").as_path()));
    assert_eq!(done.linked.as_deref(), Some(bin.join("d8").as_path()));
    assert_eq!(fs::read_link(bin.join("d8")).unwrap(), root.join("cli/current"));
    assert_eq!(fs::read_link(root.join("cli/current")).unwrap(), Path::new("versions/v2.0.0/d8"));
    assert_eq!(fs::read_to_string(bin.join("d8.old")).unwrap(), program("v1.0.0"));
    let stored: Vec<_> = store(folder.path()).versions().unwrap().into_iter().map(|v| v.tag).collect();
    assert_eq!(stored, [tag("v2.0.0"), tag("v1.0.0")]);
    // Back, offline; the command is a link already.
    let back = block_on(switch(folder.path(), "v1.0.0", Some("v2.0.0"))).unwrap();
    assert_eq!((back.previous, back.backup, back.linked), (Some(tag("v2.0.0")), None, None));
    assert_eq!(says(folder.path()), "d8 v1.0.0");
    // Other tooling puts a file there: it becomes a link again, and the older backup stays.
    fs::remove_file(bin.join("d8")).unwrap();
    executable(&bin.join("d8"), &program("v1.5.0"));
    let again = block_on(switch(folder.path(), "v2.0.0", Some("v1.5.0"))).unwrap();
    assert_eq!(again.backup, None);
    assert_eq!(says(folder.path()), "d8 v2.0.0");
    assert_eq!(fs::read_to_string(bin.join("d8.old")).unwrap(), program("v1.0.0"));
    assert!(store(folder.path()).find(&Version::parse("1.5.0").unwrap()).unwrap().is_some());
    // A development build is not stored: the backup is its only copy.
    let folder = plain();
    let done = block_on(switch(folder.path(), "v2.0.0", None)).unwrap();
    assert!(done.backup.is_some());
    assert_eq!(store(folder.path()).versions().unwrap().len(), 1);
}

/// As the Go d8 leaves its store: no receipts, an absolute or a relative `current`.
fn go_store() {
    for how in ["relative", "absolute", "by another name"] {
        let absolute = how != "relative";
        let folder = scratch();
        let (bin, cli) = (folder.path().join("bin"), folder.path().join("root/cli"));
        for version in ["v0.13.0", "v0.13.1"] {
            executable(&cli.join("versions").join(version).join("d8"), &program(version));
        }
        let target = Path::new("versions/v0.13.1/d8");
        symlink(".", folder.path().join("alias")).unwrap();
        let way = if how == "by another name" { folder.path().join("alias/root/cli") } else { cli.clone() };
        symlink(if absolute { way.join(target) } else { target.to_owned() }, cli.join("current")).unwrap();
        fs::create_dir(&bin).unwrap();
        symlink(cli.join("current"), bin.join("d8")).unwrap();
        let own = store(folder.path());
        assert_eq!(own.active().unwrap().unwrap().tag, tag("v0.13.1"));
        let versions: Vec<_> = own.versions().unwrap().into_iter().map(|v| (v.tag, v.receipt.is_some())).collect();
        assert_eq!(versions, [(tag("v0.13.1"), false), (tag("v0.13.0"), false)]);
        assert!(matches!(entry(folder.path()), PathEntry::Linked { store, .. } if store == cli));
        let done = block_on(switch(folder.path(), "v2.0.0", None)).unwrap();
        assert_eq!((done.previous, done.linked), (Some(tag("v0.13.1")), None));
        assert_eq!(says(folder.path()), "d8 v2.0.0");
        // What the Go d8 reads is as it writes it: a relative link, a plain executable.
        assert_eq!(fs::read_link(cli.join("current")).unwrap(), Path::new("versions/v2.0.0/d8"));
        assert!(cli.join("versions/v0.13.1/d8").is_file());
        block_on(switch(folder.path(), "v0.13.0", None)).unwrap();
        assert_eq!(says(folder.path()), "d8 v0.13.0");
    }
}

fn broken_bytes() {
    let folder = plain();
    let before = tree(folder.path());
    block_on(async {
        let bytes = layer(&[("d8", b"#!/bin/sh\nexit 3\n")]);
        let (mut order, _) = order("v2.0.0").await;
        order.artifact.expect_layer = Some(Digest::of(&bytes));
        let source = Memory::default().with("d8", "v2.0.0", bytes.clone());
        let store = store(folder.path());
        let locked = store.lock(TIMEOUT, &SilentReporter).await.unwrap();
        let error = locked.stage(order.clone(), &source, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::Smoke { .. }), "{error}");
        order.artifact.expect_layer = Some(Digest::of(b"other"));
        let error = locked.stage(order, &source, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
    });
    assert_eq!(tree(folder.path()), before);
}

fn immutable() {
    let folder = plain();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    block_on(switch(folder.path(), "v1.0.0", Some("v1.0.0"))).unwrap();
    let binary = folder.path().join("root/cli/versions/v2.0.0/d8");
    let good = fs::read(&binary).unwrap();
    fs::write(&binary, program("v2.0.1")).unwrap();
    let error = block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap_err();
    assert!(matches!(error, StoreError::NotStored { .. }), "{error}");
    assert_eq!(says(folder.path()), "d8 v1.0.0");
    // Of another length it is no whole version any more, and is fetched again.
    fs::write(&binary, "#!/bin/sh\nexit 1\n").unwrap();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(fs::read(&binary).unwrap(), good);
}

/// The active version is damaged, and its size does not show it.
fn damaged() {
    let folder = plain();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let wanted = tree(folder.path());
    let binary = folder.path().join("root/cli/versions/v2.0.0/d8");
    fs::write(&binary, program("v2.0.1")).unwrap();
    block_on(async {
        let store = store(folder.path());
        let mut locked = store.lock(TIMEOUT, &SilentReporter).await.unwrap();
        let stored = store.find(&Version::parse("2.0.0").unwrap()).unwrap().unwrap();
        let error = locked.test(&stored, &SilentReporter).await.unwrap_err();
        assert!(matches!(error, StoreError::NotStored { .. }), "{error}");
        let (order, source) = order("v2.0.0").await;
        let tested = locked.stage(order, &source, &SilentReporter).await.unwrap();
        locked.activate(tested, None, &binary, now(), &SilentReporter).unwrap();
    });
    assert_eq!(says(folder.path()), "d8 v2.0.0");
    assert_eq!(tree(folder.path()), wanted);
}

fn no_current() {
    let folder = plain();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let wanted = tree(folder.path());
    let (current, version) =
        (folder.path().join("root/cli/current"), folder.path().join("root/cli/versions/v1.0.0/d8"));
    let nobody = PackageDatabases { dpkg: folder.path().join("none"), rpm: folder.path().join("no-rpm") };
    fs::remove_file(&current).unwrap();
    // A version in the store is no plain file: made a link to `current` it would lead to itself.
    let entry = PathEntry::of(&version, Some(folder.path()), &nobody);
    assert!(matches!(&entry, PathEntry::Linked { .. }), "{entry:?}");
    assert!(store(folder.path()).active().unwrap().is_none());
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(tree(folder.path()), wanted);
    // What is no link to a version of this store is replaced, but for a directory.
    for odd in ["/usr/bin/env", "versions", "versions/v9.9.9/d8", "../../cli/versions/v2.0.0/d8/x"] {
        fs::remove_file(&current).unwrap();
        symlink(odd, &current).unwrap();
        assert!(store(folder.path()).active().unwrap().is_none(), "{odd}");
        block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
        assert_eq!(tree(folder.path()), wanted, "{odd}");
    }
    fs::remove_file(&current).unwrap();
    fs::create_dir(&current).unwrap();
    let before = tree(folder.path());
    let error = block_on(switch(folder.path(), "v2.0.0", None)).unwrap_err();
    assert!(matches!(error, StoreError::Broken { .. }), "{error}");
    assert_eq!(tree(folder.path()), before);
}

fn linked_directories() {
    for place in ["cli", "cli/versions", ".staging"] {
        let folder = plain();
        block_on(switch(folder.path(), "v1.1.0", Some("v1.0.0"))).unwrap();
        let (dir, elsewhere) = (folder.path().join("root").join(place), folder.path().join("elsewhere"));
        if dir.exists() {
            fs::rename(&dir, &elsewhere).unwrap();
        } else {
            fs::create_dir(&elsewhere).unwrap();
        }
        symlink(&elsewhere, &dir).unwrap();
        let before = tree(folder.path());
        let error = block_on(switch(folder.path(), "v2.0.0", None)).unwrap_err();
        assert!(matches!(&error, StoreError::NotADirectory { path, .. } if *path == dir), "{place}: {error}");
        assert!(!error.advice()[0].fix.contains("chown"), "{place}: {error}");
        assert_eq!(tree(folder.path()), before, "{place}");
    }
    // A version that is one is none.
    let folder = plain();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let (version, elsewhere) = (folder.path().join("root/cli/versions/v1.0.0"), folder.path().join("elsewhere"));
    fs::rename(&version, &elsewhere).unwrap();
    symlink(&elsewhere, &version).unwrap();
    assert!(store(folder.path()).find(&Version::parse("1.0.0").unwrap()).unwrap().is_none());
}

fn only_copy() {
    let folder = scratch();
    let bin = folder.path().join("bin");
    let mut kept = Vec::new();
    for build in ["one", "two", "three"] {
        executable(&bin.join("next"), &program(build));
        fs::rename(bin.join("next"), bin.join("d8")).unwrap();
        let done = block_on(switch(folder.path(), "v2.0.0", None)).unwrap();
        let backup = done.backup.unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), program(build));
        kept.push(backup);
    }
    assert_eq!(kept, ["d8.old", "d8.old.1", "d8.old.2"].map(|name| bin.join(name)));
    // A link by hand is kept as the link it is.
    let folder = scratch();
    executable(&folder.path().join("opt/d8"), &program("v1.0.0"));
    fs::create_dir(folder.path().join("bin")).unwrap();
    symlink("../opt/d8", folder.path().join("bin/d8")).unwrap();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    assert_eq!(fs::read_link(folder.path().join("bin/d8.old")).unwrap(), Path::new("../opt/d8"));
    assert_eq!(fs::read_to_string(folder.path().join("opt/d8")).unwrap(), program("v1.0.0"));
    assert_eq!(says(folder.path()), "d8 v2.0.0");
}

fn untrusted_fallback() {
    let folder = plain();
    block_on(switch(folder.path(), "v2.0.0", Some("v1.0.0"))).unwrap();
    let (store, cli) = (store(folder.path()), folder.path().join("root/cli"));
    let other = folder.path().join("other/d8");
    executable(&other, "#!/bin/sh\n");
    block_on(async { store.lock(TIMEOUT, &SilentReporter).await?.set_fallback(&other) }).unwrap();
    assert_eq!(store.fallback().unwrap(), Some(other.clone()));
    let careful = rustix::process::geteuid().is_root();
    for place in [&cli, other.parent().unwrap(), &other] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o777)).unwrap();
        let fallback = store.fallback();
        let refused = matches!(&fallback, Err(StoreError::Untrusted { path, .. }) if path == place);
        assert_eq!(refused, careful, "{}: {fallback:?}", place.display());
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // It can be seen and forgotten all the same.
    assert_eq!(store.remembered_fallback(), Some(other));
}

/// Somebody calls d8 all the time while it is migrated and switched again and again.
fn every_instant() {
    let folder = plain();
    let command = folder.path().join("bin/d8");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut calls = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                says(folder.path());
                calls += 1;
            }
            calls
        });
        for round in 0..1000 {
            if round % 2 == 0 {
                // A file again, as other tooling leaves it: in one rename.
                let file = folder.path().join("bin/next");
                executable(&file, &program("v1.0.0"));
                fs::rename(&file, &command).unwrap();
            }
            block_on(quick(folder.path(), if round % 2 == 0 { "v2.0.0" } else { "v1.0.0" })).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let calls = caller.join().unwrap();
        assert!(calls > 100, "{calls}");
        println!("  {calls} calls during 1000 changes");
    });
}

/// The same as [`switch`], of versions on disk and without their test, which is not what is counted here.
async fn quick(folder: &Path, version: &str) -> Result<(), StoreError> {
    let quiet: PathBuf = folder.join("sandbox");
    if !quiet.exists() {
        executable(&quiet, "#!/bin/sh\necho '{\"passed\":\"d8\"}'\n");
        switch(folder, "v2.0.0", Some("v1.0.0")).await?;
    }
    let store = D8Store::at(folder.join("root"))?.with_sandbox(Sandbox::of(&quiet));
    let mut locked = store.lock(TIMEOUT, &SilentReporter).await?;
    let stored = store.find(&Version::parse(version).unwrap())?.unwrap();
    let tested = locked.test(&stored, &SilentReporter).await?;
    let migration = PathMigration::of(&entry(folder), Some(tag("v1.0.0")));
    locked.activate(tested, migration.as_ref(), &folder.join("bin/d8"), now(), &SilentReporter)?;
    Ok(())
}
