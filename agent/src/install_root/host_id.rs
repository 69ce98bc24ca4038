//! The id of a machine that no admin enrolled: a random number in the install root. It assigns the machine to
//! the waves of policies. Users cannot choose it, and all users of a root have the same one.

use std::{io, path::Path};

use crate::disk;

/// Name of the file.
const FILE: &str = "host-id";

/// Reads the id in this root, `None` if there is none or the file is damaged.
pub fn read(root: &Path) -> Option<String> {
    let bytes = disk::read_small(&root.join(FILE), 256).ok()??;
    let text = String::from_utf8(bytes).ok()?;
    let id = text.trim();
    (id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// Reads the id in this root. Creates it if there is none. The root must exist.
///
/// # Errors
/// The root is not writable.
pub fn read_or_create(root: &Path) -> io::Result<String> {
    if let Some(id) = read(root) {
        return Ok(id);
    }
    let (path, id) = (root.join(FILE), format!("{}{}", disk::random_name(), disk::random_name()));
    let temporary = root.join(format!(".{FILE}.{}", disk::random_name()));
    let created = disk::write_new(&temporary, format!("{id}\n").as_bytes(), disk::PLAIN)
        // Replaces a damaged file, but not an id that another process created meanwhile.
        .and_then(|()| if path.exists() && read(root).is_some() { Ok(()) } else { disk::rename(&temporary, &path) })
        .and_then(|()| disk::sync_dir(root));
    let _ = disk::unlink(&temporary);
    created.and_then(|()| read(root).ok_or_else(|| io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_created_once() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(read(root.path()), None);
        let id = read_or_create(root.path()).unwrap();
        assert_eq!((read_or_create(root.path()).unwrap(), read(root.path())), (id.clone(), Some(id.clone())));
        std::fs::write(root.path().join(FILE), "no id").unwrap();
        assert_eq!(read(root.path()), None, "a damaged file is not an id");
        assert_ne!(read_or_create(root.path()).unwrap(), id);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing else is left");
        assert!(read_or_create(&root.path().join("missing")).is_err());
    }
}
