//! d8 as it would be released: the very program that cargo built, without its debugging symbols, with the
//! release's name in its stamp.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Error, Registry, Result, run, tools};

const MARK: &[u8] = b"d8 release stamp:";
/// Bytes of the stamp, mark included.
const STAMP: usize = 96;

/// Writes d8 as release `version` to `folder/d8`. An empty version is a development build.
pub fn d8(folder: &Path, version: &str) -> Result<PathBuf> {
    static BARE: OnceLock<Result<(Vec<u8>, usize), String>> = OnceLock::new();
    let bare = BARE.get_or_init(|| bare().map_err(|error| error.to_string())).clone();
    let (mut bytes, at) = bare.map_err(|found| Error::Unexpected { what: "d8 without symbols".into(), found })?;
    let name = &mut bytes[at + MARK.len()..at + STAMP];
    name.fill(0);
    name[..version.len()].copy_from_slice(version.as_bytes());
    std::fs::create_dir_all(folder).map_err(Error::io(folder.display().to_string()))?;
    let path = folder.join("d8");
    let (ours, next) = (folder.join(".d8.ours"), folder.join(".d8.next"));
    std::fs::write(&ours, bytes).map_err(Error::io(ours.display().to_string()))?;
    // Copied by another program: a fork of another thread here may hold what we wrote open for writing, and
    // then it can't be run.
    run("cp", [&ours, &next], |_| {})?.expect_code(0)?;
    std::fs::remove_file(&ours).map_err(Error::io(ours.display().to_string()))?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&next, executable).map_err(Error::io(next.display().to_string()))?;
    std::fs::rename(&next, &path).map_err(Error::io(path.display().to_string()))?;
    Ok(path)
}

/// The program's bytes, and where its stamp is.
fn bare() -> Result<(Vec<u8>, usize)> {
    let folder = tempfile::tempdir().map_err(Error::io("a temporary folder"))?;
    let copy = folder.path().join("d8");
    let built = tools::binary("d8")?;
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(&built).status();
    // Where there is no such tool it is larger, and the same.
    let from = if stripped.is_ok_and(|status| status.success()) { copy } else { built };
    let bytes = std::fs::read(&from).map_err(Error::io(from.display().to_string()))?;
    let blank = [0; STAMP];
    let stamps: Vec<usize> = memchr::memmem::find_iter(&bytes, MARK)
        .filter(|at| bytes.get(at + MARK.len()..at + STAMP) == Some(&blank[MARK.len()..]))
        .collect();
    match stamps.as_slice() {
        [at] => Ok((bytes, *at)),
        stamps => Err(Error::Unexpected { what: "the stamp of d8".into(), found: format!("{} of them", stamps.len()) }),
    }
}

impl Registry {
    /// Publishes an executable as d8 itself.
    pub fn publish_d8(&self, version: &str, executable: &Path) -> Result<()> {
        let platform = d8_crds::values::platform::Platform::current();
        let args = [
            "pack".to_owned(),
            "--image=deckhouse-cli".to_owned(),
            format!("--version={version}"),
            format!("--platform={platform}={}", executable.display()),
            format!("--to={}", self.layout().display()),
        ];
        run(tools::binary("d8-rpp")?, args, |_| {})?.expect_code(0).map(drop)
    }
}
