//! The packer: how an author ships a version. Writes an image into an OCI layout, deterministically,
//! after everything about it has been checked.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use d8_crds::{
    contract::{Contract, ContractError, MAX_CONTRACT},
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    image,
    layout::Layout,
    oci::{CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document, INDEX, MANIFEST, PlatformFields},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The largest executable packed, in bytes: what the install pipeline accepts.
const MAX_EXECUTABLE: u64 = 512 << 20;
/// The size of a tar's blocks, in bytes.
const BLOCK: usize = 512;

/// What to publish.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose image.
    pub component: Component,
    /// The version.
    pub tag: Tag,
    /// The executable of each platform; at least one, each platform once.
    pub platforms: Vec<(Platform, PathBuf)>,
    /// The contract, YAML or JSON.
    pub contract: Option<PathBuf>,
    /// The time of publishing.
    pub created: Timestamp,
    /// The layout, made if it does not exist.
    pub to: PathBuf,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its name in the layout.
    pub name: String,
    /// The digest its tag points at.
    pub digest: Digest,
    /// What is odd about the contract, though legal.
    pub warnings: Vec<String>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The order contradicts itself; nothing was written.
    #[error("{0}")]
    Order(String),
    /// A file given can't be used; nothing was written.
    #[error("{}: {why}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The contract is wrong; nothing was written.
    #[error("{}: {error}", path.display())]
    Contract {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        error: ContractError,
    },
    /// The layout could not be written; what was published before still is.
    #[error("writing the layout {}: {error}", path.display())]
    Layout {
        /// The layout.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
}

/// Checks the order, then publishes it in place of what had its tag. Same order, same digests.
pub fn pack(order: &Order) -> Result<Packed, PackError> {
    check(order)?;
    let mut warnings = Vec::new();
    let contract = match &order.contract {
        Some(path) => Some(read_contract(order, path, &mut warnings)?),
        None => None,
    };
    let annotations = annotations(order, contract);
    let (name, digest) =
        write(order, &annotations).map_err(|error| PackError::Layout { path: order.to.clone(), error })?;
    Ok(Packed { name, digest, warnings })
}

/// Takes a tag away; whether there was one. Blobs stay: a download that runs goes on.
pub fn unpublish(layout: &Path, component: &Component, tag: &Tag) -> Result<bool, PackError> {
    Layout::at(layout)
        .unpublish(&name(component, tag))
        .map_err(|error| PackError::Layout { path: layout.to_owned(), error })
}

/// The name of a version in a layout.
fn name(component: &Component, tag: &Tag) -> String {
    format!("{}:{tag}", image::name(component))
}

/// Everything but the contract.
fn check(order: &Order) -> Result<(), PackError> {
    if order.platforms.is_empty() {
        return Err(PackError::Order("no platform is given".to_owned()));
    }
    if order.component == Component::D8 && order.contract.is_some() {
        return Err(PackError::Order("d8 itself has no contract".to_owned()));
    }
    for (index, (platform, path)) in order.platforms.iter().enumerate() {
        if order.platforms[..index].iter().any(|(other, _)| other == platform) {
            return Err(PackError::Order(format!("platform {platform} is given twice")));
        }
        let bad = |why: String| PackError::Input { path: path.clone(), why };
        let metadata = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
        if !metadata.is_file() {
            return Err(bad("it is not a regular file".to_owned()));
        }
        if metadata.len() == 0 {
            return Err(bad("it is empty".to_owned()));
        }
        if metadata.len() > MAX_EXECUTABLE {
            return Err(bad(format!("it is larger than {MAX_EXECUTABLE} bytes")));
        }
    }
    Ok(())
}

/// The contract as an annotation, after the client's own reading of it has accepted it.
fn read_contract(order: &Order, path: &Path, warnings: &mut Vec<String>) -> Result<String, PackError> {
    let bad = |why: String| PackError::Input { path: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    // One more than is allowed, for the reading to refuse.
    file.take(MAX_CONTRACT as u64 + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    let (contract, odd) = Contract::from_yaml(&text, &order.component, &order.tag)
        .map_err(|error| PackError::Contract { path: path.to_owned(), error })?;
    warnings.extend(odd.iter().map(ToString::to_string));
    Ok(contract.to_annotation())
}

fn annotations(order: &Order, contract: Option<String>) -> BTreeMap<String, String> {
    // Whole seconds, as other tools write it.
    let created = Timestamp::from_second(order.created.as_second()).unwrap_or(order.created);
    let mut annotations = BTreeMap::from([(CREATED_ANNOTATION.to_owned(), created.to_string())]);
    annotations.extend(contract.map(|contract| (CONTRACT_ANNOTATION.to_owned(), contract)));
    annotations
}

fn write(order: &Order, annotations: &BTreeMap<String, String>) -> io::Result<(String, Digest)> {
    let layout = Layout::at(&order.to);
    layout.create()?;
    let mut platforms: Vec<_> = order.platforms.iter().collect();
    platforms.sort();
    let manifests = platforms
        .into_iter()
        .map(|(platform, path)| write_platform(&layout, order, platform, path, annotations))
        .collect::<io::Result<Vec<_>>>()?;
    let index = Document { manifests: Some(manifests), ..document(INDEX, annotations) };
    let descriptor = write_document(&layout, &index)?;
    let digest = descriptor.digest.parse().map_err(io::Error::other)?;
    let name = name(&order.component, &order.tag);
    layout.publish(&name, descriptor)?;
    Ok((name, digest))
}

fn document(media_type: &str, annotations: &BTreeMap<String, String>) -> Document {
    Document {
        schema_version: 2,
        media_type: media_type.to_owned(),
        annotations: Some(annotations.clone()),
        ..Document::default()
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> io::Result<Descriptor> {
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(size).map_err(io::Error::other)?,
        platform: None,
        annotations: None,
    })
}

fn write_document(layout: &Layout, document: &Document) -> io::Result<Descriptor> {
    let bytes = serde_json::to_vec(document)?;
    let digest = layout.write(&bytes)?;
    descriptor(&document.media_type, &digest, bytes.len() as u64)
}

fn write_platform(
    layout: &Layout,
    order: &Order,
    platform: &Platform,
    executable: &Path,
    annotations: &BTreeMap<String, String>,
) -> io::Result<Descriptor> {
    let layer = write_layer(layout, order.component.executable(), executable)?;
    let config = serde_json::json!({
        "architecture": platform.arch(),
        "os": platform.os(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.unpacked]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_digest = layout.write(&config)?;
    let manifest = Document {
        config: Some(descriptor(CONFIG, &config_digest, config.len() as u64)?),
        layers: Some(vec![descriptor(LAYER, &layer.stored, layer.size)?]),
        ..document(MANIFEST, annotations)
    };
    let platform = PlatformFields { architecture: platform.arch().to_owned(), os: platform.os().to_owned() };
    Ok(Descriptor { platform: Some(platform), ..write_document(layout, &manifest)? })
}

/// A layer as it was stored.
struct Layer {
    /// Of the compressed bytes.
    stored: Digest,
    /// Of the tar in it.
    unpacked: Digest,
    /// Compressed, in bytes.
    size: u64,
}

/// Streams the executable into a gzip tar of one entry: mode 0755, no owner, no time.
fn write_layer(layout: &Layout, entry: &str, executable: &Path) -> io::Result<Layer> {
    let file = File::open(executable)?;
    let size = file.metadata()?.len();
    let mut header = tokio_tar::Header::new_ustar();
    header.set_path(entry)?;
    header.set_entry_type(tokio_tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();

    let stored = Hashing::new(io::BufWriter::new(layout.new_blob()?));
    // No name, no time, an unknown system: nothing of the machine it was made on.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(stored, Compression::default());
    let mut tar = Hashing::new(gzip);
    tar.write_all(header.as_bytes())?;
    let copied = io::copy(&mut file.take(size), &mut tar)?;
    if copied != size {
        return Err(io::Error::other(format!("{} changed while it was read", executable.display())));
    }
    let padding = usize::try_from(size % BLOCK as u64).map_or(0, |rest| (BLOCK - rest) % BLOCK);
    tar.write_all(&[0; BLOCK][..padding])?;
    tar.write_all(&[0; 2 * BLOCK])?;
    let (gzip, unpacked, _) = tar.finish();
    let (buffered, stored, size) = gzip.finish()?.finish();
    let blob = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    layout.keep_blob(blob, &stored)?;
    Ok(Layer { stored, unpacked, size })
}

/// Hashes and counts what is written through it.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), count: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_sha256(self.hash.finalize().into()), self.count)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
