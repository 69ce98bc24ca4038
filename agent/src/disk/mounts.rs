//! The mounted file systems, as the kernel lists them in `/proc/thread-self/mountinfo`.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Path that it is mounted on.
    pub(crate) path: PathBuf,
    /// Options of the mount, such as `rw` and `noexec`.
    pub(crate) options: Vec<String>,
    /// Type of the file system.
    pub(crate) file_system: String,
}

impl MountEntry {
    /// Returns whether the mount has an option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|found| found == option)
    }
}

/// Lists the mounts of this thread, in the order in which they were made. Empty if the system does not show them.
pub(crate) fn list() -> Vec<MountEntry> {
    let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    mounts.split(|byte| *byte == b'\n').filter_map(parse).collect()
}

/// Returns the mount that a path is in. Links in the path are followed.
pub(crate) fn of(path: &Path) -> Option<MountEntry> {
    let real = path.canonicalize().ok()?;
    // Of several mounts on one path, the last one counts.
    list().into_iter().filter(|mount| real.starts_with(&mount.path)).max_by_key(|mount| mount.path.as_os_str().len())
}

/// Parses a line of `/proc/thread-self/mountinfo`. The format is in `proc_pid_mountinfo(5)`.
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
    let options = text(fields.next()?).split(',').map(str::to_owned).collect();
    // A variable number of fields ends at a hyphen.
    let file_system = text(fields.skip_while(|field| *field != b"-").nth(1)?);
    Some(MountEntry { path, options, file_system })
}

/// Replaces the escapes of the kernel, such as `\040` for a blank: a backslash and three octal digits.
fn unescape(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let digits = tail.get(..3).filter(|_| *byte == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let line = b"63 43 0:39 / /mnt/a\\040b\\134040\xff rw,noexec,relatime shared:1 master:2 - fuse.sshfs host rw";
        let mount = parse(line).unwrap();
        assert_eq!(mount.path, PathBuf::from(OsString::from_vec(b"/mnt/a b\\040\xff".to_vec())));
        assert!(mount.has("noexec") && !mount.has("exec"), "{mount:?}");
        assert_eq!(mount.file_system, "fuse.sshfs");
        assert_eq!(parse(b"63 43 0:39 / /mnt"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn every_path_is_in_a_mount() {
        assert!(of(Path::new("/proc/self")).is_some_and(|mount| mount.file_system == "proc"));
        assert!(of(&std::env::temp_dir()).is_some());
    }
}
