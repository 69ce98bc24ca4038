//! Resolves a tag by its manifests: platforms, layers and the contract. A part of an image that cannot be used is left
//! out, with the reason; the rest of the image is used.

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
    error::{Error, ErrorKind, ImageReference},
    oci::{
        CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document,
        platforms::{IndexContents, LeftOut, LeftOutEffect, PlatformManifest, choose, nested},
    },
    protocol::image,
    text::{json_error, one_line},
};

/// Manifests of an index that are read at the same time.
const CONCURRENT_READS: usize = 4;
/// Bytes of a media type that are shown.
const SHOWN_MEDIA_TYPE: usize = 80;

/// The content of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedImage {
    /// Digest that the tag points to: of the index, or of the only manifest.
    pub digest: Digest,
    /// The downloads, one for each platform.
    pub artifacts: Vec<Artifact>,
    /// The parts of the image that are left out.
    pub left_out: Vec<LeftOut>,
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

/// What a manifest holds for its platform.
struct ReadManifest {
    /// The download, or why there is none.
    artifact: Result<Artifact, String>,
    /// Whether the registry lacks a part of it, or does not deliver it now. A later attempt may read it.
    is_missing: bool,
    /// The manifest itself, for its annotations.
    document: Document,
    warning: Option<String>,
}

/// The image that is resolved.
#[derive(Clone)]
struct Subject {
    component: Component,
    tag: Tag,
    reference: ImageReference,
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

    /// Returns how many layers a manifest has.
    pub async fn count_layers(&self, component: &Component, manifest: &Digest) -> Result<usize, Error> {
        let raw = self.manifest(component, manifest.as_str()).await?;
        let document = parse(&ImageReference::new(component, manifest.as_str()), &raw)?;
        Ok(document.layers.map_or(0, |layers| layers.len()))
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
        let subject = Subject { component: component.clone(), tag: tag.clone(), reference };
        let document = parse(&subject.reference, top)?;
        let Some(listed) = &document.manifests else {
            let read = self.read_layer_of(&subject, None, top.digest.clone(), document).await?;
            return finish(&subject, top, None, vec![(None, read)], Vec::new(), only);
        };
        let IndexContents { mut manifests, left_out } = platforms(&subject.reference, listed)?;
        if let Some(only) = only {
            let own = manifests.iter().position(|manifest| manifest.platform == *only).unwrap_or_default();
            manifests = manifests.into_iter().skip(own).take(1).collect();
        }
        let read = stream::iter(manifests)
            .map(|manifest| self.clone().read_platform(subject.clone(), manifest))
            .buffered(CONCURRENT_READS)
            .try_collect()
            .await?;
        finish(&subject, top, Some(&document), read, left_out, only)
    }

    /// Reads the manifest of one platform. Owns its arguments, so that many can run at the same time.
    ///
    /// # Errors
    /// The proxy failed. A manifest that cannot be used is not an error.
    async fn read_platform(
        self,
        subject: Subject,
        manifest: PlatformManifest,
    ) -> Result<(Option<Platform>, ReadManifest), Error> {
        let PlatformManifest { platform, digest } = manifest;
        let unusable = |why: String| ReadManifest {
            artifact: Err(why),
            is_missing: false,
            document: Document::default(),
            warning: None,
        };
        let raw = self.manifest(&subject.component, digest.as_str()).await;
        let read = match raw.and_then(|raw| parse(&subject.reference, &raw)) {
            Ok(document) if document.manifests.is_some() => unusable(nested(digest.as_str())),
            Ok(document) => self.read_layer_of(&subject, Some(platform.clone()), digest, document).await?,
            Err(Error::NotFound { .. }) => {
                ReadManifest { is_missing: true, ..unusable(format!("the registry lacks its manifest {digest}")) }
            }
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Malformed) => {
                unusable(format!("its manifest cannot be used: {error}"))
            }
            Err(error) => return Err(error),
        };
        Ok((Some(platform), read))
    }

    /// Takes the layer out of a manifest. The beginning of a layer that is no gzip tar by its media type is read: the
    /// bytes decide.
    ///
    /// # Errors
    /// The proxy failed. A layer that the registry lacks, or does not deliver now, is not an error.
    async fn read_layer_of(
        &self,
        subject: &Subject,
        platform: Option<Platform>,
        manifest: Digest,
        document: Document,
    ) -> Result<ReadManifest, Error> {
        let media_type =
            document.layers.as_ref().and_then(|layers| layers.last()).map(|layer| layer.media_type.clone());
        let (mut warning, mut is_missing) = (None, false);
        let mut artifact = artifact(platform, manifest, &document);
        if let (Ok(found), Some(media_type)) = (&artifact, media_type)
            && !is_gzip(&media_type)
        {
            let shown = one_line(media_type.as_bytes(), SHOWN_MEDIA_TYPE);
            let platform = found.platform.clone().unwrap_or_else(Platform::current);
            match self.layer_content(&subject.component, &subject.tag, &platform).await {
                Ok(content) if content.is_gzip() => {
                    warning = Some(format!("the layer is a gzip stream, and its media type is `{shown}`"));
                }
                Ok(content) => {
                    let why = format!("its layer is {content} (media type `{shown}`); expected a gzip tar");
                    artifact = Err(why);
                }
                Err(error) => {
                    // It may be readable later, unless the proxy says that its content cannot be used.
                    is_missing = matches!(error, Error::NotFound { .. }) || error.is_transient();
                    if !is_missing && error.kind() != ErrorKind::Malformed {
                        return Err(error);
                    }
                    artifact =
                        Err(format!("its layer has media type `{shown}`, and its first bytes cannot be read: {error}"));
                }
            }
        }
        Ok(ReadManifest { artifact, is_missing, document, warning })
    }
}

/// Returns whether a media type is that of a gzip stream. An empty one may be.
fn is_gzip(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.is_empty() || essence.to_ascii_lowercase().ends_with("gzip")
}

fn malformed(reference: &ImageReference, why: impl Into<String>) -> Error {
    Error::Malformed { reference: reference.clone(), why: why.into() }
}

fn parse(reference: &ImageReference, raw: &RawManifest) -> Result<Document, Error> {
    serde_json::from_slice(&raw.bytes)
        .map_err(|error| malformed(reference, format!("manifest {}: {}", raw.digest, json_error(&error))))
}

/// Returns the manifests of an index by platform, and what is left out.
fn platforms(reference: &ImageReference, listed: &[Descriptor]) -> Result<IndexContents, Error> {
    let contents = choose(listed);
    if contents.manifests.len() > IMAGE_PLATFORMS {
        return Err(malformed(reference, format!("the index lists more than {IMAGE_PLATFORMS} platforms")));
    }
    Ok(contents)
}

/// Returns the last layer of a manifest, or why it cannot be used.
fn artifact(platform: Option<Platform>, manifest: Digest, document: &Document) -> Result<Artifact, String> {
    let layer = document.layers.as_ref().and_then(|layers| layers.last());
    let layer = layer.ok_or_else(|| format!("manifest {manifest} has no layers"))?;
    let digest = layer.digest.parse().map_err(|error| format!("the digest of its layer is not valid: {error}"))?;
    match u64::try_from(layer.size) {
        Err(_) => Err("the size of its layer is negative".to_owned()),
        Ok(0) => Err("its last layer is empty; d8 installs from the last layer".to_owned()),
        Ok(size) if size > LAYER_BYTES => Err(format!("its layer is larger than {LAYER_BYTES} bytes")),
        Ok(size) => Ok(Artifact { platform, manifest, layer: digest, size }),
    }
}

/// Puts the image together. Reads annotations that the index lacks from the manifest for `only` or this host, else from
/// the first one.
fn finish(
    subject: &Subject,
    top: &RawManifest,
    index: Option<&Document>,
    read: Vec<(Option<Platform>, ReadManifest)>,
    mut left_out: Vec<LeftOut>,
    only: Option<&Platform>,
) -> Result<ResolvedImage, Error> {
    let here = only.cloned().unwrap_or_else(Platform::current);
    let own = read.iter().position(|(platform, _)| platform.as_ref() == Some(&here)).unwrap_or_default();
    let documents = || read.iter().map(|(_, read)| &read.document);
    let annotated: Vec<&Document> = index.into_iter().chain(documents().nth(own)).chain(documents()).collect();
    let mut warnings: Vec<String> = read.iter().filter_map(|(_, read)| read.warning.clone()).collect();
    let contract = contract(subject, &annotated, &mut warnings)?;
    let created = created(&annotated, &mut warnings);
    let mut artifacts = Vec::new();
    for (platform, read) in read {
        match read.artifact {
            Ok(artifact) => artifacts.push(artifact),
            Err(why) => {
                let effect = if read.is_missing { LeftOutEffect::Missing } else { LeftOutEffect::Unusable };
                left_out.push(LeftOut { platform, why, effect });
            }
        }
    }
    if artifacts.is_empty() && left_out.is_empty() {
        let why = "the index lists no manifest for a platform".to_owned();
        left_out.push(LeftOut { platform: None, why, effect: LeftOutEffect::Unusable });
    }
    Ok(ResolvedImage { digest: top.digest.clone(), artifacts, left_out, contract, warnings, created })
}

fn annotation<'a>(annotated: &[&'a Document], key: &str) -> Option<&'a str> {
    annotated.iter().find_map(|document| document.annotation(key))
}

fn contract(subject: &Subject, annotated: &[&Document], warnings: &mut Vec<String>) -> Result<Option<Contract>, Error> {
    let (Component::Plugin(_), Some(text)) = (&subject.component, annotation(annotated, CONTRACT_ANNOTATION)) else {
        return Ok(None);
    };
    let (tag, _) = image::split_tag(&subject.tag);
    let (contract, odd) = Contract::from_annotation(text, &subject.component, &tag).map_err(Error::Contract)?;
    warnings.extend(odd.iter().map(ToString::to_string));
    Ok(Some(contract))
}

fn created(annotated: &[&Document], warnings: &mut Vec<String>) -> Option<Timestamp> {
    let created = parse_created(annotation(annotated, CREATED_ANNOTATION)?);
    if created.is_none() {
        warnings.push(format!("annotation {CREATED_ANNOTATION} is not a time since 1970 and is ignored"));
    }
    created
}

/// Parses a time of creation. Records take times of four-digit years only, and no image is older than 1970.
fn parse_created(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|created| *created >= Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_record_takes_are_none() {
        for (text, valid) in [
            ("2026-11-22T10:00:00Z", true),
            ("1970-01-01T00:00:00Z", true),
            ("1969-12-31T23:59:59Z", false),
            ("0000-01-01T00:00:00+23:59", false),
            ("-000001-01-01T00:00:00Z", false),
            ("-009999-01-02T01:59:59Z", false),
            ("yesterday", false),
        ] {
            assert_eq!(parse_created(text).is_some(), valid, "{text}");
        }
    }
}
