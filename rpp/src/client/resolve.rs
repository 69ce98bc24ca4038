//! Resolves a tag by its manifests: platforms, layers and the contract.

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        limits::{IMAGE_PLATFORMS, LAYER_BYTES},
        name::{Component, Tag},
        platform::Platform,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::proxy::{Proxy, RawManifest};
use crate::{
    error::{Error, ImageReference},
    oci::{CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document},
    protocol::image,
    text::one_line,
};

/// Manifests of an index that are read at the same time.
const CONCURRENT_READS: usize = 4;

/// The content of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// Digest that the tag points to: of the index, or of the only manifest.
    pub digest: Digest,
    /// The downloads, one for each platform.
    pub artifacts: Vec<Artifact>,
    /// Contract of the plugin. A plugin without one is valid and has no requirements.
    pub contract: Option<Contract>,
    /// Oddities of the image, for people.
    pub warnings: Vec<String>,
    /// Time of publishing by the image's annotation.
    pub created: Option<Timestamp>,
}

/// The download of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Platform. `None` for an image that is not an index and therefore names none.
    pub platform: Option<Platform>,
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Digest of the layer with the executable: the last one.
    pub layer: Digest,
    /// Size of the layer in bytes, compressed.
    pub size: u64,
}

/// A manifest in an index that belongs to a platform.
struct PlatformManifest {
    platform: Platform,
    digest: Digest,
}

impl Proxy {
    /// Reads the manifest of a tag and, for an index, those of its platforms.
    pub async fn resolve(&self, component: &Component, tag: &Tag) -> Result<ResolvedImage, Error> {
        let top = self.manifest(component, tag.as_str()).await?;
        self.resolve_manifest(component, tag, &top).await
    }

    /// As [`Self::resolve`], from a manifest that was read already. A caller that knows its digest can skip
    /// this.
    pub async fn resolve_manifest(
        &self,
        component: &Component,
        tag: &Tag,
        top: &RawManifest,
    ) -> Result<ResolvedImage, Error> {
        self.resolve_for(component, tag, top, None).await
    }

    /// As [`Self::resolve_manifest`], for one platform if `only` is given. Then one manifest of an index is
    /// read: the platform's, or the first one, which may have the contract.
    pub(crate) async fn resolve_for(
        &self,
        component: &Component,
        tag: &Tag,
        top: &RawManifest,
        only: Option<&Platform>,
    ) -> Result<ResolvedImage, Error> {
        let reference = ImageReference::of_tag(component, tag);
        let document = parse(&reference, top)?;
        let Some(listed) = &document.manifests else {
            let artifact = artifact(&reference, None, top.digest.clone(), &document)?;
            return finish(component, tag, top, vec![artifact], Vec::new(), &[&document]);
        };
        let (mut manifests, mut warnings) = platforms(&reference, listed)?;
        if let Some(only) = only {
            let own = manifests.iter().position(|manifest| manifest.platform == *only).unwrap_or_default();
            manifests = manifests.into_iter().skip(own).take(1).collect();
        }
        let read: Vec<(Artifact, Document)> = stream::iter(manifests)
            .map(|manifest| self.clone().read_platform(component.clone(), reference.clone(), manifest))
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        let (artifacts, documents): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        // Annotations that the index lacks are taken from this host's manifest, else from the first one.
        let here = only.cloned().unwrap_or_else(Platform::current);
        let own = artifacts.iter().position(|a| a.platform.as_ref() == Some(&here)).unwrap_or_default();
        let annotated: Vec<&Document> =
            std::iter::once(&document).chain(documents.get(own)).chain(&documents).collect();
        if artifacts.is_empty() {
            warnings.push("the index lists no platform".to_owned());
        }
        finish(component, tag, top, artifacts, warnings, &annotated)
    }

    /// Reads the manifest of one platform. Owns its arguments, so that many can run at the same time.
    async fn read_platform(
        self,
        component: Component,
        reference: ImageReference,
        manifest: PlatformManifest,
    ) -> Result<(Artifact, Document), Error> {
        let raw = self.manifest(&component, manifest.digest.as_str()).await?;
        let document = parse(&reference, &raw)?;
        Ok((artifact(&reference, Some(manifest.platform), manifest.digest, &document)?, document))
    }
}

fn malformed(reference: &ImageReference, why: impl Into<String>) -> Error {
    Error::Malformed { reference: reference.clone(), why: why.into() }
}

fn parse(reference: &ImageReference, raw: &RawManifest) -> Result<Document, Error> {
    serde_json::from_slice(&raw.bytes).map_err(|error| {
        malformed(reference, format!("manifest {}: {}", raw.digest, one_line(error.to_string().as_bytes(), 256)))
    })
}

/// Returns the manifests of an index that belong to platforms, the first one of each, and warnings.
fn platforms(reference: &ImageReference, listed: &[Descriptor]) -> Result<(Vec<PlatformManifest>, Vec<String>), Error> {
    let mut manifests: Vec<PlatformManifest> = Vec::new();
    let mut warnings = Vec::new();
    for descriptor in listed {
        let Some(fields) = &descriptor.platform else { continue };
        // Attestations are listed with platform `unknown`.
        if fields.os == "unknown" || fields.architecture == "unknown" {
            continue;
        }
        let text = format!("{}-{}", fields.os, fields.architecture);
        let platform: Platform = match text.parse() {
            Ok(platform) => platform,
            Err(error) => {
                warnings.push(format!("an entry of the index is ignored: {error}"));
                continue;
            }
        };
        if manifests.iter().any(|manifest| manifest.platform == platform) {
            warnings.push(format!("the index lists platform {platform} twice; the second entry is ignored"));
            continue;
        }
        let digest = descriptor.digest.parse().map_err(|error| malformed(reference, format!("index: {error}")))?;
        manifests.push(PlatformManifest { platform, digest });
    }
    if manifests.len() > IMAGE_PLATFORMS {
        return Err(malformed(reference, format!("the index lists more than {IMAGE_PLATFORMS} platforms")));
    }
    Ok((manifests, warnings))
}

fn artifact(
    reference: &ImageReference,
    platform: Option<Platform>,
    manifest: Digest,
    document: &Document,
) -> Result<Artifact, Error> {
    let Some(layer) = document.layers.as_ref().and_then(|layers| layers.last()) else {
        return Err(malformed(reference, format!("manifest {manifest} has no layers")));
    };
    let digest = layer.digest.parse().map_err(|error| malformed(reference, format!("manifest {manifest}: {error}")))?;
    let size = u64::try_from(layer.size)
        .map_err(|_| malformed(reference, format!("manifest {manifest}: the size of a layer is negative")))?;
    if size > LAYER_BYTES {
        return Err(Error::TooLarge { reference: reference.clone(), what: "the layer", limit: LAYER_BYTES });
    }
    Ok(Artifact { platform, manifest, layer: digest, size })
}

/// Reads the annotations of the first of the `annotated` documents that has them.
fn finish(
    component: &Component,
    tag: &Tag,
    top: &RawManifest,
    artifacts: Vec<Artifact>,
    mut warnings: Vec<String>,
    annotated: &[&Document],
) -> Result<ResolvedImage, Error> {
    let annotation = |key| annotated.iter().find_map(|document| document.annotation(key));
    let contract = match (component, annotation(CONTRACT_ANNOTATION)) {
        (Component::Plugin(_), Some(text)) => {
            let (tag, _) = image::split_tag(tag);
            let (contract, odd) = Contract::from_annotation(text, component, &tag).map_err(Error::Contract)?;
            warnings.extend(odd.iter().map(ToString::to_string));
            Some(contract)
        }
        _ => None,
    };
    let created = annotation(CREATED_ANNOTATION).and_then(|text| {
        let created = text.parse::<Timestamp>().ok();
        if created.is_none() {
            warnings.push(format!("annotation {CREATED_ANNOTATION} is not a time and is ignored"));
        }
        created
    });
    Ok(ResolvedImage { digest: top.digest.clone(), artifacts, contract, warnings, created })
}
