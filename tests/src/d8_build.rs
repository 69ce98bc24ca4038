//! Builds of d8 with a version: the program that cargo built, without debug symbols, with the version in its
//! release stamp.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Error, Result, run, tools};

const MARK: &[u8] = b"d8 release stamp:";
/// Length of the stamp in bytes, mark included.
const STAMP: usize = 96;

/// Writes d8 with release `version` to `directory/d8`. An empty version makes a development build.
pub fn stamped(directory: &Path, version: &str) -> Result<PathBuf> {
    static STRIPPED: OnceLock<Result<(Vec<u8>, usize), String>> = OnceLock::new();
    let built = STRIPPED.get_or_init(|| stripped().map_err(|error| error.to_string())).clone();
    let (mut bytes, at) = built.map_err(|found| Error::Unexpected { what: "d8 without symbols".into(), found })?;
    let name = &mut bytes[at + MARK.len()..at + STAMP];
    name.fill(0);
    name[..version.len()].copy_from_slice(version.as_bytes());
    std::fs::create_dir_all(directory).map_err(Error::io(directory.display().to_string()))?;
    let path = directory.join("d8");
    let (written, copied) = (directory.join(".d8.written"), directory.join(".d8.copied"));
    std::fs::write(&written, bytes).map_err(Error::io(written.display().to_string()))?;
    // Another program makes the copy: a process that another thread starts may inherit our descriptor, and a
    // file that is open for writing cannot be executed.
    run("cp", [&written, &copied], |_| {})?.expect_code(0)?;
    std::fs::remove_file(&written).map_err(Error::io(written.display().to_string()))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&copied, executable).map_err(Error::io(copied.display().to_string()))?;
    std::fs::rename(&copied, &path).map_err(Error::io(path.display().to_string()))?;
    Ok(path)
}

/// Returns the bytes of the program, and the offset of its stamp.
fn stripped() -> Result<(Vec<u8>, usize)> {
    let directory = tempfile::tempdir().map_err(Error::io("a temporary directory"))?;
    let copy = directory.path().join("d8");
    let built = tools::binary("d8")?;
    let strip = Command::new("strip").arg("-o").arg(&copy).arg(&built).status();
    // Without `strip` the program is larger and works too.
    let from = if strip.is_ok_and(|status| status.success()) { copy } else { built };
    let bytes = std::fs::read(&from).map_err(Error::io(from.display().to_string()))?;
    let blank = [0; STAMP];
    let stamps: Vec<usize> = memchr::memmem::find_iter(&bytes, MARK)
        .filter(|at| bytes.get(at + MARK.len()..at + STAMP) == Some(&blank[MARK.len()..]))
        .collect();
    match stamps.as_slice() {
        [at] => Ok((bytes, *at)),
        stamps => Err(Error::Unexpected { what: "the stamp of d8".into(), found: format!("{} stamps", stamps.len()) }),
    }
}
