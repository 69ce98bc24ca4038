//! Versions without an index: those of proxies of generations 1 and 2, and images that were published for
//! generation 1. Each layer is streamed once, to hash it and to take the contract out of it. Nothing of the layer is
//! kept in memory or on disk.

use d8_crds::{
    records::{
        contract::Contract,
        release::{Artifact, LeftOutPart},
    },
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
    },
};
use d8_rpp::{Error as ProxyError, ErrorKind, ImageReference, Proxy, RawManifest};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{ReadRequest, STREAMS, Upstream, artifact};
use crate::decisions::release::{
    facts::VersionFacts,
    platform_tags::{PLATFORMS, content_digest},
};

/// The image of a version for one platform.
struct PlatformImage {
    /// The platform to request.
    platform: Platform,
    /// Whether every platform has this image.
    any: bool,
    /// The tag to request.
    tag: Tag,
    /// Digest of the manifest.
    manifest: Digest,
    /// The manifest; absent if the proxy does not serve it.
    top: Option<RawManifest>,
}

impl Upstream {
    /// Returns the content digest of a version, and its facts unless they are known.
    pub(super) async fn read_without_index(
        &self,
        proxy: &Proxy,
        request: &ReadRequest<'_>,
    ) -> Result<(Digest, Option<VersionFacts>), ProxyError> {
        let (component, tag) = (request.component, request.tag);
        let images = if request.platform_tags.is_empty() {
            self.images_of_one_tag(proxy, request).await?
        } else {
            self.images_of_platform_tags(proxy, request).await?
        };
        let manifests = images.iter().map(|image| (image.platform.as_str(), image.manifest.as_str()));
        let digest =
            content_digest(manifests).ok_or_else(|| ProxyError::NotFound { reference: reference(component, tag) })?;
        if (request.is_known)(&digest) {
            return Ok((digest, None));
        }
        // A layer of d8 itself has no contract, so its manifests hold everything.
        let manifests_suffice = *component == Component::D8 && images.iter().all(|image| image.top.is_some());
        if !request.read_layers && !manifests_suffice {
            return Ok((digest, Some(VersionFacts::digest_only())));
        }
        let facts = match self.read_images(proxy, request, images).await {
            Ok(facts) => facts,
            // The next attempt would fail the same way. The facts are kept, so that nothing is downloaded again.
            Err(error) if matches!(error.kind(), ErrorKind::Contract | ErrorKind::Archive | ErrorKind::TooLarge) => {
                VersionFacts::malformed(&error.to_string())
            }
            Err(error) => return Err(error),
        };
        Ok((digest, Some(facts)))
    }

    /// Returns the images of a version that has one tag, for each platform that answers.
    async fn images_of_one_tag(
        &self,
        proxy: &Proxy,
        request: &ReadRequest<'_>,
    ) -> Result<Vec<PlatformImage>, ProxyError> {
        // The first request is for the registry's default platform. Its answer shows the generation of the proxy.
        // Without it, a missing platform would be requested by the route that knows no platforms.
        let mut platforms: Vec<Platform> = PLATFORMS.iter().filter_map(|platform| platform.parse().ok()).collect();
        let more = request.platforms.into_iter().flatten().filter(|platform| !PLATFORMS.contains(&platform.as_str()));
        platforms.extend(more.cloned());
        let requested = platforms.len();
        let mut images = Vec::new();
        for platform in platforms {
            let digest = self.manifest_digest(proxy, request.component, request.tag, &platform).await?;
            let Some(manifest) = digest else { continue };
            images.push(PlatformImage { platform, any: false, tag: request.tag.clone(), manifest, top: None });
        }
        // An image that is not an index is returned for every platform.
        if images.len() == requested && images.iter().all(|image| image.manifest == images[0].manifest) {
            images.truncate(1);
            images[0].any = true;
        }
        Ok(images)
    }

    /// Returns the images of a version that has a tag for each platform.
    async fn images_of_platform_tags(
        &self,
        proxy: &Proxy,
        request: &ReadRequest<'_>,
    ) -> Result<Vec<PlatformImage>, ProxyError> {
        let mut images = Vec::new();
        for platform in request.platform_tags {
            let Ok(tag) = format!("{}-{platform}", request.tag).parse::<Tag>() else { continue };
            let permit = self.acquire(1).await;
            let top = match proxy.manifest_if_any(request.component, &tag).await {
                Err(ProxyError::NotFound { .. }) => continue,
                top => top?,
            };
            drop(permit);
            let manifest = match &top {
                Some(top) => Some(top.digest.clone()),
                None => self.manifest_digest(proxy, request.component, &tag, platform).await?,
            };
            let Some(manifest) = manifest else { continue };
            images.push(PlatformImage { platform: platform.clone(), any: false, tag, manifest, top });
        }
        Ok(images)
    }

    /// Returns the digest of a platform's manifest; `None` if nothing is published for the platform.
    async fn manifest_digest(
        &self,
        proxy: &Proxy,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Digest>, ProxyError> {
        let _permit = self.acquire(1).await;
        match proxy.layer_digest(component, tag, platform).await {
            Ok(Some(digest)) => Ok(Some(digest)),
            Ok(None) => Err(malformed(component, tag, "the proxy returned no digest of its manifest")),
            Err(ProxyError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the images for the platforms of the record.
    async fn read_images(
        &self,
        proxy: &Proxy,
        request: &ReadRequest<'_>,
        mut images: Vec<PlatformImage>,
    ) -> Result<VersionFacts, ProxyError> {
        let is_selected = |image: &PlatformImage| {
            image.any || request.platforms.is_none_or(|platforms| platforms.contains(&image.platform))
        };
        if images.iter().any(is_selected) {
            images.retain(is_selected);
        } else {
            // One image is read for its contract, which decides the fit.
            images.truncate(1);
        }
        let reads = images.iter().map(|image| self.read_usable(proxy, request.component, image)).collect::<Vec<_>>();
        let read: Vec<Result<(Artifact, Option<Contract>), LeftOutPart>> =
            stream::iter(reads).buffered(STREAMS).try_collect().await?;
        let (mut usable, mut left_out) = (Vec::new(), Vec::new());
        for (image, read) in images.iter().zip(read) {
            match read {
                Ok((artifact, contract)) => usable.push((image, artifact, contract)),
                Err(part) => left_out.push(part),
            }
        }
        let mut contract = usable.iter_mut().find_map(|(_, _, contract)| contract.take());
        // An image for generation 1 has its contract in the layer, the same for all platforms, even if the proxy
        // serves its manifest.
        let with_manifest = usable.iter().find(|(image, ..)| image.top.is_some());
        if let (None, Component::Plugin(_), Some((image, artifact, _))) = (&contract, request.component, with_manifest)
        {
            let layer = artifact.layer.parse().ok();
            (_, contract) = self.stream_layer(proxy, request.component, image, layer.as_ref()).await?;
        }
        let artifacts = usable.into_iter().map(|(_, artifact, _)| artifact).collect();
        let facts = VersionFacts::read(artifacts, contract, None).with_left_out(left_out);
        Ok(VersionFacts { platforms_limited: request.platforms.is_some(), ..facts })
    }

    /// As [`Self::read_image`]. An image whose layer cannot be used is left out, with the reason: the next attempt
    /// would read the same bytes.
    async fn read_usable(
        &self,
        proxy: &Proxy,
        component: &Component,
        image: &PlatformImage,
    ) -> Result<Result<(Artifact, Option<Contract>), LeftOutPart>, ProxyError> {
        match self.read_image(proxy, component, image).await {
            Err(error) if matches!(error.kind(), ErrorKind::Archive | ErrorKind::TooLarge) => {
                let platform = (!image.any).then(|| image.platform.to_string());
                Ok(Err(LeftOutPart { platform, reason: error.to_string() }))
            }
            read => read.map(Ok),
        }
    }

    /// Reads an image: from its manifest if the proxy serves it, otherwise from its layer.
    async fn read_image(
        &self,
        proxy: &Proxy,
        component: &Component,
        image: &PlatformImage,
    ) -> Result<(Artifact, Option<Contract>), ProxyError> {
        let Some(top) = &image.top else { return self.stream_layer(proxy, component, image, None).await };
        let resolved = proxy.resolve_manifest(component, &image.tag, top).await?;
        let for_platform = |found: &d8_rpp::Artifact| found.platform.as_ref().is_none_or(|of| *of == image.platform);
        let found = resolved.artifacts.into_iter().find(for_platform);
        let wrong_platform = || malformed(component, &image.tag, "the image is not for the platform of its tag");
        let found = found.ok_or_else(wrong_platform)?;
        let found = artifact(d8_rpp::Artifact { platform: Some(image.platform.clone()), ..found });
        Ok((found, resolved.contract))
    }

    /// Streams a layer. `expected`: the digest that the layer must have.
    async fn stream_layer(
        &self,
        proxy: &Proxy,
        component: &Component,
        image: &PlatformImage,
        expected: Option<&Digest>,
    ) -> Result<(Artifact, Option<Contract>), ProxyError> {
        // The semaphore is never closed.
        let _stream = self.streams.acquire().await.ok();
        let _permit = self.acquire(1).await;
        let read = proxy.inspect(component, &image.tag, &image.platform, expected).await?;
        if read.manifest.as_ref() != Some(&image.manifest) {
            return Err(malformed(component, &image.tag, "its tag was moved while it was read"));
        }
        for warning in &read.warnings {
            tracing::debug!(%component, tag = %image.tag, warning, "unusual image");
        }
        tracing::debug!(%component, tag = %image.tag, platform = %image.platform, bytes = read.size, "read a layer");
        let artifact = Artifact {
            platform: (!image.any).then(|| image.platform.to_string()),
            manifest: image.manifest.to_string(),
            layer: read.layer.to_string(),
            size_bytes: read.size,
        };
        Ok((artifact, read.contract))
    }
}

fn reference(component: &Component, tag: &Tag) -> ImageReference {
    ImageReference { component: component.clone(), reference: Some(tag.to_string()) }
}

fn malformed(component: &Component, tag: &Tag, why: &str) -> ProxyError {
    ProxyError::Malformed { reference: reference(component, tag), why: why.to_owned() }
}
