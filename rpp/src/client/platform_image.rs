//! What a version offers to one platform: its contract and the way to its bytes, whatever generation
//! the proxy is of.

use std::path::PathBuf;

use d8_crds::{
    records::contract::Contract,
    values::{
        name::{Component, Tag},
        platform::Platform,
    },
};

use crate::{
    client::{
        proxy::Proxy,
        resolve::{Artifact, ResolvedImage},
        spool::SpooledLayer,
    },
    error::Error,
    protocol::{generation::Generation, image},
};

/// What a version offers to one platform.
#[derive(Debug)]
pub struct PlatformImage {
    /// The plugin's contract; none is legal: nothing to enforce.
    pub contract: Option<Contract>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
    /// Its bytes.
    pub layer: LayerLocation,
}

/// Where a version's bytes are.
#[derive(Debug)]
pub enum LayerLocation {
    /// It is not published for this platform.
    NotPublished,
    /// At the proxy, under this digest.
    Registry(Artifact),
    /// At the proxy, which vouches for no digest (generations 1 and 2).
    RegistryUnverified,
    /// Here: the contract had to be read out of them. Without an artifact nobody vouches for their digest,
    /// and they are as trustworthy as the connection.
    Spooled(SpooledLayer, Option<Artifact>),
}

impl Proxy {
    /// Reads what a version offers to a platform. `tag` is the one that is listed; of one that is listed
    /// with its platform only, the name without it will do.
    ///
    /// A proxy without manifests, or an image as for generation 1, has a plugin's contract in the layer only:
    /// it is downloaded, once, into
    /// an unnamed file in the first of the `spool` folders that takes it, else in the system's temporary
    /// one, and is gone with [`SpooledLayer`].
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
        match self.own_tag(component, tag, platform).await? {
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
            // An image as for generation 1 has its contract in the layer, whoever serves it.
            if let (Component::Plugin(_), None, (_, Some(_)), LayerLocation::Registry(artifact)) =
                (component, &image.contract, image::split_tag(tag), &image.layer)
            {
                let artifact = artifact.clone();
                let (fetched, contract, odd) =
                    self.fetch(component, tag, platform, Some(&artifact.layer), spool).await?;
                image.warnings.extend(odd);
                return Ok(PlatformImage { contract, layer: LayerLocation::Spooled(fetched, Some(artifact)), ..image });
            }
            return Ok(image);
        }
        match component {
            Component::D8 => {
                Ok(PlatformImage { contract: None, warnings: Vec::new(), layer: LayerLocation::RegistryUnverified })
            }
            Component::Plugin(_) => {
                let (fetched, contract, warnings) = self.fetch(component, tag, platform, None, spool).await?;
                self.transport.memory().rule_out(Generation::Three);
                Ok(PlatformImage { contract, warnings, layer: LayerLocation::Spooled(fetched, None) })
            }
        }
    }
}

fn of_manifest(resolved: ResolvedImage, platform: &Platform) -> PlatformImage {
    let ResolvedImage { artifacts, contract, warnings, .. } = resolved;
    let own = |artifact: &Artifact| artifact.platform.as_ref().is_none_or(|of| of == platform);
    let layer = artifacts.into_iter().find(own).map_or(LayerLocation::NotPublished, LayerLocation::Registry);
    PlatformImage { contract, warnings, layer }
}
