//! The id of a machine that no admin enrolled: random, kept in the install root. It places the machine
//! in the waves of policies; nobody can choose it, and everybody who shares the root has the same.

use std::{io, path::Path};

use crate::disk;

const FILE: &str = "host-id";

/// What is kept in this root; `None` if there is nothing, or nothing that is an id.
pub fn read(root: &Path) -> Option<String> {
    let bytes = disk::read_small(&root.join(FILE), 256).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    let id = text.trim();
    (id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// What is kept in this root, made if there is none. The root must exist.
///
/// # Errors
/// The root cannot be written to.
pub fn keep(root: &Path) -> io::Result<String> {
    if let Some(id) = read(root) {
        return Ok(id);
    }
    let (path, id) = (root.join(FILE), format!("{}{}", disk::random_name(), disk::random_name()));
    let temporary = root.join(format!(".{FILE}.{}", disk::random_name()));
    let made = disk::write_new(&temporary, format!("{id}\n").as_bytes(), disk::PLAIN)
        // Not over an id that another process made meanwhile; over what is no id.
        .and_then(|()| if path.exists() && read(root).is_some() { Ok(()) } else { disk::rename(&temporary, &path) })
        .and_then(|()| disk::sync_dir(root));
    let _ = disk::unlink(&temporary);
    made.and_then(|()| read(root).ok_or_else(|| io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_and_kept() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), None);
        let id = keep(root.path()).unwrap();
        assert_eq!((keep(root.path()).unwrap(), read(root.path())), (id.clone(), Some(id.clone())));
        std::fs::write(root.path().join(FILE), "no id").unwrap();
        assert_eq!(read(root.path()), None, "a file that was damaged is no id");
        assert_ne!(keep(root.path()).unwrap(), id);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing else is left");
        assert!(keep(&root.path().join("missing")).is_err());
    }
}
