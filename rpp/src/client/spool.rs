//! A layer that is read before it is judged, because the contract is in it (generations 1 and 2).
//!
//! Whoever vouches for versions reads it as it passes and keeps nothing. For whoever installs it the compressed
//! bytes go to a file without a name meanwhile, and are read back from there. Nothing is left behind, however the process ends.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use d8_crds::{
    records::contract::{Contract, ContractError, ContractProblem},
    values::{
        digest::Digest,
        field_error::FieldError,
        name::{Component, Tag},
        platform::Platform,
    },
};
use futures::{Stream, StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio_util::io::StreamReader;

use crate::{
    client::{download::Download, proxy::Proxy, retry::Retry},
    error::Error,
    layer::{Contents, Limits, Sink, read},
    protocol::image::{self, CONTRACT_FILE},
};

/// Bytes read back at a time.
const CHUNK: usize = 256 << 10;

/// A layer that is here, compressed as the registry has it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SpooledLayer {
    file: Arc<File>,
    /// SHA-256 of the bytes.
    pub layer: Digest,
    /// The manifest that names it, as the proxy says.
    pub manifest: Option<Digest>,
    /// How many bytes, compressed.
    pub size: u64,
}

impl SpooledLayer {
    /// The bytes, from the first; as often as wanted.
    pub fn bytes(&self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::try_unfold((Arc::clone(&self.file), 0, self.size), |(file, from, size)| async move {
            if from == size {
                return Ok(None);
            }
            let length = usize::try_from(size - from).map_or(CHUNK, |left| left.min(CHUNK));
            let reader = Arc::clone(&file);
            let chunk = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt as _;
                let mut chunk = vec![0; length];
                reader.read_exact_at(&mut chunk, from).map(|()| chunk)
            });
            let chunk = chunk.await.map_err(io::Error::other).and_then(|read| read).map_err(Error::Sink)?;
            Ok(Some((Bytes::from(chunk), (file, from + length as u64, size))))
        })
    }
}

/// A layer that was read to its end and not kept.
#[derive(Debug)]
pub struct InspectedLayer {
    /// SHA-256 of the bytes, compressed as the registry has them.
    pub layer: Digest,
    /// The manifest that names it, as the proxy says.
    pub manifest: Option<Digest>,
    /// How many bytes, compressed.
    pub size: u64,
    /// The plugin's contract, if the layer has one; d8 itself has none.
    pub contract: Option<Contract>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
}

impl Proxy {
    /// Reads a layer to its end and keeps nothing but its digest and its contract: for whoever vouches for
    /// what a proxy without manifests has. A body that breaks is begun anew. `expect` is the digest it must
    /// have, where one is known.
    pub async fn inspect(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expect: Option<&Digest>,
    ) -> Result<InspectedLayer, Error> {
        let mut tries = Retry::new(self.transport.timeouts());
        let (passed, contents) = loop {
            let download = self.download(component, tag, platform, expect).await?;
            match pass(component, download, None).await {
                Ok(passed) => break passed,
                Err(error) => tries.again(error).await?,
            }
        };
        let (contract, warnings) = contract_of(contents, component, tag)?;
        Ok(InspectedLayer { layer: passed.layer, manifest: passed.manifest, size: passed.size, contract, warnings })
    }

    /// Downloads a plugin's layer and reads the contract in it. A body that breaks is begun anew. `expect`
    /// is the digest it must have, where one is known.
    pub(crate) async fn fetch(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expect: Option<&Digest>,
        spool: &[PathBuf],
    ) -> Result<(SpooledLayer, Option<Contract>, Vec<String>), Error> {
        let mut tries = Retry::new(self.transport.timeouts());
        let (fetched, contents) = loop {
            // Opening has tries of its own.
            let download = self.download(component, tag, platform, expect).await?;
            match keep(component, download, spool).await {
                Ok(kept) => break kept,
                Err(error) => tries.again(error).await?,
            }
        };
        let (contract, odd) = contract_of(contents, component, tag)?;
        Ok((fetched, contract, odd))
    }
}

/// The contract in a layer, if it has one, and what is odd about it.
fn contract_of(contents: Contents, component: &Component, tag: &Tag) -> Result<(Option<Contract>, Vec<String>), Error> {
    let Some(text) = contents.beside? else { return Ok((None, Vec::new())) };
    let (tag, _) = image::split_tag(tag);
    let (contract, odd) = read_contract(text, component, &tag).map_err(Error::Contract)?;
    Ok((Some(contract), odd))
}

fn read_contract(text: Vec<u8>, component: &Component, tag: &Tag) -> Result<(Contract, Vec<String>), ContractError> {
    let text = String::from_utf8(text).map_err(|_| ContractError {
        subject: format!("{component} {tag}"),
        problem: ContractProblem::Field(FieldError {
            field: ".".to_owned(),
            why: format!("{CONTRACT_FILE} is not UTF-8"),
        }),
    })?;
    let (contract, odd) = Contract::from_yaml(&text, component, tag)?;
    Ok((contract, odd.iter().map(ToString::to_string).collect()))
}

/// Reads a download to its end: into a file, and as an archive.
async fn keep(component: &Component, download: Download, spool: &[PathBuf]) -> Result<(SpooledLayer, Contents), Error> {
    let (file, folder) = open(spool)?;
    let file = Arc::new(file);
    let (passed, contents) = pass(component, download, Some((Arc::clone(&file), folder))).await?;
    Ok((SpooledLayer { file, layer: passed.layer, manifest: passed.manifest, size: passed.size }, contents))
}

/// What is known of a download once it has passed.
struct Passed {
    layer: Digest,
    manifest: Option<Digest>,
    size: u64,
}

/// Reads a download to its end as an archive, and into a file of that folder if there is one.
async fn pass(
    component: &Component,
    download: Download,
    into: Option<(Arc<File>, PathBuf)>,
) -> Result<(Passed, Contents), Error> {
    let manifest = download.manifest.clone();
    let tally = Arc::new(Mutex::new((Sha256::new(), 0)));
    let counter = Arc::clone(&tally);
    let body = download.into_body().then(move |chunk| {
        let (into, tally) = (into.clone(), Arc::clone(&counter));
        async move {
            let chunk = chunk.map_err(io::Error::other)?;
            if let Some((file, folder)) = into {
                let bytes = chunk.clone();
                let written = tokio::task::spawn_blocking(move || io::Write::write_all(&mut &*file, &bytes));
                let written = written.await.map_err(io::Error::other).and_then(|written| written);
                written.map_err(|error| io::Error::other(Error::Spool { folder, error }))?;
            }
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.0.update(&chunk);
            tally.1 += chunk.len() as u64;
            Ok::<_, io::Error>(chunk)
        }
    });
    let reader = StreamReader::new(Box::pin(body));
    let beside = matches!(component, Component::Plugin(_)).then_some(CONTRACT_FILE);
    let contents = read(reader, component.executable(), beside, &Limits::default(), &mut Nowhere).await?;
    let (hash, size) = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((Passed { layer: Digest::from_sha256(hash.finalize().into()), manifest, size }, contents))
}

/// A file without a name in the first folder that takes one.
fn open(spool: &[PathBuf]) -> Result<(File, PathBuf), Error> {
    let temporary = std::env::temp_dir();
    for folder in spool {
        match tempfile::tempfile_in(folder) {
            Ok(file) => return Ok((file, folder.clone())),
            Err(error) => tracing::debug!(folder = %folder.display(), %error, "no file can be made there"),
        }
    }
    match tempfile::tempfile_in(&temporary) {
        Ok(file) => Ok((file, temporary)),
        Err(error) => Err(Error::Spool { folder: temporary, error }),
    }
}

/// For an executable that is looked for and not wanted yet.
struct Nowhere;

impl Sink for Nowhere {
    async fn restart(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn write(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}
