//! A directory of small files on which decisions rest: cached policies and pinned endpoints.
//!
//! Only the root itself may be reached through links. Every name below it is opened relative to the directory above it
//! and without following links, so a name that somebody replaces during a command leads nowhere else.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, mkdirat, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::trust;
use crate::disk;

/// A directory below a root, open.
pub(crate) struct StateDir {
    fd: OwnedFd,
    /// Path of the directory, for messages.
    path: PathBuf,
}

/// Returns why this user must not use the state in the directory `names` below a root. Root trusts only paths that no
/// other user can change; other users trust directories of their own and of root. A root that does not exist is usable.
pub(crate) fn untrusted_reason(root: &Path, names: &[&str]) -> Option<String> {
    if let Err(error) = trust::root(root) {
        return Some(error.to_string());
    }
    let refused = |path: &Path, metadata: io::Result<std::fs::Metadata>| {
        Some(format!("{}: {}", path.display(), foreign(metadata.ok()?.uid())?))
    };
    // In a root that several users may write to, another one may have created the directories.
    let mut path = root.to_owned();
    let of_root = refused(&path, std::fs::metadata(&path));
    of_root.or_else(|| {
        names.iter().find_map(|name| {
            path.push(name);
            refused(&path, std::fs::symlink_metadata(&path))
        })
    })
}

/// Returns why a file of this owner is refused.
fn foreign(owner: u32) -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    (owner != user && owner != 0).then(|| format!("it belongs to uid {owner}, neither to you nor to root"))
}

impl StateDir {
    /// Opens the directory `names` below a root, `None` if it does not exist.
    ///
    /// # Errors
    /// A name is a link or not a directory, or it belongs to another user.
    pub(crate) fn open(root: &Path, names: &[&str]) -> io::Result<Option<Self>> {
        Self::descend(root, names, |_, _| Ok(false))
    }

    /// Opens the directory `names` below a root. Creates the root and the directory with mode 0755 if they do not
    /// exist.
    ///
    /// # Errors
    /// As [`Self::open`], and errors of the file system.
    pub(crate) fn create(root: &Path, names: &[&str]) -> io::Result<Self> {
        disk::make_dirs(root, &mut Vec::new())?;
        let create = |parent: &OwnedFd, name: &str| match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        };
        Self::descend(root, names, create)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn descend(
        root: &Path,
        names: &[&str],
        create: impl Fn(&OwnedFd, &str) -> io::Result<bool>,
    ) -> io::Result<Option<Self>> {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some(fd) = disk::if_exists(openat(CWD, root, directory, Mode::empty()).map_err(Into::into))? else {
            return Ok(None);
        };
        let mut dir = Self { fd, path: root.to_owned() };
        for name in names {
            let created = create(&dir.fd, name)?;
            let path = dir.path.join(name);
            let opened = openat(&dir.fd, *name, directory | OFlags::NOFOLLOW, Mode::empty());
            let fd = match opened {
                Ok(fd) => fd,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(refuse(&path, "it is a link or not a directory")),
                Err(error) => return Err(error.into()),
            };
            check_owner(&File::from(fd.try_clone()?), &path)?;
            if created {
                // Whatever the umask: other users of the root read it.
                rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))?;
            }
            dir = Self { fd, path };
        }
        Ok(Some(dir))
    }

    /// Returns the path of a file in this directory.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Lists the names in this directory, sorted. Names that are no UTF-8 are left out: no file of d8 has one.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            names.extend(entry?.file_name().to_str().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }

    /// Reads a regular file of at most `limit` bytes, `None` if it does not exist.
    ///
    /// # Errors
    /// It is a link, not a regular file, too large, or of another user.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(io::Error::other("it is a symbolic link")),
            // A FIFO or socket without a peer.
            Err(Errno::NXIO) => return Err(io::Error::other("it is not a regular file")),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if let Some(why) = foreign(metadata.uid()) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        d8_rpp::file::read_at_most(file, limit).map(Some)
    }

    /// Returns when the content of a regular file changed last, in whole seconds.
    ///
    /// # Errors
    /// It does not exist, or it is not a regular file.
    pub(crate) fn modified(&self, name: &str) -> io::Result<SystemTime> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        // A time before 1970 counts as 1970.
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default()))
    }

    /// Removes a file, or a link and not what it leads to.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Replaces a file, in one rename, and syncs both.
    ///
    /// # Errors
    /// Errors of the file system.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let staged = format!(".{name}.{}", disk::random_name());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = || {
            let mut file = File::from(openat(&self.fd, &*staged, flags, Mode::from_raw_mode(0o600))?);
            file.write_all(content)?;
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(disk::PLAIN))?;
            file.sync_all()?;
            renameat(&self.fd, &*staged, &self.fd, name)?;
            rustix::fs::fsync(&self.fd)?;
            Ok(())
        };
        write().inspect_err(|_: &io::Error| {
            let _ = unlinkat(&self.fd, &*staged, AtFlags::empty());
        })
    }
}

/// Replaces a file in the first of these roots that can be written.
///
/// # Errors
/// None can be written: the error of the first one.
pub(crate) fn replace_in_first(roots: &[PathBuf], names: &[&str], file: &str, content: &[u8]) -> io::Result<()> {
    let mut first_error = None;
    for root in roots {
        match StateDir::create(root, names).and_then(|dir| dir.replace(file, content)) {
            Ok(()) => return Ok(()),
            Err(error) => {
                first_error.get_or_insert_with(|| {
                    let path = names.iter().fold(root.clone(), |path, name| path.join(name));
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                });
            }
        }
    }
    Err(first_error.unwrap_or_else(|| io::Error::other("no install root of this user is usable")))
}

fn refuse(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotADirectory, format!("{}: {why}", path.display()))
}

fn check_owner(file: &File, path: &Path) -> io::Result<()> {
    match foreign(file.metadata()?.uid()) {
        None => Ok(()),
        Some(why) => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_are_replaced_and_read() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("new");
        assert!(StateDir::open(&root, &["policy"]).unwrap().is_none());
        let dir = StateDir::create(&root, &["policy", "endpoints"]).unwrap();
        assert_eq!(dir.read("a.json", 9).unwrap(), None);
        dir.replace("a.json", b"one").unwrap();
        dir.replace("a.json", b"two").unwrap();
        assert_eq!(dir.read("a.json", 3).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(dir.names().unwrap(), ["a.json"]);
        assert!(dir.read("a.json", 2).unwrap_err().to_string().contains("larger than 2 bytes"));
        let above = StateDir::open(&root, &["policy"]).unwrap().unwrap();
        assert_eq!(above.names().unwrap(), ["endpoints"]);
        assert_eq!(above.path_of("x"), root.join("policy/x"));
    }

    #[test]
    fn planted_names_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        let dir = StateDir::create(&root, &["policy"]).unwrap();
        let outside = directory.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        symlink(outside.join("secret"), root.join("policy/link")).unwrap();
        rustix::fs::mknodat(CWD, root.join("policy/fifo"), rustix::fs::FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        std::fs::create_dir(root.join("policy/directory")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(root.join("policy/socket")).unwrap();
        for (name, why) in [
            ("link", "symbolic link"),
            ("fifo", "not a regular file"),
            ("directory", "not a regular file"),
            ("socket", "not a regular file"),
        ] {
            let error = dir.read(name, 99).unwrap_err();
            assert!(error.to_string().contains(why), "{name}: {error}");
        }
        drop(socket);

        // A write replaces the link and does not follow it.
        dir.replace("link", b"own").unwrap();
        assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");

        symlink(&outside, root.join("policy/endpoints")).unwrap();
        for refused in [
            StateDir::open(&root, &["policy", "endpoints"]).map(drop),
            StateDir::create(&root, &["policy", "endpoints"]).map(drop),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("policy/endpoints: it is a link or not a directory"), "{error}");
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    }

    #[test]
    fn files_of_other_users_are_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path(), &["policy"]).unwrap();
        dir.replace("a", b"forged").unwrap();
        std::os::unix::fs::chown(dir.path_of("a"), Some(4242), None).unwrap();
        let error = dir.read("a", 99).unwrap_err();
        assert!(error.to_string().contains("uid 4242"), "{error}");
        std::os::unix::fs::chown(root.path().join("policy"), Some(4242), None).unwrap();
        assert!(StateDir::open(root.path(), &["policy"]).is_err());
        assert_eq!(untrusted_reason(&root.path().join("missing"), &["policy"]), None);
        let why = untrusted_reason(root.path(), &["policy", "endpoints"]).unwrap();
        assert!(why.contains("/policy: it belongs to uid 4242"), "{why}");
        assert_eq!(untrusted_reason(root.path(), &["other"]), None, "it does not use the directory");
        std::os::unix::fs::chown(root.path(), Some(4242), None).unwrap();
        assert!(untrusted_reason(root.path(), &["other"]).unwrap().contains("uid 4242"));
    }
}
