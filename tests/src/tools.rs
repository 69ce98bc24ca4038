//! The programs that tests run: those of the control plane, built once from `tests/tools`, and the binaries of this
//! workspace, built by cargo.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::{Error, Result};

/// The programs of the control plane.
#[derive(Debug, Clone)]
pub struct Tools {
    directory: PathBuf,
}

/// Returns the path of the test registry. Builds it if the cache does not have it.
pub fn registry() -> Result<PathBuf> {
    static REGISTRY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = REGISTRY.get() {
        return Ok(path.clone());
    }
    let path = build_tools("registry")?.join("registry");
    Ok(REGISTRY.get_or_init(|| path).clone())
}

/// Builds a module of `tests/tools` once. Returns the directory of its programs.
fn build_tools(module: &str) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/build.sh");
    let output = without_cargo(&mut Command::new("bash"))
        .args([script.as_os_str(), module.as_ref()])
        .stdin(Stdio::null())
        // The first build takes minutes: show its progress.
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io(format!("bash {}", script.display())))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        Ok(path.into())
    } else {
        Err(Error::Command { line: script.display().to_string(), code: output.status.to_string(), output: path })
    }
}

impl Tools {
    /// Finds the programs. Builds them if the cache does not have them.
    pub fn get() -> Result<&'static Self> {
        static TOOLS: OnceLock<Tools> = OnceLock::new();
        if let Some(tools) = TOOLS.get() {
            return Ok(tools);
        }
        let directory = build_tools("control-plane")?;
        Ok(TOOLS.get_or_init(|| Self { directory }))
    }

    /// Returns the path of `kube-apiserver`, `etcd`, `kubectl` or `helm`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the directory of the programs, for `PATH`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Returns the path of a binary of this workspace (`d8`, `d8-rpp`, `d8-operator`, `d8-lab`). Cargo builds it with
/// profile `dev` and the shipped features.
pub fn binary(name: &str) -> Result<PathBuf> {
    static BINARIES: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    let built = BINARIES.get_or_init(|| build().map_err(|error| error.to_string()));
    let found = match built {
        Ok(paths) => paths.get(name).cloned().ok_or_else(|| "cargo built no such binary".to_owned()),
        Err(error) => Err(error.clone()),
    };
    found.map_err(|found| Error::Unexpected { what: format!("binary {name}"), found })
}

fn build() -> Result<BTreeMap<String, PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let line = "cargo build --workspace --bins";
    let output = without_cargo(&mut Command::new(cargo))
        .args(["build", "--workspace", "--bins", "--quiet", "--message-format=json-render-diagnostics"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(Error::io(line))?;
    if !output.status.success() {
        return Err(Error::Command { line: line.into(), code: output.status.to_string(), output: "see above".into() });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let executables = messages.lines().filter_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        Some((path.file_name()?.to_str()?.to_owned(), path))
    });
    Ok(executables.collect())
}

/// Returns the `d8-lab` that supervises child processes: this program if it is `d8-lab`, else the binary that
/// cargo built beside this test.
pub(crate) fn lab_binary() -> Result<PathBuf> {
    let me = std::env::current_exe().map_err(Error::io("path of this program"))?;
    if me.file_stem().is_some_and(|name| name == "d8-lab") {
        return Ok(me);
    }
    // target/debug/deps/<test>-<hash> -> target/debug/d8-lab
    let beside = me.parent().and_then(Path::parent).map(|directory| directory.join("d8-lab"));
    match beside {
        Some(lab) if lab.exists() => Ok(lab),
        _ => binary("d8-lab"),
    }
}

/// Removes the variables that `cargo test` and `cargo run` set for this crate. With them, a nested cargo would
/// rebuild crates whose build scripts read them.
fn without_cargo(command: &mut Command) -> &mut Command {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_JOBS",
        "CARGO_NET_OFFLINE",
        "CARGO_TERM_COLOR",
        "CARGO_INCREMENTAL",
    ];
    let set_by_cargo = |name: &str| {
        (name.starts_with("CARGO_") || name == "CARGO") && !KEPT.contains(&name) && !name.starts_with("CARGO_PROFILE_")
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(set_by_cargo) {
            command.env_remove(name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH")
}
