//! The packer: publishes a version to an OCI image layout or a registry. Checks everything first, and writes
//! deterministically: the same request gives the same digests.

mod layer;
mod push;
mod write;

use std::{
    io,
    path::{Path, PathBuf},
};

use d8_crds::{
    records::contract::{Contract, ContractError},
    values::{
        digest::Digest,
        encoding,
        limits::{CONTRACT_BYTES, EXECUTABLE_BYTES},
        name::{Component, NameError, Tag},
        platform::Platform,
        version::Version,
    },
};
use jiff::Timestamp;

use crate::{
    file::read_any,
    oci::{Descriptor, layout::Layout},
    protocol::image,
    registry::{RegistryError, RegistryOptions},
};

/// A version to publish.
#[derive(Debug, Clone)]
pub struct PackRequest {
    /// The component that the image belongs to.
    pub component: Component,
    /// Tag of the version.
    pub tag: Tag,
    /// The executable of each platform. At least one, and each platform once.
    pub platforms: Vec<(Platform, PathBuf)>,
    /// File with the contract, YAML or JSON.
    pub contract: Option<PathBuf>,
    /// Time of publishing, for the annotation of the images.
    pub created: Timestamp,
    /// Format of the image.
    pub format: ImageFormat,
    /// Where the image is published.
    pub to: Target,
}

/// Format of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// An index of all platforms under the tag. The contract is in annotations and in the layers.
    Index,
    /// The format of generation 1: one image for each platform under `<tag>-<os>-<arch>`. The contract is only
    /// in the layers.
    PerPlatform,
}

/// Where an image is published.
#[derive(Debug, Clone)]
pub enum Target {
    /// An OCI image layout, created if it does not exist.
    Layout(PathBuf),
    /// A registry with the distribution API, over HTTPS or HTTP.
    Registry(RegistryOptions),
}

/// The names and digests of a published image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedImage {
    /// The names, as `<image>:<tag>`, and the digests that they point to.
    pub names: Vec<(String, Digest)>,
    /// Oddities of the contract, and tags that pointed to another image, for people.
    pub warnings: Vec<String>,
}

/// Why an image was not published.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The request is not valid. Nothing was written.
    #[error("{0}")]
    Invalid(String),
    /// A given file is not usable. Nothing was written.
    #[error("{}: {why}", path.display())]
    Input {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The contract is not valid. Nothing was written.
    #[error("{}: {error}", path.display())]
    Contract {
        /// Path of the file.
        path: PathBuf,
        /// The field and what is wrong with it.
        error: ContractError,
    },
    /// The registry failed. What was published before is unchanged.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The layout could not be written. What was published before is unchanged.
    #[error("cannot write the layout {}: {error}", path.display())]
    Layout {
        /// Path of the layout.
        path: PathBuf,
        /// Error of the file system.
        error: io::Error,
    },
}

impl PackError {
    /// Returns whether an argument or a given file is the cause.
    pub fn is_invalid_input(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Input { .. } | Self::Contract { .. } => true,
            Self::Registry(error) => error.is_invalid_input(),
            Self::Layout { .. } => false,
        }
    }
}

/// The contract as its author wrote it, and as it was parsed.
struct CheckedContract {
    text: String,
    contract: Contract,
}

/// Checks the request, then publishes the version. Replaces what had its tag.
pub fn pack(request: &PackRequest) -> Result<PackedImage, PackError> {
    check(request)?;
    let mut warnings = Vec::new();
    let contract = match &request.contract {
        Some(path) => Some(read_contract(request, path, &mut warnings)?),
        None => None,
    };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| PackError::Layout { path, error }
    };
    let images = match &request.to {
        Target::Layout(path) => {
            let layout = Layout::at(path);
            let images = write::write(&layout, request, contract.as_ref()).map_err(failed(path))?;
            for (tag, descriptor) in &images {
                let name = name(&request.component, tag);
                let before = layout.publish(&name, descriptor.clone()).map_err(failed(path))?;
                warnings.extend(moved_tag(&name, before.as_deref(), descriptor));
            }
            images
        }
        Target::Registry(registry) => {
            let temporary = std::env::temp_dir();
            let directory = tempfile::TempDir::with_prefix("d8-rpp-").map_err(failed(&temporary))?;
            let layout = Layout::at(directory.path());
            let images = write::write(&layout, request, contract.as_ref()).map_err(failed(directory.path()))?;
            let before = push::push(registry, &layout, &request.component, &images)?;
            for ((tag, descriptor), before) in images.iter().zip(before) {
                warnings.extend(moved_tag(&name(&request.component, tag), before.as_deref(), descriptor));
            }
            images
        }
    };
    let digest = |descriptor: &Descriptor| descriptor.digest.parse().map_err(io::Error::other);
    let names = images.iter().map(|(tag, descriptor)| Ok((name(&request.component, tag), digest(descriptor)?)));
    let names = names.collect::<io::Result<_>>().map_err(failed(Path::new("")))?;
    Ok(PackedImage { names, warnings })
}

/// Returns the warning about a tag that pointed to another image.
fn moved_tag(name: &str, before: Option<&str>, descriptor: &Descriptor) -> Option<String> {
    let before = before.filter(|before| *before != descriptor.digest)?;
    Some(format!(
        "{name} moved from {before} to {}; clients that have seen the first one refuse the other, so publish changes \
         under a new version",
        descriptor.digest
    ))
}

/// Removes a tag from a layout. Returns whether it existed. The blobs stay, so that running downloads finish.
pub fn unpublish(layout: &Path, component: &Component, tag: &Tag) -> Result<bool, PackError> {
    Layout::at(layout)
        .unpublish(&name(component, tag))
        .map_err(|error| PackError::Layout { path: layout.to_owned(), error })
}

/// Returns the name of a version in a layout.
fn name(component: &Component, tag: &Tag) -> String {
    format!("{}:{tag}", image::name(component))
}

/// Returns the tag of the image of one platform (generation 1).
fn platform_tag(tag: &Tag, platform: &Platform) -> Result<Tag, NameError> {
    format!("{tag}-{platform}").parse()
}

/// Checks the request except for the contract.
fn check(request: &PackRequest) -> Result<(), PackError> {
    let invalid = |why: String| Err(PackError::Invalid(why));
    if let Err(error) = Version::parse_full(request.tag.as_str()) {
        let example = Version::parse(request.tag.as_str()).map_or("v1.2.3".to_owned(), |version| version.to_string());
        return invalid(format!("tag {error}; clients would ignore it: pass, for example, `--version {example}`"));
    }
    if request.platforms.is_empty() {
        return invalid("no platform is given".to_owned());
    }
    if request.format == ImageFormat::PerPlatform {
        if let (_, Some(platform)) = image::split_tag(&request.tag) {
            return invalid(format!(
                "the tag already ends in platform {platform}; the platforms are appended to it automatically"
            ));
        }
        for (platform, _) in &request.platforms {
            platform_tag(&request.tag, platform).map_err(|error| PackError::Invalid(error.to_string()))?;
        }
    }
    if request.component == Component::D8 && request.contract.is_some() {
        return invalid("d8 itself has no contract".to_owned());
    }
    for (index, (platform, path)) in request.platforms.iter().enumerate() {
        if request.platforms[..index].iter().any(|(other, _)| other == platform) {
            return invalid(format!("platform {platform} is given twice"));
        }
        check_executable(path)?;
    }
    Ok(())
}

fn check_executable(path: &Path) -> Result<(), PackError> {
    let bad = |why: String| PackError::Input { path: path.to_owned(), why };
    let metadata = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?;
    if !metadata.is_file() {
        return Err(bad("it is not a regular file".to_owned()));
    }
    if metadata.len() == 0 {
        return Err(bad("it is empty".to_owned()));
    }
    if metadata.len() > EXECUTABLE_BYTES {
        return Err(bad(format!("it is larger than {EXECUTABLE_BYTES} bytes")));
    }
    Ok(())
}

/// Reads and parses the contract in the same way as the client.
fn read_contract(request: &PackRequest, path: &Path, warnings: &mut Vec<String>) -> Result<CheckedContract, PackError> {
    let bad = |why: String| PackError::Input { path: path.to_owned(), why };
    // UTF-16 has at most twice as many bytes. The parser refuses a text that is too large.
    let bytes = read_any(path, 2 * CONTRACT_BYTES as u64 + 4).map_err(|error| bad(error.to_string()))?;
    let text = encoding::decode(&bytes).map_err(|error| bad(error.to_string()))?.into_owned();
    let (contract, odd) = Contract::from_yaml(&text, &request.component, &request.tag)
        .map_err(|error| PackError::Contract { path: path.to_owned(), error })?;
    warnings.extend(odd.iter().map(ToString::to_string));
    for key in Contract::unknown_keys(&text) {
        // A requirement that is lost by a typing error would let the version run where it must not.
        if key.near.is_some() {
            return Err(bad(key.to_string()));
        }
        warnings.push(format!("{}: {key}", path.display()));
    }
    Ok(CheckedContract { text, contract })
}
