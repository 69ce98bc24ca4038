//! The packer: how an author ships a version. Writes an image into an OCI layout or a registry,
//! deterministically, after everything about it has been checked.

mod push;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::{Contract, ContractError},
    values::{
        digest::Digest,
        limits,
        name::{Component, NameError, Tag},
        platform::Platform,
    },
};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::{
    oci::{
        CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document, INDEX, MANIFEST, PlatformFields, layout::Layout,
    },
    protocol::image::{self, CONTRACT_FILE},
    registry::{RegistryError, RegistryOptions},
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// The largest executable packed, in bytes: what the install pipeline accepts.
const MAX_EXECUTABLE: u64 = 512 << 20;
/// The size of a tar's blocks, in bytes.
const BLOCK: usize = 512;

/// What to publish.
#[derive(Debug, Clone)]
pub struct PackRequest {
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
    /// How it is laid out.
    pub form: ImageFormat,
    /// Where it goes.
    pub to: Target,
}

/// How an image is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// An index of all platforms under the tag, the contract in annotations and in the layers.
    Index,
    /// As for generation 1: an image for each platform under `<tag>-<os>-<arch>`, the contract in its layer
    /// only.
    PerPlatform,
}

/// Where an image goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// An OCI image layout, made if it does not exist.
    Layout(PathBuf),
    /// A registry.
    Registry(RegistryOptions),
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedImage {
    /// What was named, as `<image>:<tag>`, and the digest that points at.
    pub names: Vec<(String, Digest)>,
    /// What is odd about the contract, though legal.
    pub warnings: Vec<String>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The order contradicts itself; nothing was written.
    #[error("{0}")]
    Invalid(String),
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
    /// The registry did not take it; what was published before still is.
    #[error(transparent)]
    Registry(#[from] RegistryError),
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
pub fn pack(order: &PackRequest) -> Result<PackedImage, PackError> {
    check(order)?;
    let mut warnings = Vec::new();
    let contract = match &order.contract {
        Some(path) => Some(read_contract(order, path, &mut warnings)?),
        None => None,
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| PackError::Layout { path, error }
    };
    let named = match &order.to {
        Target::Layout(path) => {
            let layout = Layout::at(path);
            let named = write(&layout, order, contract.as_ref()).map_err(failed(path))?;
            for (tag, descriptor) in &named {
                layout.publish(&name(&order.component, tag), descriptor.clone()).map_err(failed(path))?;
            }
            named
        }
        Target::Registry(registry) => {
            let here = std::env::temp_dir();
            let folder = tempfile::TempDir::with_prefix("d8-rpp-").map_err(failed(&here))?;
            let layout = Layout::at(folder.path());
            let named = write(&layout, order, contract.as_ref()).map_err(failed(folder.path()))?;
            push::push(registry, &layout, &order.component, &named)?;
            named
        }
    };
    let digest = |descriptor: &Descriptor| descriptor.digest.parse().map_err(io::Error::other);
    let told = named.iter().map(|(tag, descriptor)| Ok((name(&order.component, tag), digest(descriptor)?)));
    let told = told.collect::<io::Result<_>>().map_err(failed(Path::new("")))?;
    Ok(PackedImage { names: told, warnings })
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

/// The tag of one platform's image (generation 1).
fn platform_tag(tag: &Tag, platform: &Platform) -> Result<Tag, NameError> {
    format!("{tag}-{platform}").parse()
}

/// Everything but the contract.
fn check(order: &PackRequest) -> Result<(), PackError> {
    if order.platforms.is_empty() {
        return Err(PackError::Invalid("no platform is given".to_owned()));
    }
    if order.form == ImageFormat::PerPlatform {
        if let (_, Some(platform)) = image::split_tag(&order.tag) {
            return Err(PackError::Invalid(format!(
                "the tag names {platform}, and gets each platform's name by itself"
            )));
        }
        for (platform, _) in &order.platforms {
            platform_tag(&order.tag, platform).map_err(|error| PackError::Invalid(error.to_string()))?;
        }
    }
    if order.component == Component::D8 && order.contract.is_some() {
        return Err(PackError::Invalid("d8 itself has no contract".to_owned()));
    }
    for (index, (platform, path)) in order.platforms.iter().enumerate() {
        if order.platforms[..index].iter().any(|(other, _)| other == platform) {
            return Err(PackError::Invalid(format!("platform {platform} is given twice")));
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

/// The contract, after the client's own reading of it has accepted it.
struct Checked {
    /// As its author wrote it.
    text: String,
    /// For the annotation.
    contract: Contract,
}

fn read_contract(order: &PackRequest, path: &Path, warnings: &mut Vec<String>) -> Result<Checked, PackError> {
    let bad = |why: String| PackError::Input { path: path.to_owned(), why };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    // One more than is allowed, for the reading to refuse.
    file.take(limits::CONTRACT_BYTES as u64 + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    let (contract, odd) = Contract::from_yaml(&text, &order.component, &order.tag)
        .map_err(|error| PackError::Contract { path: path.to_owned(), error })?;
    warnings.extend(odd.iter().map(ToString::to_string));
    Ok(Checked { text, contract })
}

fn annotations(order: &PackRequest, contract: Option<&Checked>) -> BTreeMap<String, String> {
    // Whole seconds, as other tools write it.
    let created = Timestamp::from_second(order.created.as_second()).unwrap_or(order.created);
    let mut annotations = BTreeMap::from([(CREATED_ANNOTATION.to_owned(), created.to_string())]);
    let contract = contract.filter(|_| order.form == ImageFormat::Index);
    annotations.extend(contract.map(|checked| (CONTRACT_ANNOTATION.to_owned(), checked.contract.to_annotation())));
    annotations
}

/// Writes all blobs; returns what is to be named, and how.
fn write(layout: &Layout, order: &PackRequest, contract: Option<&Checked>) -> io::Result<Vec<(Tag, Descriptor)>> {
    layout.create()?;
    let annotations = annotations(order, contract);
    // In the layer, too: of a proxy of generation 2 a client gets nothing else.
    let in_layer = contract.map(|checked| checked.text.as_str());
    let mut platforms: Vec<_> = order.platforms.iter().collect();
    platforms.sort();
    let manifests = platforms
        .iter()
        .map(|(platform, path)| write_platform(layout, order, platform, path, in_layer, &annotations))
        .collect::<io::Result<Vec<_>>>()?;
    match order.form {
        ImageFormat::Index => {
            let index = Document { manifests: Some(manifests), ..document(INDEX, &annotations) };
            Ok(vec![(order.tag.clone(), write_document(layout, &index)?)])
        }
        ImageFormat::PerPlatform => {
            let named = platforms.iter().zip(manifests).map(|((platform, _), manifest)| {
                let tag = platform_tag(&order.tag, platform).map_err(io::Error::other)?;
                Ok((tag, Descriptor { platform: None, ..manifest }))
            });
            named.collect()
        }
    }
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
    order: &PackRequest,
    platform: &Platform,
    executable: &Path,
    contract: Option<&str>,
    annotations: &BTreeMap<String, String>,
) -> io::Result<Descriptor> {
    let layer = write_layer(layout, order.component.executable(), executable, contract)?;
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

/// Streams the executable into a gzip tar, and the contract behind it if there is one for it: no owner,
/// no time.
fn write_layer(layout: &Layout, entry: &str, executable: &Path, contract: Option<&str>) -> io::Result<Layer> {
    let file = File::open(executable)?;
    let size = file.metadata()?.len();
    let stored = Hashing::new(io::BufWriter::new(layout.new_blob()?));
    // No name, no time, an unknown system: nothing of the machine it was made on.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(stored, Compression::default());
    let mut tar = Hashing::new(gzip);
    let copied = write_entry(&mut tar, entry, 0o755, size, &mut file.take(size))?;
    if copied != size {
        return Err(io::Error::other(format!("{} changed while it was read", executable.display())));
    }
    if let Some(contract) = contract {
        write_entry(&mut tar, CONTRACT_FILE, 0o644, contract.len() as u64, &mut contract.as_bytes())?;
    }
    tar.write_all(&[0; 2 * BLOCK])?;
    let (gzip, unpacked, _) = tar.finish();
    let (buffered, stored, size) = gzip.finish()?.finish();
    let blob = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    layout.keep_blob(blob, &stored)?;
    Ok(Layer { stored, unpacked, size })
}

/// One regular file of a tar; returns how many bytes it had.
fn write_entry(tar: &mut impl Write, name: &str, mode: u32, size: u64, content: &mut impl Read) -> io::Result<u64> {
    let mut header = tokio_tar::Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(tokio_tar::EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    tar.write_all(header.as_bytes())?;
    let copied = io::copy(content, tar)?;
    let padding = usize::try_from(size % BLOCK as u64).map_or(0, |rest| (BLOCK - rest) % BLOCK);
    tar.write_all(&[0; BLOCK][..padding])?;
    Ok(copied)
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
