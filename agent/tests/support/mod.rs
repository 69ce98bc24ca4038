//! Shared by the tests of the stores: layers, a source that serves them from memory, and views of the disk.
#![allow(dead_code, clippy::missing_panics_doc, clippy::must_use_candidate, clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use d8_agent::{InstallRequest, LayerSource, LayerStream};
use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{Component, PluginName, Tag},
        platform::Platform,
    },
};
use d8_layers::TarEntry;
use futures::StreamExt as _;

pub fn name(text: &str) -> PluginName {
    text.parse().unwrap()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

pub fn now() -> jiff::Timestamp {
    "2026-11-22T09:00:00Z".parse().unwrap()
}

/// Returns a plugin that prints its name and version. A plugin of major 9 has 100 KiB.
pub fn script(name: &str, tag: &str) -> Vec<u8> {
    let mut script = format!("#!/bin/sh\necho {name} {tag}\nexit\n").into_bytes();
    if tag.starts_with("v9.") {
        script.resize(100 * 1024, b'#');
    }
    script
}

/// Returns a layer with these files, with mode 0600.
pub fn layer(files: &[(&str, &[u8])]) -> Bytes {
    let entry = |(path, bytes): &(&str, &[u8])| TarEntry { mode: 0o600, ..TarEntry::file(path, *bytes) };
    d8_layers::layer(&files.iter().map(entry).collect::<Vec<_>>()).into()
}

/// Returns a contract whose description names the version.
pub fn contract(name: &PluginName, tag: &Tag) -> Contract {
    let mut contract = Contract::bare(&Component::Plugin(name.clone()), tag);
    contract.description = format!("{name} as of {tag}");
    contract
}

/// Returns the request to install a version.
pub fn request(name: &str, tag: &str) -> InstallRequest {
    let (name, tag) = (self::name(name), self::tag(tag));
    InstallRequest {
        contract: contract(&name, &tag),
        name,
        tag,
        platform: Platform::current(),
        expect_layer: None,
        manifest: None,
        accept: None,
        force: false,
        source: "memory".to_owned(),
        skipped_cluster_checks: false,
        now: now(),
    }
}

/// A fault of a download.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The source cannot be opened.
    Refused,
    /// The connection breaks during the download.
    Broken,
}

/// A source of layers in memory: those that were added, else a layer with a script for the requested version.
#[derive(Clone, Default)]
pub struct MemorySource {
    layers: Arc<Mutex<BTreeMap<String, Bytes>>>,
    fault: Option<Fault>,
}

impl MemorySource {
    pub fn with(self, name: &str, tag: &str, layer: Bytes) -> Self {
        self.layers.lock().unwrap().insert(format!("{name} {tag}"), layer);
        self
    }

    pub fn failing(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    pub fn layer(&self, name: &str, tag: &str) -> Bytes {
        let set = self.layers.lock().unwrap().get(&format!("{name} {tag}")).cloned();
        match set {
            Some(set) => set,
            None => layer(&[("plugin", &script(name, tag))]),
        }
    }
}

impl LayerSource for MemorySource {
    async fn open(&self, artifact: &d8_agent::Artifact) -> Result<LayerStream, d8_rpp::Error> {
        let unreachable = || d8_rpp::Error::Unreachable { host: "memory".to_owned(), why: "injected".to_owned() };
        if self.fault == Some(Fault::Refused) {
            return Err(unreachable());
        }
        let layer = self.layer(artifact.component.name(), artifact.tag.as_str());
        let size = layer.len();
        let length = (size / 5).clamp(1, 64 * 1024);
        let mut chunks: Vec<Result<Bytes, d8_rpp::Error>> =
            layer.chunks(length).map(|chunk| Ok(layer.slice_ref(chunk))).collect();
        if self.fault == Some(Fault::Broken) {
            chunks.truncate(2);
            chunks.push(Err(unreachable()));
        }
        Ok(LayerStream {
            chunks: futures::stream::iter(chunks).boxed(),
            size: Some(size as u64),
            manifest: None,
            checksum: None,
        })
    }
}

/// Returns the digest of a layer.
pub fn digest(source: &MemorySource, name: &str, tag: &str) -> Digest {
    Digest::of(&source.layer(name, tag))
}

/// Lists all files below a directory: path, type and mode, and the targets of links.
pub fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, lines: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let shown = path.strip_prefix(root).unwrap().display();
            if metadata.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                let target = target.strip_prefix(root).map(Path::to_owned).unwrap_or(target);
                lines.push(format!("{shown} -> {}", target.display()));
            } else {
                let mode = metadata.permissions().mode() & 0o7777;
                let kind = if metadata.is_dir() { "/" } else { "" };
                lines.push(format!("{shown}{kind} {mode:04o}"));
                if metadata.is_dir() {
                    walk(root, &path, lines);
                }
            }
        }
    }
    let mut lines = Vec::new();
    walk(root, root, &mut lines);
    lines.sort();
    lines
}

/// Runs the active version of a plugin and returns its output, `None` if the plugin is not installed.
pub fn run_current(root: &Path, name: &str) -> Option<String> {
    let current = root.join("plugins").join(name).join("current");
    fs::symlink_metadata(&current).ok()?;
    let output = loop {
        // The fork of another test's thread may have the file open for writing until it executes its program.
        match std::process::Command::new(&current).arg("--version").output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.expect("current cannot be run"),
        }
    };
    assert!(output.status.success(), "current failed: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Returns a directory for a store, in memory if programs can be run there: the syncs of a disk would take most of the
/// time, and a killed process loses no writes.
pub fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let runs = |directory: &tempfile::TempDir| {
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").is_ok()
            && std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).is_ok()
            && std::process::Command::new(&script).status().is_ok_and(|status| status.success())
            && std::fs::remove_file(&script).is_ok()
    };
    tempfile::tempdir_in("/dev/shm")
        .ok()
        .filter(runs)
        .unwrap_or_else(|| tempfile::tempdir().expect("a temporary directory"))
}
