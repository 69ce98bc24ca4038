//! From a layout into a registry: blobs first, then manifests, what has a name last.

use std::{collections::BTreeSet, fs::File, io, sync::Arc};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
};
use futures::{Stream, stream};
use http::HeaderValue;
use oci_client::{RegistryOperation, errors::OciDistributionError};

use crate::{
    client::MAX_MANIFEST,
    oci::{Descriptor, Document, layout::Layout},
    registry::{Access, RegistryError, RegistryOptions, Session},
};

/// Bytes sent at a time.
const CHUNK: usize = 1 << 20;

/// Sends what is named, and all it leads to. What the registry has already is not sent again.
pub(super) fn push(
    registry: &RegistryOptions,
    layout: &Layout,
    component: &Component,
    named: &[(Tag, Descriptor)],
) -> Result<(), RegistryError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let access = Access::new(registry.clone())?;
    runtime.block_on(async {
        let session = access.session()?;
        let latest = access.address().reference(component, "latest");
        // The token is asked for by the first question, and then is one to pull: it must be one to push.
        let opened = session.client.auth(&latest, &session.auth, RegistryOperation::Push).await;
        opened.map_err(|error| RegistryError::from(&error))?;
        let pusher = Pusher { access: &access, session, layout, component };
        for (tag, descriptor) in named {
            pusher.image(tag.as_str(), descriptor).await?;
        }
        Ok(())
    })
}

struct Pusher<'a> {
    access: &'a Access,
    session: Session,
    layout: &'a Layout,
    component: &'a Component,
}

impl Pusher<'_> {
    /// A manifest or index under a tag, after all it leads to.
    async fn image(&self, tag: &str, descriptor: &Descriptor) -> Result<(), RegistryError> {
        let (bytes, document) = self.document(descriptor)?;
        for child in document.manifests.iter().flatten() {
            let (bytes, document) = self.document(child)?;
            self.blobs(&document).await?;
            self.manifest(&child.digest, child, bytes).await?;
        }
        self.blobs(&document).await?;
        self.manifest(tag, descriptor, bytes).await
    }

    fn document(&self, descriptor: &Descriptor) -> Result<(Vec<u8>, Document), RegistryError> {
        let digest = descriptor.digest.parse().map_err(|error| failed(&error))?;
        let bytes = self.layout.read(&digest, MAX_MANIFEST).map_err(|error| failed(&error))?;
        let document = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
        Ok((bytes, document))
    }

    async fn blobs(&self, document: &Document) -> Result<(), RegistryError> {
        let blobs = document.config.iter().chain(document.layers.iter().flatten());
        let digests: BTreeSet<&str> = blobs.map(|blob| blob.digest.as_str()).collect();
        for digest in digests {
            let reference = self.access.address().reference(self.component, digest);
            if self.has(digest).await? {
                continue;
            }
            let parsed: Digest = digest.parse().map_err(|error| failed(&error))?;
            let file = File::open(self.layout.blob(&parsed)).map_err(|error| failed(&error))?;
            let size = file.metadata().map_err(|error| failed(&error))?.len();
            let pushed = self.session.client.push_blob_stream(&reference, read(file, size), digest, Some(size)).await;
            match pushed {
                Ok(_) => {}
                // Some registries do not say where it is now, though they must.
                Err(OciDistributionError::RegistryNoLocationError) if self.has(digest).await? => {}
                Err(error) => return Err(RegistryError::from(&error)),
            }
        }
        Ok(())
    }

    /// Whether the registry has a blob already.
    async fn has(&self, digest: &str) -> Result<bool, RegistryError> {
        let reference = self.access.address().reference(self.component, digest);
        let there = self.session.client.blob_exists(&reference, digest).await;
        there.map_err(|error| RegistryError::from(&error))
    }

    async fn manifest(&self, reference: &str, descriptor: &Descriptor, bytes: Vec<u8>) -> Result<(), RegistryError> {
        // A digest as if it were a tag: the library takes nothing else where the registry does not say where
        // the manifest is now.
        let named = self.access.address().as_tag(self.component, reference);
        let kind = HeaderValue::try_from(descriptor.media_type.as_str()).map_err(|error| failed(&error))?;
        let pushed = self.session.client.push_manifest_raw(&named, bytes, kind).await;
        pushed.map_err(|error| RegistryError::from(&error)).map(drop)
    }
}

fn failed(why: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Failed(why.to_string())
}

fn read(file: File, size: u64) -> impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static {
    stream::try_unfold((Arc::new(file), 0), move |(file, from)| async move {
        if from == size {
            return Ok(None);
        }
        let length = usize::try_from(size - from).map_or(CHUNK, |left| left.min(CHUNK));
        let reader = Arc::clone(&file);
        let chunk = tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt as _;
            let mut chunk = vec![0; length];
            reader.read_exact_at(&mut chunk, from).map(|()| chunk)
        });
        let chunk = chunk.await.map_err(io::Error::other)??;
        Ok(Some((Bytes::from(chunk), (file, from + length as u64))))
    })
}
