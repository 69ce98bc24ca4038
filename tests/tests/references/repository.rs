//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Path from the root of the repository.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    pub(crate) fn extension(&self) -> &str {
        Path::new(&self.path).extension().and_then(|extension| extension.to_str()).unwrap_or_default()
    }

    /// `path:line`; lines count from 1.
    pub(crate) fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// Returns the root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the root of the repository")
}

/// Returns every text file, in order. This test's own files are left out: they name what must not exist.
pub(crate) fn files() -> Vec<TextFile> {
    let root = root();
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).ok()?.to_str()?.to_owned();
        let text = fs::read_to_string(path).ok()?;
        (!name.starts_with("tests/tests/references/")).then_some(TextFile { path: name, text })
    };
    paths.iter().filter_map(read).collect()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let generated = ["target", ".git", "corpus", "seeds"].contains(&name.as_str()) || name == "Cargo.lock";
        if generated {
            continue;
        }
        if is_directory {
            collect(&entry.path(), paths);
        } else {
            paths.push(entry.path());
        }
    }
}
