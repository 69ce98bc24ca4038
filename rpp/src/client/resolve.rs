//! What a tag stands for: its platforms, their layers, and the contract.

use d8_crds::{
    records::contract::Contract,
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::{
    client::{
        download::MAX_LAYER,
        proxy::{Proxy, RawManifest},
    },
    error::{Error, ImageReference},
    oci::{CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document},
    protocol::image,
    text::one_line,
};

/// Children of an index read at a time.
const PARALLEL: usize = 4;
/// Platforms of one image read at most; more is nobody's image.
const MAX_PLATFORMS: usize = 64;

/// What a tag stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// What the tag points at: the index's digest, or the only manifest's.
    pub digest: Digest,
    /// What can be downloaded.
    pub artifacts: Vec<Artifact>,
    /// The plugin's contract; none is legal: nothing to enforce.
    pub contract: Option<Contract>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
    /// When the publisher says it was made.
    pub created: Option<Timestamp>,
}

/// One platform's part of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The platform; none for an image that is not an index and so says nothing.
    pub platform: Option<Platform>,
    /// Its manifest.
    pub manifest: Digest,
    /// The layer with the executable: the last one.
    pub layer: Digest,
    /// The layer's size as stored, in bytes.
    pub size: u64,
}

/// A child of an index that is a platform's.
struct Child {
    platform: Platform,
    digest: Digest,
}

impl Proxy {
    /// Reads what a tag stands for.
    pub async fn resolve(&self, component: &Component, tag: &Tag) -> Result<ResolvedImage, Error> {
        let top = self.manifest(component, tag.as_str()).await?;
        self.resolve_manifest(component, tag, &top).await
    }

    /// As [`Self::resolve`], from a manifest that was read already: whoever finds a known digest in it
    /// needs no more questions.
    pub async fn resolve_manifest(
        &self,
        component: &Component,
        tag: &Tag,
        top: &RawManifest,
    ) -> Result<ResolvedImage, Error> {
        self.resolve_for(component, tag, top, None).await
    }

    /// `only`: the platform whose part is wanted; of an index no other child is read then, but for the
    /// first where it has none for this platform, as that may have the contract.
    pub(crate) async fn resolve_for(
        &self,
        component: &Component,
        tag: &Tag,
        top: &RawManifest,
        only: Option<&Platform>,
    ) -> Result<ResolvedImage, Error> {
        let subject = ImageReference::tag(component, tag);
        let document = read(&subject, top)?;
        let Some(listed) = &document.manifests else {
            let artifact = artifact(&subject, None, top.digest.clone(), &document)?;
            return finish(component, tag, top, vec![artifact], Vec::new(), &[&document]);
        };
        let (mut children, mut warnings) = platforms(&subject, listed)?;
        if let Some(only) = only {
            let own = children.iter().position(|child| child.platform == *only).unwrap_or_default();
            children = children.into_iter().skip(own).take(1).collect();
        }
        let parts: Vec<(Artifact, Document)> = stream::iter(children)
            .map(|child| self.clone().part(component.clone(), subject.clone(), child))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        let (artifacts, parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        // This host's child speaks for an index without a contract, else the first.
        let here = only.cloned().unwrap_or_else(Platform::current);
        let own = artifacts.iter().position(|a| a.platform.as_ref() == Some(&here)).unwrap_or_default();
        let speakers: Vec<&Document> = std::iter::once(&document).chain(parts.get(own)).chain(&parts).collect();
        if artifacts.is_empty() {
            warnings.push("it is published for no platform".to_owned());
        }
        finish(component, tag, top, artifacts, warnings, &speakers)
    }

    /// Reads one child of an index. Owns what it needs, so that many can run at once.
    async fn part(
        self,
        component: Component,
        subject: ImageReference,
        child: Child,
    ) -> Result<(Artifact, Document), Error> {
        let raw = self.manifest(&component, child.digest.as_str()).await?;
        let document = read(&subject, &raw)?;
        Ok((artifact(&subject, Some(child.platform), child.digest, &document)?, document))
    }
}

fn malformed(subject: &ImageReference, why: impl Into<String>) -> Error {
    Error::Malformed { subject: subject.clone(), why: why.into() }
}

fn read(subject: &ImageReference, raw: &RawManifest) -> Result<Document, Error> {
    serde_json::from_slice(&raw.bytes).map_err(|error| {
        malformed(subject, format!("manifest {}: {}", raw.digest, one_line(error.to_string().as_bytes(), 256)))
    })
}

/// The children that are platforms', the first of each.
fn platforms(subject: &ImageReference, listed: &[Descriptor]) -> Result<(Vec<Child>, Vec<String>), Error> {
    let mut children: Vec<Child> = Vec::new();
    let mut warnings = Vec::new();
    for descriptor in listed {
        let Some(fields) = &descriptor.platform else { continue };
        // Attestations are children too, of a platform that is none.
        if fields.os == "unknown" || fields.architecture == "unknown" {
            continue;
        }
        let text = format!("{}-{}", fields.os, fields.architecture);
        let platform: Platform = match text.parse() {
            Ok(platform) => platform,
            Err(error) => {
                warnings.push(format!("a part of it is left out: {error}"));
                continue;
            }
        };
        if children.iter().any(|child| child.platform == platform) {
            warnings.push(format!("platform {platform} is listed twice; the first counts"));
            continue;
        }
        let digest = descriptor.digest.parse().map_err(|error| malformed(subject, format!("index: {error}")))?;
        children.push(Child { platform, digest });
    }
    if children.len() > MAX_PLATFORMS {
        return Err(malformed(subject, format!("it lists more than {MAX_PLATFORMS} platforms")));
    }
    Ok((children, warnings))
}

fn artifact(
    subject: &ImageReference,
    platform: Option<Platform>,
    manifest: Digest,
    document: &Document,
) -> Result<Artifact, Error> {
    let Some(layer) = document.layers.as_ref().and_then(|layers| layers.last()) else {
        return Err(malformed(subject, format!("manifest {manifest} has no layers")));
    };
    let digest = layer.digest.parse().map_err(|error| malformed(subject, format!("manifest {manifest}: {error}")))?;
    let size = u64::try_from(layer.size)
        .map_err(|_| malformed(subject, format!("manifest {manifest}: a layer's size is negative")))?;
    if size > MAX_LAYER {
        return Err(Error::TooLarge { subject: subject.clone(), what: "the layer", limit: MAX_LAYER });
    }
    Ok(Artifact { platform, manifest, layer: digest, size })
}

/// `speakers`: whose annotations count, the first that has one.
fn finish(
    component: &Component,
    tag: &Tag,
    top: &RawManifest,
    artifacts: Vec<Artifact>,
    mut warnings: Vec<String>,
    speakers: &[&Document],
) -> Result<ResolvedImage, Error> {
    let annotation = |key| speakers.iter().find_map(|document| document.annotation(key));
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
            warnings.push(format!("annotation {CREATED_ANNOTATION} is no time and is left out"));
        }
        created
    });
    Ok(ResolvedImage { digest: top.digest.clone(), artifacts, contract, warnings, created })
}
