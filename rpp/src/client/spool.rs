//! Reads a layer before its version is judged, because it contains the contract (generations 1 and 2).
//!
//! [`Proxy::inspect`] reads a layer and keeps nothing. For an install the compressed bytes go to an unnamed
//! file at the same time and are read back from there. An unnamed file is gone however the process ends.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use d8_crds::{
    records::contract::{Contract, ContractError, ContractProblem},
    values::{
        digest::Digest,
        encoding,
        field_error::FieldError,
        name::{Component, Tag},
        platform::Platform,
    },
};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio_util::io::StreamReader;

use super::{
    download::{Download, LayerChecksum},
    proxy::Proxy,
    retry::{AttemptError, retry},
};
use crate::{
    error::Error,
    file,
    layer::{LayerContents, Limits, Sink, read},
    protocol::image::{self, CONTRACT_FILE},
};

/// A layer in an unnamed file, compressed as the registry stores it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpooledLayer {
    file: Arc<File>,
    /// SHA-256 of the bytes.
    pub layer: Digest,
    /// Digest of the manifest that names the layer, by the response's header.
    pub manifest: Option<Digest>,
    /// Size in bytes, compressed.
    pub size: u64,
}

impl SpooledLayer {
    /// Streams the bytes from the beginning. May be called repeatedly.
    pub fn bytes(&self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        file::stream(Arc::clone(&self.file), self.size, file::CHUNK).map_err(Error::Sink)
    }

    /// The checksum of the bytes.
    pub fn checksum(&self) -> LayerChecksum {
        LayerChecksum::known(self.layer.clone(), self.size)
    }
}

/// A layer that was read to its end and not kept.
#[derive(Debug)]
pub struct InspectedLayer {
    /// SHA-256 of the bytes, compressed as the registry stores them.
    pub layer: Digest,
    /// Digest of the manifest that names the layer, by the response's header.
    pub manifest: Option<Digest>,
    /// Size in bytes, compressed.
    pub size: u64,
    /// Contract of the plugin, if the layer has one. d8 itself has none.
    pub contract: Option<Contract>,
    /// Oddities of the contract, for people.
    pub warnings: Vec<String>,
}

impl Proxy {
    /// Reads a layer to its end and keeps its digest and its contract. Retries a body that breaks. `expected`
    /// is the digest of the layer, if one is known.
    pub async fn inspect(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expected: Option<&Digest>,
    ) -> Result<InspectedLayer, Error> {
        let attempt = || async move {
            // `download` retries by itself.
            let download = self.download(component, tag, platform, expected).await.map_err(AttemptError::Permanent)?;
            read_layer(component, download, None).await.map_err(AttemptError::from)
        };
        let (received, contents) = retry(self.transport.timeouts(), attempt).await?;
        let (contract, warnings) = contract_of(contents, component, tag)?;
        let Received { layer, manifest, size } = received;
        Ok(InspectedLayer { layer, manifest, size, contract, warnings })
    }

    /// As [`Self::inspect`], and keeps the layer in an unnamed file, in the first of the `spool` directories that
    /// takes one.
    pub(crate) async fn spool(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expected: Option<&Digest>,
        spool: &[PathBuf],
    ) -> Result<(SpooledLayer, Option<Contract>, Vec<String>), Error> {
        let attempt = || async move {
            // `download` retries by itself.
            let download = self.download(component, tag, platform, expected).await.map_err(AttemptError::Permanent)?;
            let spool = SpoolFile::create(spool).map_err(AttemptError::Permanent)?;
            let read = read_layer(component, download, Some(spool.clone())).await.map_err(AttemptError::from)?;
            Ok((spool.file, read))
        };
        let (file, (received, contents)) = retry(self.transport.timeouts(), attempt).await?;
        let (contract, warnings) = contract_of(contents, component, tag)?;
        let Received { layer, manifest, size } = received;
        Ok((SpooledLayer { file, layer, manifest, size }, contract, warnings))
    }
}

/// Returns the contract in a layer, if it has one, and its oddities.
fn contract_of(
    contents: LayerContents,
    component: &Component,
    tag: &Tag,
) -> Result<(Option<Contract>, Vec<String>), Error> {
    let Some(text) = contents.sibling? else { return Ok((None, Vec::new())) };
    let (tag, _) = image::split_tag(tag);
    let (contract, warnings) = read_contract(&text, component, &tag).map_err(Error::Contract)?;
    Ok((Some(contract), warnings))
}

fn read_contract(text: &[u8], component: &Component, tag: &Tag) -> Result<(Contract, Vec<String>), ContractError> {
    let text = encoding::decode(text).map_err(|error| ContractError {
        subject: format!("{component} {tag}"),
        problem: ContractProblem::Field(FieldError { field: ".".to_owned(), why: format!("{CONTRACT_FILE}: {error}") }),
    })?;
    let (contract, warnings) = Contract::from_yaml(&text, component, tag)?;
    Ok((contract, warnings.iter().map(ToString::to_string).collect()))
}

/// Digests and size of a layer that was read to its end.
struct Received {
    layer: Digest,
    manifest: Option<Digest>,
    size: u64,
}

/// Reads a download to its end as an archive, and writes it to a file if one is given.
async fn read_layer(
    component: &Component,
    download: Download,
    spool: Option<SpoolFile>,
) -> Result<(Received, LayerContents), Error> {
    let (manifest, checksum) = (download.manifest.clone(), download.checksum.clone());
    let body = download.into_body().then(move |chunk| {
        let spool = spool.clone();
        async move {
            let chunk = chunk.map_err(io::Error::other)?;
            if let Some(spool) = spool {
                spool.write(chunk.clone()).await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(chunk)
        }
    });
    let reader = StreamReader::new(Box::pin(body));
    let sibling = matches!(component, Component::Plugin(_)).then_some(CONTRACT_FILE);
    let contents = read(reader, component.executable(), sibling, &Limits::default(), &mut Discard).await?;
    let (Some(layer), Some(size)) = (checksum.digest().cloned(), checksum.size()) else {
        return Err(Error::Archive { why: "it was not read to its end".to_owned() });
    };
    Ok((Received { layer, manifest, size }, contents))
}

/// An unnamed file, and the directory that it was created in.
#[derive(Clone)]
struct SpoolFile {
    file: Arc<File>,
    directory: PathBuf,
}

impl SpoolFile {
    /// Creates a file in the first of the directories that takes one, else in the system's temporary directory.
    fn create(directories: &[PathBuf]) -> Result<Self, Error> {
        for directory in directories {
            match tempfile::tempfile_in(directory) {
                Ok(file) => return Ok(Self { file: Arc::new(file), directory: directory.clone() }),
                Err(error) => tracing::debug!(directory = %directory.display(), %error, "cannot create a file here"),
            }
        }
        let directory = std::env::temp_dir();
        match tempfile::tempfile_in(&directory) {
            Ok(file) => Ok(Self { file: Arc::new(file), directory }),
            Err(error) => Err(Error::Spool { directory, error }),
        }
    }

    async fn write(self, chunk: Bytes) -> Result<(), Error> {
        let Self { file, directory } = self;
        let written = tokio::task::spawn_blocking(move || io::Write::write_all(&mut &*file, &chunk));
        let written = written.await.map_err(io::Error::other).and_then(|written| written);
        written.map_err(|error| Error::Spool { directory, error })
    }
}

/// Discards the executable, which is not wanted yet.
struct Discard;

impl Sink for Discard {
    async fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
