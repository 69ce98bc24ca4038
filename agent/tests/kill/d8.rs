//! The store of d8 itself: at every instant there is a d8 on the PATH, whatever is killed or fails.

mod damage;
mod interruption;
mod path_entry;
mod switching;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use d8_agent::{
    Artifact, SilentReporter, StoreError,
    d8_store::{D8InstallRequest, D8Store, PackageDatabases, PathEntry, PathMigration},
    smoke::Sandbox,
};
use d8_crds::values::{digest::Digest, name::Component, platform::Platform, version::Version};

use crate::{
    TestCase, block_on, own, scratch,
    support::{MemorySource, layer, now, tag},
};

pub const CASES: &[TestCase] = &[
    ("d8_killed_at_every_failpoint", interruption::killed),
    ("d8_failure_at_any_point_restores_everything", interruption::failing),
    ("d8_first_switch_keeps_the_file_and_stores_its_version", switching::first_switch),
    ("d8_versions_of_the_go_d8_are_used", switching::go_store),
    ("d8_that_does_not_start_is_not_stored", damage::broken_bytes),
    ("d8_version_on_disk_is_verified_again", damage::immutable),
    ("d8_damaged_version_is_downloaded_again", damage::damaged),
    ("d8_killed_without_exchange", interruption::without_exchange),
    ("d8_store_without_current_is_a_store", damage::no_current),
    ("d8_development_build_is_backed_up", switching::only_copy),
    ("d8_linked_directories_are_refused", damage::linked_directories),
    ("d8_untrusted_fallback_is_refused", damage::untrusted_fallback),
    ("d8_kinds_of_path_entries", path_entry::kinds),
    ("d8_invocation_path", path_entry::invocation),
    ("d8_without_write_access_nothing_changes", path_entry::unwritable),
    ("d8_can_be_run_during_1000_switches", interruption::every_instant),
];

const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns a d8 that prints its version. From v2 on it supports policies.
fn program(version: &str) -> String {
    let capabilities =
        if version.starts_with("v2") { r#"echo '{"capabilities":["policy/v1alpha1"]}'"# } else { "exit 2" };
    format!("#!/bin/sh\nif [ \"$1\" = cli ]; then {capabilities}; else echo d8 {version}; fi\n")
}

fn executable(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs the command on the PATH and returns its output.
pub fn output(directory: &Path) -> String {
    let output = loop {
        // The fork of another thread may have a new file open for writing.
        match Command::new(directory.join("bin/d8")).output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.expect("there is no d8"),
        }
    };
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn store(directory: &Path) -> D8Store {
    D8Store::at(directory.join("root")).unwrap().with_sandbox(Sandbox::of(own()))
}

fn entry(directory: &Path) -> PathEntry {
    let none = PackageDatabases { dpkg: directory.join("none"), rpm: directory.join("no-rpm") };
    PathEntry::of(&directory.join("bin/d8"), Some(directory), &none)
}

async fn request(version: &str) -> (D8InstallRequest, MemorySource) {
    let bytes = layer(&[("d8", program(version).as_bytes())]);
    let artifact = Artifact {
        component: Component::D8,
        tag: tag(version),
        platform: Platform::current(),
        expect_layer: Some(Digest::of(&bytes)),
    };
    let request = D8InstallRequest { artifact, manifest: None, accept: None, source: "memory".to_owned(), now: now() };
    (request, MemorySource::default().with("d8", version, bytes))
}

/// Downloads `version` unless it is on disk, and makes it current, as `d8 cli update --version` does. The running
/// program has version `seed`.
pub async fn switch(
    directory: &Path,
    version: &str,
    seed: Option<&str>,
) -> Result<d8_agent::d8_store::D8Activation, StoreError> {
    let store = store(directory);
    let entry = entry(directory);
    let mut locked = store.lock(TIMEOUT, &SilentReporter).await?;
    let tested = if let Some(stored) = store.find(&Version::parse(version).unwrap())? {
        locked.test(&stored, &SilentReporter).await?
    } else {
        let (request, source) = request(version).await;
        locked.stage(request, &source, &SilentReporter).await?
    };
    let migration = PathMigration::of(&entry, seed.map(tag));
    locked.activate(tested, migration.as_ref(), &directory.join("bin/d8"), now(), &SilentReporter)
}

/// Runs `child-d8 <directory> <version> <seed>`.
pub fn main(arguments: &[String]) -> ExitCode {
    let [directory, version, seed] = arguments else { panic!("child-d8 <directory> <version> <seed>") };
    match block_on(switch(Path::new(directory), version, Some(seed))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{}: {error}", error.kind().as_str());
            ExitCode::FAILURE
        }
    }
}

/// Returns a directory with a d8 on the PATH that is a plain file.
fn plain() -> tempfile::TempDir {
    let directory = scratch();
    plain_in(directory.path());
    directory
}

/// Creates a d8 on the PATH that is a plain file.
pub fn plain_in(directory: &Path) {
    executable(&directory.join("bin/d8"), &program("v1.0.0"));
}

/// Runs a child that switches to `version`, with a failpoint.
pub fn child(directory: &Path, version: &str, failpoint: &str) -> std::process::Output {
    let mut child = Command::new(own());
    child.arg("child-d8").arg(directory).args([version, "v1.0.0"]).env("D8_FAILPOINT", failpoint);
    child.output().unwrap()
}
