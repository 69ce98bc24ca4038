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
    error::Error,
    fetch::Fetched,
    generation::Generation,
    image,
    proxy::Proxy,
    resolve::{Artifact, Resolved},
};

/// What a version offers to one platform.
#[derive(Debug)]
pub struct Offer {
    /// The plugin's contract; none is legal: nothing to enforce.
    pub contract: Option<Contract>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Where a version's bytes are.
#[derive(Debug)]
pub enum Bytes {
    /// It is not published for this platform.
    Absent,
    /// At the proxy, under this digest.
    Named(Artifact),
    /// At the proxy, which vouches for no digest (generations 1 and 2).
    Unnamed,
    /// Here: the contract had to be read out of them. Without an artifact nobody vouches for their digest,
    /// and they are as trustworthy as the connection.
    Fetched(Fetched, Option<Artifact>),
}

impl Proxy {
    /// Reads what a version offers to a platform. `tag` is the one that is listed; of one that is listed
    /// with its platform only, the name without it will do.
    ///
    /// A proxy without manifests, or an image as for generation 1, has a plugin's contract in the layer only:
    /// it is downloaded, once, into
    /// an unnamed file in the first of the `spool` folders that takes it, else in the system's temporary
    /// one, and is gone with [`Fetched`].
    pub async fn offer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        spool: &[PathBuf],
    ) -> Result<Offer, Error> {
        let error = match self.offer_of(component, tag, platform, spool).await {
            Err(error @ Error::NotFound { .. }) => error,
            offer => return offer,
        };
        match self.own_tag(component, tag, platform).await? {
            Some(own) => self.offer_of(component, &own, platform, spool).await,
            None => Err(error),
        }
    }

    async fn offer_of(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        spool: &[PathBuf],
    ) -> Result<Offer, Error> {
        if let Some(top) = self.manifest_if_any(component, tag).await? {
            let resolved = self.resolve_for(component, tag, &top, Some(platform)).await?;
            let mut offer = of_manifest(resolved, platform);
            // An image as for generation 1 has its contract in the layer, whoever serves it.
            if let (Component::Plugin(_), None, (_, Some(_)), Bytes::Named(artifact)) =
                (component, &offer.contract, image::split_tag(tag), &offer.bytes)
            {
                let artifact = artifact.clone();
                let (fetched, contract, odd) =
                    self.fetch(component, tag, platform, Some(&artifact.layer), spool).await?;
                offer.warnings.extend(odd);
                return Ok(Offer { contract, bytes: Bytes::Fetched(fetched, Some(artifact)), ..offer });
            }
            return Ok(offer);
        }
        match component {
            Component::D8 => Ok(Offer { contract: None, warnings: Vec::new(), bytes: Bytes::Unnamed }),
            Component::Plugin(_) => {
                let (fetched, contract, warnings) = self.fetch(component, tag, platform, None, spool).await?;
                self.transport.memory().rule_out(Generation::Three);
                Ok(Offer { contract, warnings, bytes: Bytes::Fetched(fetched, None) })
            }
        }
    }
}

fn of_manifest(resolved: Resolved, platform: &Platform) -> Offer {
    let Resolved { artifacts, contract, warnings, .. } = resolved;
    let own = |artifact: &Artifact| artifact.platform.as_ref().is_none_or(|of| of == platform);
    let bytes = artifacts.into_iter().find(own).map_or(Bytes::Absent, Bytes::Named);
    Offer { contract, warnings, bytes }
}
