//! Downloads a layer: the compressed bytes, hashed and counted as they arrive.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    limits::LAYER_BYTES,
    name::{Component, Tag},
    platform::Platform,
};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderName, header::ETAG};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncBufRead, time::Sleep};
use tokio_util::io::StreamReader;

use super::{
    proxy::Proxy,
    transport::{Request, content_length},
};
use crate::{
    content::{BLOCK, Content},
    error::{Error, ImageReference, TimeoutPhase},
    protocol::{generation::Generation, image},
    text::error_chain,
};

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A layer whose headers have arrived. Its bytes are verified only once the body was read to its end.
#[derive(Debug)]
pub struct Download {
    /// Announced length, in bytes. The body is checked against it.
    pub size: Option<u64>,
    /// Digest of the platform's manifest by the response's header; not verified by itself.
    pub manifest: Option<Digest>,
    /// Checksum of the layer, set once the body was read to its end.
    pub checksum: LayerChecksum,
    body: Body,
}

impl Download {
    /// The bytes, as a stream.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The bytes, as a reader. [`Error::from_reader`] returns the error of a failed read.
    pub fn into_reader(self) -> impl AsyncBufRead + Send + Unpin + 'static {
        StreamReader::new(self.body.map(|chunk| chunk.map_err(io::Error::other)))
    }
}

/// SHA-256 and size of a compressed layer, set once the layer was read to its end.
#[derive(Debug, Clone, Default)]
pub struct LayerChecksum(Arc<OnceLock<(Digest, u64)>>);

impl LayerChecksum {
    /// The checksum of a layer that was read already.
    pub fn known(digest: Digest, size: u64) -> Self {
        Self(Arc::new(OnceLock::from((digest, size))))
    }

    /// SHA-256 of the bytes as the registry stores them.
    pub fn digest(&self) -> Option<&Digest> {
        self.0.get().map(|(digest, _)| digest)
    }

    /// Size in bytes, compressed.
    pub fn size(&self) -> Option<u64> {
        self.0.get().map(|(_, size)| *size)
    }
}

/// The bytes of a layer. Ends with an error as soon as the length is wrong, if no bytes arrive for too long,
/// and at the end if length or digest are not the expected ones.
pub struct Body {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    verifier: Verifier,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    host: String,
    done: bool,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("host", &self.host).field("got", &self.verifier.got).finish_non_exhaustive()
    }
}

/// Compares the bytes with the expected length and digest.
struct Verifier {
    reference: ImageReference,
    size: Option<u64>,
    expected: Option<Digest>,
    got: u64,
    hash: Sha256,
    checksum: LayerChecksum,
}

impl Verifier {
    fn add(&mut self, chunk: &Bytes) -> Result<(), Error> {
        self.got += chunk.len() as u64;
        if let Some(expected) = self.size.filter(|size| self.got > *size) {
            return Err(Error::Length { reference: self.reference.clone(), expected, got: self.got });
        }
        if self.got > LAYER_BYTES {
            return Err(Error::TooLarge { reference: self.reference.clone(), what: "the layer", limit: LAYER_BYTES });
        }
        self.hash.update(chunk);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(expected) = self.size.filter(|size| *size != self.got) {
            return Err(Error::Length { reference: self.reference.clone(), expected, got: self.got });
        }
        let got = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
        if let Some(expected) = self.expected.as_ref().filter(|expected| **expected != got) {
            return Err(Error::Digest { reference: self.reference.clone(), expected: expected.clone(), got });
        }
        let _ = self.checksum.0.set((got, self.got));
        Ok(())
    }

    /// The error of a connection that broke. With a known length it says how much is missing.
    fn broken(&self, host: &str, error: reqwest::Error) -> Error {
        match self.size {
            Some(expected) => Error::Length { reference: self.reference.clone(), expected, got: self.got },
            None => Error::Unreachable { host: host.to_owned(), why: error_chain(&error.without_url()) },
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        let Poll::Ready(next) = this.chunks.poll_next_unpin(cx) else {
            ready!(this.deadline.as_mut().poll(cx));
            this.done = true;
            let host = this.host.clone();
            return Poll::Ready(Some(Err(Error::Timeout { host, phase: TimeoutPhase::Body, after: this.idle })));
        };
        this.deadline.as_mut().reset(tokio::time::Instant::now() + this.idle);
        let result = match next {
            Some(Ok(chunk)) => this.verifier.add(&chunk).map(|()| Some(chunk)),
            Some(Err(error)) => Err(this.verifier.broken(&this.host, error)),
            None => this.verifier.finish().map(|()| None),
        };
        this.done = !matches!(result, Ok(Some(_)));
        Poll::Ready(result.transpose())
    }
}

impl Proxy {
    /// Opens the layer of a tag for a platform, on the newest route that the proxy has. `tag` is the listed
    /// one, with its platform if it has one. `expected` is the digest of the layer, from a record or from
    /// [`Proxy::resolve`]. Without it only the length is checked, and the bytes are as trustworthy as the
    /// connection.
    ///
    /// Retries until the headers have arrived. The caller retries a body that breaks.
    pub async fn download(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expected: Option<&Digest>,
    ) -> Result<Download, Error> {
        let reference = ImageReference::of_tag(component, tag);
        let (response, host) = self.open_layer(component, tag, platform, false).await?;
        let size = content_length(response.headers());
        let malformed = |why: &str| Error::Malformed { reference: reference.clone(), why: why.to_owned() };
        match size {
            Some(size) if size > LAYER_BYTES => {
                return Err(Error::TooLarge { reference, what: "the layer", limit: LAYER_BYTES });
            }
            // Without a length and a digest a truncated body would look complete.
            None if expected.is_none() => return Err(malformed("the proxy announced no length for the layer")),
            _ => {}
        }
        let manifest = manifest_digest(response.headers()).map_err(|why| malformed(&why))?;
        let (idle, checksum) = (self.transport.timeouts().idle, LayerChecksum::default());
        let verifier = Verifier {
            reference,
            size,
            expected: expected.cloned(),
            got: 0,
            hash: Sha256::new(),
            checksum: checksum.clone(),
        };
        let body = Body {
            chunks: response.bytes_stream().boxed(),
            verifier,
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
            host,
            done: false,
        };
        Ok(Download { size, manifest, checksum, body })
    }

    /// Recognizes the layer of a tag for a platform by its first bytes. Reads no more of it than one block of a tar.
    pub(crate) async fn layer_content(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Content, Error> {
        let (response, host) = self.open_layer(component, tag, platform, false).await?;
        let mut chunks = response.bytes_stream();
        let mut head = Vec::new();
        let idle = self.transport.timeouts().idle;
        while head.len() < BLOCK {
            match tokio::time::timeout(idle, chunks.next()).await {
                Err(_) => return Err(Error::Timeout { host, phase: TimeoutPhase::Body, after: idle }),
                Ok(Some(Ok(chunk))) => head.extend_from_slice(&chunk[..chunk.len().min(BLOCK)]),
                Ok(Some(Err(error))) => {
                    return Err(Error::Unreachable { host, why: error_chain(&error.without_url()) });
                }
                Ok(None) => break,
            }
        }
        Ok(Content::of(&head))
    }

    /// Returns a digest that changes with the content of a tag: the digest that the tag points to (generation
    /// 3), else the digest of the platform's manifest by the header of its layer. `None` if there is neither.
    pub async fn digest(&self, component: &Component, tag: &Tag, platform: &Platform) -> Result<Option<Digest>, Error> {
        if let Some(manifest) = self.manifest_if_any(component, tag).await? {
            return Ok(Some(manifest.digest));
        }
        self.layer_digest(component, tag, platform).await
    }

    /// Returns the digest of a platform's manifest by the header of its layer, `None` without such a header.
    /// Only for a tag that is listed and has no manifest ([`Self::manifest_if_any`]).
    pub async fn layer_digest(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Digest>, Error> {
        let (response, _) = self.open_layer(component, tag, platform, true).await?;
        self.transport.generations().record_missing(Generation::Three);
        let reference = ImageReference::of_tag(component, tag);
        manifest_digest(response.headers()).map_err(|why| Error::Malformed { reference, why })
    }

    /// Returns the platform's own tag of a version that is listed only with platforms (generation 1).
    pub(crate) async fn platform_tag(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Tag>, Error> {
        let listed = match self.cached_tags(component).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            listed => listed?,
        };
        let own = image::generation_1_tags(tag, platform).into_iter().next();
        Ok(own.filter(|own| own != tag && listed.contains(own.as_str()) && !listed.contains(tag.as_str())))
    }

    /// Requests a layer on the newest route. Only if the tag is listed and that route has nothing, the older
    /// routes are tried. Other responses are final.
    async fn open_layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        head: bool,
    ) -> Result<(reqwest::Response, String), Error> {
        let reference = ImageReference::of_tag(component, tag);
        let not_found = || Error::NotFound { reference: reference.clone() };
        if !self.transport.generations().lacks(Generation::Two) {
            let mut found = self.request_layer(&image::layer_path(component, tag, platform), &reference, head).await?;
            if found.is_none()
                && let Some(own) = self.platform_tag(component, tag, platform).await?
            {
                found = self.request_layer(&image::layer_path(component, &own, platform), &reference, head).await?;
            }
            if let Some(found) = found {
                self.transport.generations().record_supported(Generation::Two);
                return Ok(found);
            }
            if self.transport.generations().supports(Generation::Two) {
                return Err(not_found());
            }
        }
        let listed = self.cached_tags(component).await.map_err(|error| match error {
            Error::NotFound { .. } => not_found(),
            error => error,
        })?;
        let candidates = image::generation_1_tags(tag, platform);
        for candidate in candidates.iter().filter(|candidate| listed.contains(candidate.as_str())) {
            let path = image::generation_1_layer_path(component, candidate);
            if let Some(found) = self.request_layer(&path, &reference, head).await? {
                self.transport.generations().record_supported(Generation::One);
                self.transport.generations().record_missing(Generation::Two);
                return Ok(found);
            }
        }
        Err(not_found())
    }

    /// Requests a path with a layer, `None` on 404.
    async fn request_layer(
        &self,
        path: &str,
        reference: &ImageReference,
        head: bool,
    ) -> Result<Option<(reqwest::Response, String)>, Error> {
        match self.transport.open(Request { path, accept: "*/*", reference, head }).await {
            Ok(response) => Ok(Some(response)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns the digest of the manifest by header `Docker-Content-Digest`, else by `ETag`.
fn manifest_digest(headers: &HeaderMap) -> Result<Option<Digest>, String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(digest) = text(DOCKER_CONTENT_DIGEST) {
        return digest.parse().map(Some).map_err(|error| format!("header Docker-Content-Digest: {error}"));
    }
    Ok(text(ETAG).and_then(|tag| tag.trim_matches('"').parse().ok()))
}
