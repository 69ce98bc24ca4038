//! A small file that lies beside the executable. Which executable stands is known only at the end of
//! the archive, so every file of that name is kept until then, within a bound.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_tar::{Archive, Entry, EntryType};

use crate::{
    error::Error,
    layer::{bad, describe, path::Place},
};

/// The largest file taken, in bytes.
const MAX_FILE: u64 = d8_crds::values::limits::CONTRACT_BYTES as u64;
/// Files of that name kept at most.
const MAX_FILES: usize = 16;

/// The files of one name.
#[derive(Debug)]
pub(super) struct Beside {
    name: Option<&'static str>,
    found: Vec<(Place, Result<Vec<u8>, String>)>,
}

impl Beside {
    /// Looks for this name; for none, takes nothing.
    pub(super) fn new(name: Option<&'static str>) -> Self {
        Self { name, found: Vec::new() }
    }

    /// Whether the entry has the name.
    pub(super) fn takes(&self, place: &Place) -> bool {
        self.name.is_some_and(|name| name.as_bytes() == place.name())
    }

    /// Keeps an entry. The last of one path counts, as it does for whoever unpacks the archive.
    pub(super) async fn take<R>(
        &mut self,
        place: Place,
        kind: EntryType,
        entry: &mut Entry<Archive<R>>,
    ) -> Result<(), Error>
    where
        R: AsyncRead + Send + Unpin,
    {
        let content = if !kind.is_file() {
            Err(format!("it is {}", describe(kind)))
        } else if entry.effective_size() > MAX_FILE {
            Err("it is larger than 1 MiB".to_owned())
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).await.map_err(|error| bad(&error))?;
            Ok(content)
        };
        self.found.retain(|(other, _)| *other != place);
        self.found.push((place, content));
        if self.found.len() > MAX_FILES {
            let name = self.name.unwrap_or_default();
            return Err(Error::Archive { why: format!("it has more than {MAX_FILES} files named {name}") });
        }
        Ok(())
    }

    /// The one that lies beside this place, else the nearest above it.
    pub(super) fn of(self, place: &Place) -> Result<Option<Vec<u8>>, Error> {
        let above = self.found.into_iter().filter(|(other, _)| other.is_beside_or_above(place));
        match above.max_by_key(|(other, _)| other.depth()) {
            None => Ok(None),
            Some((_, Ok(content))) => Ok(Some(content)),
            Some((_, Err(why))) => Err(Error::Archive { why: format!("{}: {why}", self.name.unwrap_or_default()) }),
        }
    }
}
