//! Versions that the proxy shows no index of (generations 1 and 2, and images published as for
//! generation 1): each layer is read once as it passes, hashed, its contract taken out of it. Nothing
//! is kept of it, in memory or on disk.

use d8_crds::{
    records::{contract::Contract, release::Artifact},
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
    },
};
use d8_rpp::{Error, ErrorKind, ImageReference, Proxy, RawManifest};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{Ask, STREAMS, Upstream, artifact};
use crate::release::{
    facts::Facts,
    parts::{PLATFORMS, pointer},
};

/// One platform's part of a version.
struct Part {
    /// The platform to ask for.
    platform: Platform,
    /// It is whatever platform is asked for.
    any: bool,
    /// The tag to ask for.
    tag: Tag,
    /// What it points at.
    manifest: Digest,
    /// The manifest itself, where the proxy shows it.
    top: Option<RawManifest>,
}

impl Upstream {
    /// What a version points at, and what that holds if it is to be read.
    pub(super) async fn read_layers(&self, proxy: &Proxy, ask: &Ask<'_>) -> Result<(Digest, Option<Facts>), Error> {
        let parts = if ask.parts.is_empty() { self.whole(proxy, ask).await? } else { self.by_tags(proxy, ask).await? };
        let manifests = parts.iter().map(|part| (part.platform.as_str(), part.manifest.as_str()));
        let digest = pointer(manifests).ok_or_else(|| Error::NotFound { subject: subject(ask.component, ask.tag) })?;
        if (ask.known)(&digest) {
            return Ok((digest, None));
        }
        // Of d8 itself nothing is in the layers that a manifest does not say.
        let by_manifests = *ask.component == Component::D8 && parts.iter().all(|part| part.top.is_some());
        if !ask.deep && !by_manifests {
            return Ok((digest, Some(Facts::not_read())));
        }
        let facts = match self.read_parts(proxy, ask, parts).await {
            Ok(facts) => facts,
            // It is no better next time, and is not downloaded again to see that.
            Err(error) if matches!(error.kind(), ErrorKind::Contract | ErrorKind::Archive | ErrorKind::TooLarge) => {
                Facts::malformed(Vec::new(), &error.to_string(), None)
            }
            Err(error) => return Err(error),
        };
        Ok((digest, Some(facts)))
    }

    /// The parts of a version that has one tag: of the platforms there may be, those that answer.
    async fn whole(&self, proxy: &Proxy, ask: &Ask<'_>) -> Result<Vec<Part>, Error> {
        // The registry's default comes first: its answer proves the generation, without which a platform
        // that is missing would be looked for by the route that knows no platforms.
        let mut platforms: Vec<Platform> = PLATFORMS.iter().filter_map(|platform| platform.parse().ok()).collect();
        let more = ask.platforms.into_iter().flatten().filter(|platform| !PLATFORMS.contains(&platform.as_str()));
        platforms.extend(more.cloned());
        let asked = platforms.len();
        let mut parts = Vec::new();
        for platform in platforms {
            let Some(manifest) = self.layer_digest(proxy, ask.component, ask.tag, &platform).await? else { continue };
            parts.push(Part { platform, any: false, tag: ask.tag.clone(), manifest, top: None });
        }
        // An image that is no index answers every platform with the same.
        if parts.len() == asked && parts.iter().all(|part| part.manifest == parts[0].manifest) {
            parts.truncate(1);
            for part in &mut parts {
                part.any = true;
            }
        }
        Ok(parts)
    }

    /// The parts of a version that has a tag for each platform.
    async fn by_tags(&self, proxy: &Proxy, ask: &Ask<'_>) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        for platform in ask.parts {
            let Ok(tag) = format!("{}-{platform}", ask.tag).parse::<Tag>() else { continue };
            let permit = self.take(1).await;
            let top = match proxy.manifest_if_any(ask.component, &tag).await {
                Err(Error::NotFound { .. }) => continue,
                top => top?,
            };
            drop(permit);
            let manifest = match &top {
                Some(top) => Some(top.digest.clone()),
                None => self.layer_digest(proxy, ask.component, &tag, platform).await?,
            };
            let Some(manifest) = manifest else { continue };
            parts.push(Part { platform: platform.clone(), any: false, tag, manifest, top });
        }
        Ok(parts)
    }

    /// The digest of a platform's manifest; nothing if it is not published for that.
    async fn layer_digest(
        &self,
        proxy: &Proxy,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Digest>, Error> {
        let _permit = self.take(1).await;
        match proxy.layer_digest(component, tag, platform).await {
            Ok(Some(digest)) => Ok(Some(digest)),
            Ok(None) => Err(malformed(component, tag, "the proxy names no digest of its manifest")),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the parts that the record is about.
    async fn read_parts(&self, proxy: &Proxy, ask: &Ask<'_>, mut parts: Vec<Part>) -> Result<Facts, Error> {
        let wanted = |part: &Part| part.any || ask.platforms.is_none_or(|wanted| wanted.contains(&part.platform));
        if parts.iter().any(wanted) {
            parts.retain(wanted);
        } else {
            // For the contract, which is what says whether it fits.
            parts.truncate(1);
        }
        let read = parts.iter().map(|part| self.read_part(proxy, ask.component, part)).collect::<Vec<_>>();
        let read: Vec<(Artifact, Option<Contract>)> = stream::iter(read).buffered(STREAMS).try_collect().await?;
        let (artifacts, contracts): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        let mut contract = contracts.into_iter().flatten().next();
        // An image as for generation 1 has its contract in the layer, whoever serves it; all have the same.
        if let (None, Component::Plugin(_), Some(part), Some(artifact)) =
            (&contract, ask.component, parts.iter().find(|part| part.top.is_some()), artifacts.first())
        {
            let layer = artifact.layer.parse().ok();
            (_, contract) = self.stream(proxy, ask.component, part, layer.as_ref()).await?;
        }
        Ok(Facts { narrow: ask.platforms.is_some(), ..Facts::read(artifacts, contract, None) })
    }

    /// Reads one part: from its manifest if there is one, else from its layer.
    async fn read_part(
        &self,
        proxy: &Proxy,
        component: &Component,
        part: &Part,
    ) -> Result<(Artifact, Option<Contract>), Error> {
        let Some(top) = &part.top else { return self.stream(proxy, component, part, None).await };
        let resolved = proxy.resolve_manifest(component, &part.tag, top).await?;
        let own = resolved.artifacts.into_iter().find(|a| a.platform.as_ref().is_none_or(|of| *of == part.platform));
        let own = own.ok_or_else(|| malformed(component, &part.tag, "it is not for the platform in its tag"))?;
        let own = artifact(d8_rpp::Artifact { platform: Some(part.platform.clone()), ..own });
        Ok((own, resolved.contract))
    }

    /// Reads a layer as it passes.
    async fn stream(
        &self,
        proxy: &Proxy,
        component: &Component,
        part: &Part,
        expect: Option<&Digest>,
    ) -> Result<(Artifact, Option<Contract>), Error> {
        // The semaphore is never closed.
        let _turn = self.streams.acquire().await.ok();
        let _permit = self.take(1).await;
        let read = proxy.inspect(component, &part.tag, &part.platform, expect).await?;
        if read.manifest.as_ref() != Some(&part.manifest) {
            return Err(malformed(component, &part.tag, "its tag was moved while it was read"));
        }
        for warning in &read.warnings {
            tracing::debug!(%component, tag = %part.tag, warning, "odd image");
        }
        tracing::debug!(%component, tag = %part.tag, platform = %part.platform, bytes = read.size, "layer read");
        let artifact = Artifact {
            platform: (!part.any).then(|| part.platform.to_string()),
            manifest: part.manifest.to_string(),
            layer: read.layer.to_string(),
            size_bytes: read.size,
        };
        Ok((artifact, read.contract))
    }
}

fn subject(component: &Component, tag: &Tag) -> ImageReference {
    ImageReference { component: component.clone(), reference: Some(tag.to_string()) }
}

fn malformed(component: &Component, tag: &Tag, why: &str) -> Error {
    Error::Malformed { subject: subject(component, tag), why: why.to_owned() }
}
