//! Resolves a tag for one platform: the contract, and where the layer is. Works with all generations of the
//! proxy.

use std::path::PathBuf;

use d8_crds::{
    records::contract::Contract,
    values::{
        name::{Component, Tag},
        platform::Platform,
    },
};

use super::{
    proxy::Proxy,
    resolve::{Artifact, ResolvedImage},
    spool::SpooledLayer,
};
use crate::{
    error::Error,
    protocol::{generation::Generation, image},
};

/// A version as it is published for one platform.
#[derive(Debug)]
pub struct PlatformImage {
    /// Contract of the plugin. A plugin without one is valid and has no requirements.
    pub contract: Option<Contract>,
    /// Oddities of the image, for people.
    pub warnings: Vec<String>,
    /// Where the layer with the executable is.
    pub layer: LayerLocation,
}

/// Where the layer of a version is.
#[derive(Debug)]
pub enum LayerLocation {
    /// Nowhere: the version is not published for this platform.
    NotPublished {
        /// Why what is published for it cannot be used, if there is something.
        why: Option<String>,
    },
    /// At the proxy, with a digest from a manifest.
    Registry(Artifact),
    /// At the proxy, without a digest (generations 1 and 2).
    RegistryUnverified,
    /// In a file: the contract had to be read from the layer. Without an artifact no manifest confirms the
    /// digest, and the bytes are as trustworthy as the connection.
    Spooled(SpooledLayer, Option<Artifact>),
}

impl Proxy {
    /// Resolves a tag for a platform. `tag` is the listed one, or the version of a tag that is listed with
    /// its platform.
    ///
    /// The contract of a plugin is only in the layer if the proxy has no manifests, or if the image has the
    /// format of generation 1. The layer is then downloaded once, into an unnamed file in the first of the
    /// `spool` directories that takes one, else in the system's temporary directory. The file is gone with
    /// [`SpooledLayer`].
    pub async fn platform_image(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        spool: &[PathBuf],
    ) -> Result<PlatformImage, Error> {
        let error = match self.platform_image_of(component, tag, platform, spool).await {
            Err(error @ Error::NotFound { .. }) => error,
            image => return image,
        };
        match self.platform_tag(component, tag, platform).await? {
            Some(own) => self.platform_image_of(component, &own, platform, spool).await,
            None => Err(error),
        }
    }

    async fn platform_image_of(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        spool: &[PathBuf],
    ) -> Result<PlatformImage, Error> {
        if let Some(top) = self.manifest_if_any(component, tag).await? {
            let resolved = self.resolve_for(component, tag, &top, Some(platform)).await?;
            let mut image = of_manifest(resolved, platform);
            // An image in the format of generation 1 has its contract in the layer, whatever the proxy is.
            if let (Component::Plugin(_), None, (_, Some(_)), LayerLocation::Registry(artifact)) =
                (component, &image.contract, image::split_tag(tag), &image.layer)
            {
                let artifact = artifact.clone();
                let (layer, contract, warnings) =
                    self.spool(component, tag, platform, Some(&artifact.layer), spool).await?;
                image.warnings.extend(warnings);
                return Ok(PlatformImage { contract, layer: LayerLocation::Spooled(layer, Some(artifact)), ..image });
            }
            return Ok(image);
        }
        match component {
            Component::D8 => {
                Ok(PlatformImage { contract: None, warnings: Vec::new(), layer: LayerLocation::RegistryUnverified })
            }
            Component::Plugin(_) => {
                let (layer, contract, warnings) = self.spool(component, tag, platform, None, spool).await?;
                self.transport.generations().record_missing(Generation::Three);
                Ok(PlatformImage { contract, warnings, layer: LayerLocation::Spooled(layer, None) })
            }
        }
    }
}

fn of_manifest(resolved: ResolvedImage, platform: &Platform) -> PlatformImage {
    let ResolvedImage { artifacts, left_out, contract, mut warnings, .. } = resolved;
    let is_for = |of: &Option<Platform>| of.as_ref().is_none_or(|of| of == platform);
    let layer = if let Some(artifact) = artifacts.into_iter().find(|artifact| is_for(&artifact.platform)) {
        let own = left_out.into_iter().filter(|left_out| left_out.platform.as_ref() == Some(platform));
        warnings.extend(own.map(|left_out| left_out.why));
        LayerLocation::Registry(artifact)
    } else {
        let own = left_out.into_iter().find(|left_out| is_for(&left_out.platform));
        LayerLocation::NotPublished { why: own.map(|left_out| left_out.why) }
    };
    PlatformImage { contract, warnings, layer }
}
