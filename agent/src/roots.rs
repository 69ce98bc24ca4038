//! The install roots of a user: the configured one, and the one in the home directory.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{disk, error::StoreError, store::Store};

/// Root that all users of a host share.
pub const DEFAULT_ROOT: &str = "/opt/deckhouse/lib/deckhouse-cli";

/// Path of the root below a home directory.
pub const HOME_ROOT: &str = ".deckhouse-cli";

/// The install roots of this user on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    configured: PathBuf,
    home: Option<PathBuf>,
}

impl Roots {
    /// Builds the roots from an explicit root (flag or environment) and the home directory. An explicit root is the only
    /// one.
    pub fn new(explicit: Option<PathBuf>, home: Option<&Path>) -> Self {
        let home = home.map(|home| home.join(HOME_ROOT));
        match explicit {
            Some(root) => Self { home: None, configured: root },
            None => Self { configured: PathBuf::from(DEFAULT_ROOT), home },
        }
    }

    /// Returns the path of the configured root, explicit or the default.
    pub fn configured(&self) -> &Path {
        &self.configured
    }

    /// Returns the path of the root in the home directory, if there is a home directory and no explicit root.
    pub fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Returns the stores to read, the configured one first, and the errors of those that are not trusted or not
    /// usable. A root that does not exist is an empty store.
    pub fn for_reading(&self) -> (Vec<Store>, Vec<StoreError>) {
        let mut stores = Vec::new();
        let mut refused = Vec::new();
        for root in [Some(&self.configured), self.home.as_ref()].into_iter().flatten() {
            match Store::at(root) {
                Ok(store) => stores.push(store),
                Err(error) => refused.push(error),
            }
        }
        (stores, refused)
    }

    /// Returns the store to change: the configured one if it is writable, else the one in the home directory, if there is
    /// one.
    pub fn for_writing(&self) -> Result<Store, StoreError> {
        let configured = Store::at(&self.configured).and_then(|store| check_writable(store.root()).map(|()| store));
        match (configured, &self.home) {
            (Err(StoreError::Unwritable { .. }), Some(home)) => {
                let store = Store::at(home)?;
                check_writable(store.root())?;
                Ok(store)
            }
            (result, _) => result,
        }
    }
}

/// Checks whether a store can be created or changed below `root`, by creating and removing a file.
fn check_writable(root: &Path) -> Result<(), StoreError> {
    let unusable = |why: String| StoreError::Root { root: root.to_owned(), why };
    let mut existing = root;
    loop {
        match fs::metadata(existing) {
            Ok(metadata) if metadata.is_dir() => break,
            Ok(_) => return Err(unusable(format!("{} is not a directory", existing.display()))),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                existing = existing.parent().ok_or_else(|| unusable("it has no parent".to_owned()))?;
            }
            Err(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(StoreError::Unwritable { root: root.to_owned(), source });
            }
            Err(error) => return Err(unusable(error.to_string())),
        }
    }
    let probe = existing.join(format!(".d8-probe-{}", disk::random_name()));
    match disk::create_new(&probe, disk::PRIVATE) {
        Ok(_) => disk::unlink(&probe).map(|_| ()).map_err(StoreError::io("remove", probe)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(unusable(format!("no file can be created in {}", existing.display())))
        }
        Err(source) => Err(StoreError::refused_write(root, source)),
    }
}

/// Bytes of `/etc/passwd` that are read.
const PASSWD_BYTES: u64 = 64 << 20;

/// Returns the home directory of the user: `$HOME`, else by `/etc/passwd`. A static program cannot use the name
/// services of the system.
pub fn home() -> Option<PathBuf> {
    let from_env = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    from_env.filter(|home| home.is_absolute()).or_else(|| {
        let passwd = d8_rpp::file::read_regular(Path::new("/etc/passwd"), PASSWD_BYTES).ok()?;
        home_in(&String::from_utf8_lossy(&passwd), rustix::process::geteuid().as_raw())
    })
}

/// Returns the home directory of `uid` in the text of `/etc/passwd`.
fn home_in(passwd: &str, uid: u32) -> Option<PathBuf> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let matches = fields.nth(2)?.parse() == Ok(uid);
        let home = fields.nth(2)?;
        (matches && home.starts_with('/')).then(|| PathBuf::from(home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explicit_and_default_roots() {
        let home = Path::new("/home/u");
        let default = Roots::new(None, Some(home));
        assert_eq!(default.configured(), Path::new(DEFAULT_ROOT));
        assert_eq!(default.home(), Some(Path::new("/home/u/.deckhouse-cli")));
        let explicit = Roots::new(Some("/srv/d8".into()), Some(home));
        assert_eq!(explicit.configured(), Path::new("/srv/d8"));
        assert_eq!(explicit.home(), None, "an explicit root is the only one");
        assert_eq!(Roots::new(None, None).home(), None);
    }

    #[test]
    fn home_directories_in_passwd() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\nbroken\nu:x:1000:1000::/home/u:/bin/sh\nv:x:7:7::relative:/bin/sh\n";
        for (uid, home) in [(0, Some("/root")), (1000, Some("/home/u")), (7, None), (8, None)] {
            assert_eq!(home_in(passwd, uid), home.map(PathBuf::from), "{uid}");
        }
    }

    #[test]
    fn an_explicit_root_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for bad in [file.clone(), file.join("below")] {
            let roots = Roots::new(Some(bad.clone()), Some(directory.path()));
            let error = roots.for_writing().unwrap_err();
            assert!(matches!(error, StoreError::Root { .. }), "{}: {error}", bad.display());
        }
        let fresh = directory.path().join("a/b");
        assert_eq!(Roots::new(Some(fresh.clone()), None).for_writing().unwrap().root(), fresh);
        assert!(!directory.path().join("a").exists(), "the check left a directory");
    }
}
