//! Pushes images from a layout to a registry: blobs first, then manifests, tags last.

use std::{collections::BTreeSet, sync::Arc};

use d8_crds::values::{
    digest::Digest,
    limits::MANIFEST_BYTES,
    name::{Component, Tag},
};
use futures::TryStreamExt as _;
use http::HeaderValue;
use oci_client::errors::OciDistributionError;
use tokio::sync::Mutex;

use crate::{
    file,
    oci::{Descriptor, Document, MANIFEST_TYPES, layout::Layout},
    registry::{PushClient, RegistryAccess, RegistryError, RegistryOptions},
    text::json_error,
};

/// Bytes in one chunk of an upload.
const CHUNK: usize = 1 << 20;

/// Pushes the images and all blobs that they refer to. Skips blobs that the registry already has. Returns for each image
/// the digest that its tag had before.
pub(super) fn push(
    registry: &RegistryOptions,
    layout: &Layout,
    component: &Component,
    images: &[(Tag, Descriptor)],
) -> Result<Vec<Option<String>>, RegistryError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let access = RegistryAccess::new(registry.clone())?;
    runtime.block_on(async {
        let client = Mutex::new(access.push_client(component).await?);
        let pusher = Pusher { access: &access, client, layout, component };
        let mut before = Vec::with_capacity(images.len());
        for (tag, descriptor) in images {
            before.push(pusher.digest_of_tag(tag).await);
            pusher.push_image(tag.as_str(), descriptor).await?;
        }
        Ok(before)
    })
}

struct Pusher<'a> {
    access: &'a RegistryAccess,
    client: Mutex<PushClient>,
    layout: &'a Layout,
    component: &'a Component,
}

impl Pusher<'_> {
    /// Returns the client, with a token that is valid for the next request.
    async fn client(&self) -> Result<oci_client::Client, RegistryError> {
        let mut current = self.client.lock().await;
        if let Some(client) = current.get() {
            return Ok(client.clone());
        }
        *current = self.access.push_client(self.component).await?;
        current.get().cloned().ok_or_else(|| failed(&"its token expired before it was used"))
    }

    /// Returns the digest of the manifest that a tag points to. A registry that does not say it is no reason not to
    /// push.
    async fn digest_of_tag(&self, tag: &Tag) -> Option<String> {
        let read = async {
            let url = self.access.url(self.component, &format!("manifests/{tag}"))?;
            let what = format!("the manifest of {} {tag}", self.component);
            self.access.get(self.component, &url, MANIFEST_TYPES, &what, MANIFEST_BYTES).await
        };
        match read.await {
            Ok(manifest) => Some(Digest::of(&manifest.body).to_string()),
            Err(RegistryError::NotFound) => None,
            Err(error) => {
                tracing::warn!(%tag, %error, "cannot read whether the tag points to another image");
                None
            }
        }
    }

    /// Pushes a manifest or an index under a tag, after everything that it refers to.
    async fn push_image(&self, tag: &str, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let (bytes, document) = self.read_document(descriptor)?;
        for child in document.manifests.iter().flatten() {
            let (bytes, document) = self.read_document(child)?;
            self.push_blobs(&document).await?;
            self.push_manifest(&child.digest, child, bytes).await?;
        }
        self.push_blobs(&document).await?;
        self.push_manifest(tag, descriptor, bytes).await
    }

    fn read_document(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, Document), RegistryError> {
        let digest = descriptor.digest.parse().map_err(|error| failed(&error))?;
        let bytes = self.layout.read(&digest, MANIFEST_BYTES).map_err(|error| failed(&error))?;
        let document = serde_json::from_slice(&bytes).map_err(|error| failed(&json_error(&error)))?;
        Ok((bytes, document))
    }

    async fn push_blobs(&self, document: &Document) -> Result<(), RegistryError> {
        let blobs = document.config.iter().chain(document.layers.iter().flatten());
        let digests: BTreeSet<&str> = blobs.map(|blob| blob.digest.as_str()).collect();
        for digest in digests {
            let reference = self.access.address().reference(self.component, digest);
            if self.has_blob(digest).await? {
                continue;
            }
            let parsed: Digest = digest.parse().map_err(|error| failed(&error))?;
            let file = self.layout.open_blob(&parsed).map_err(|error| failed(&error))?;
            let size = file.metadata().map_err(|error| failed(&error))?.len();
            let bytes = file::stream(Arc::new(file), size, CHUNK).map_err(OciDistributionError::from);
            let pushed = self.client().await?.push_blob_stream(&reference, bytes, digest, Some(size)).await;
            match pushed {
                Ok(_) => {}
                // Some registries omit the blob's new location, although the spec requires it.
                Err(OciDistributionError::RegistryNoLocationError) if self.has_blob(digest).await? => {}
                Err(error) => return Err(RegistryError::from(&error)),
            }
        }
        Ok(())
    }

    async fn has_blob(&self, digest: &str) -> Result<bool, RegistryError> {
        let reference = self.access.address().reference(self.component, digest);
        let exists = self.client().await?.blob_exists(&reference, digest).await;
        exists.map_err(|error| RegistryError::from(&error))
    }

    async fn push_manifest(
        &self,
        reference: &str,
        descriptor: &Descriptor,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        // A digest takes the place of the tag: only with a tag the client accepts a registry that omits the
        // location of the manifest.
        let reference = self.access.address().tag_reference(self.component, reference);
        let media_type = HeaderValue::try_from(descriptor.media_type.as_str()).map_err(|error| failed(&error))?;
        let pushed = self.client().await?.push_manifest_raw(&reference, bytes, media_type).await;
        pushed.map_err(|error| RegistryError::from(&error)).map(drop)
    }
}

fn failed(why: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Failed(why.to_string())
}
