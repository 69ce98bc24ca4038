//! A download: the compressed layer on its way, hashed and counted as it passes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use d8_crds::values::{
    digest::Digest,
    name::{Component, Tag},
    platform::Platform,
};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use http::{HeaderMap, HeaderName, header::ETAG};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncBufRead, time::Sleep};
use tokio_util::io::StreamReader;

use crate::{
    client::{
        proxy::Proxy,
        transport::{Question, content_length},
    },
    error::{Error, ImageReference, TimeoutPhase},
    protocol::{generation::Generation, image},
    text::error_chain,
};

/// The largest layer accepted, in bytes as stored.
pub const MAX_LAYER: u64 = 1 << 30;

const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A layer whose headers have arrived. Read it to its end: only then are the bytes what they should be.
#[derive(Debug)]
pub struct Download {
    /// The length announced, in bytes; what comes is checked against it.
    pub size: Option<u64>,
    /// The digest of the platform's manifest, as the proxy names it; not verified by itself.
    pub manifest: Option<Digest>,
    /// The digest the whole layer must have; none if the caller knew none.
    pub expected: Option<Digest>,
    body: Body,
}

impl Download {
    /// The bytes.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// The bytes, to be read; [`Error::from_reader`] gives back the error of a failed read.
    pub fn into_reader(self) -> impl AsyncBufRead + Send + Unpin + 'static {
        StreamReader::new(self.body.map(|chunk| chunk.map_err(io::Error::other)))
    }
}

/// The bytes of a layer. Yields an error, and then nothing, as soon as the length can't be right any
/// more, when nothing comes for too long, and at the end unless length and digest are as expected.
pub struct Body {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    check: Check,
    idle: Duration,
    deadline: Pin<Box<Sleep>>,
    host: String,
    done: bool,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("host", &self.host).field("got", &self.check.got).finish_non_exhaustive()
    }
}

/// What the bytes are held against.
struct Check {
    subject: ImageReference,
    size: Option<u64>,
    expected: Option<Digest>,
    got: u64,
    hash: Sha256,
}

impl Check {
    fn pass(&mut self, chunk: &Bytes) -> Result<(), Error> {
        self.got += chunk.len() as u64;
        if let Some(expected) = self.size.filter(|size| self.got > *size) {
            return Err(Error::Length { subject: self.subject.clone(), expected, got: self.got });
        }
        if self.got > MAX_LAYER {
            return Err(Error::TooLarge { subject: self.subject.clone(), what: "the layer", limit: MAX_LAYER });
        }
        self.hash.update(chunk);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(expected) = self.size.filter(|size| *size != self.got) {
            return Err(Error::Length { subject: self.subject.clone(), expected, got: self.got });
        }
        let got = Digest::from_sha256(std::mem::take(&mut self.hash).finalize().into());
        match &self.expected {
            Some(expected) if *expected != got => {
                Err(Error::Digest { subject: self.subject.clone(), expected: expected.clone(), got })
            }
            _ => Ok(()),
        }
    }

    /// What a connection that broke means: with a known length, how much is missing.
    fn broken(&self, host: &str, error: reqwest::Error) -> Error {
        match self.size {
            Some(expected) => Error::Length { subject: self.subject.clone(), expected, got: self.got },
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
            return Poll::Ready(Some(Err(Error::Timeout { host, waiting: TimeoutPhase::Data, after: this.idle })));
        };
        this.deadline.as_mut().reset(tokio::time::Instant::now() + this.idle);
        let result = match next {
            Some(Ok(chunk)) => this.check.pass(&chunk).map(|()| Some(chunk)),
            Some(Err(error)) => Err(this.check.broken(&this.host, error)),
            None => this.check.finish().map(|()| None),
        };
        this.done = !matches!(result, Ok(Some(_)));
        Poll::Ready(result.transpose())
    }
}

impl Proxy {
    /// Opens the layer of a platform, by the newest route that the proxy has. `tag` is the one that is
    /// listed, with its platform if it has one. `expect` is the digest the layer must have, from a record
    /// or from [`Proxy::resolve`]; without it only the length is checked, and what came is as trustworthy
    /// as the connection.
    ///
    /// Tried again like any request until the headers are there; a body that breaks is the caller's to
    /// open anew.
    pub async fn download(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        expect: Option<&Digest>,
    ) -> Result<Download, Error> {
        let subject = ImageReference::tag(component, tag);
        let (response, host) = self.layer(component, tag, platform, false).await?;
        let size = content_length(response.headers());
        let malformed = |why: &str| Error::Malformed { subject: subject.clone(), why: why.to_owned() };
        match size {
            Some(size) if size > MAX_LAYER => {
                return Err(Error::TooLarge { subject, what: "the layer", limit: MAX_LAYER });
            }
            // Neither a length nor a digest: a body cut short could not be told from a whole one.
            None if expect.is_none() => return Err(malformed("the proxy announced no length for the layer")),
            _ => {}
        }
        let manifest = manifest_digest(response.headers()).map_err(|why| malformed(&why))?;
        let idle = self.transport.timeouts().idle;
        let check = Check { subject, size, expected: expect.cloned(), got: 0, hash: Sha256::new() };
        let body = Body {
            chunks: response.bytes_stream().boxed(),
            check,
            idle,
            deadline: Box::pin(tokio::time::sleep(idle)),
            host,
            done: false,
        };
        Ok(Download { size, manifest, expected: expect.cloned(), body })
    }

    /// What tells one content of a tag from another: the digest it points at (generation 3), else that
    /// of the platform's manifest as the proxy names it; nothing if it names none.
    pub async fn digest(&self, component: &Component, tag: &Tag, platform: &Platform) -> Result<Option<Digest>, Error> {
        if let Some(manifest) = self.manifest_if_any(component, tag).await? {
            return Ok(Some(manifest.digest));
        }
        self.layer_digest(component, tag, platform).await
    }

    /// The digest of a platform's manifest as the route of its layer names it; nothing if that names none.
    /// Only for a tag that is listed and has no manifest here ([`Self::manifest_if_any`]).
    pub async fn layer_digest(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Digest>, Error> {
        let (response, _) = self.layer(component, tag, platform, true).await?;
        self.transport.memory().rule_out(Generation::Three);
        let subject = ImageReference::tag(component, tag);
        manifest_digest(response.headers()).map_err(|why| Error::Malformed { subject, why })
    }

    /// A platform's own tag of a version that is not listed under the version's name but under one name for
    /// each platform (generation 1).
    pub(crate) async fn own_tag(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
    ) -> Result<Option<Tag>, Error> {
        let listed = match self.listed(component).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            listed => listed?,
        };
        let own = image::old_tags(tag, platform).into_iter().next();
        Ok(own.filter(|own| own != tag && listed.contains(own.as_str()) && !listed.contains(tag.as_str())))
    }

    /// Asks for a layer. Only where the tag is listed and a newer route has nothing, the older ones are
    /// asked; whatever else a route answers, stands.
    async fn layer(
        &self,
        component: &Component,
        tag: &Tag,
        platform: &Platform,
        head: bool,
    ) -> Result<(reqwest::Response, String), Error> {
        let subject = ImageReference::tag(component, tag);
        let ask = async |path: String| {
            let question = Question { path: &path, accept: "*/*", subject: &subject, head };
            self.transport.open(question).await
        };
        if !self.transport.memory().lacks(Generation::Two) {
            match ask(image::layer_path(component, tag, platform)).await {
                Ok(answer) => {
                    self.transport.memory().prove(Generation::Two);
                    return Ok(answer);
                }
                Err(error @ Error::NotFound { .. }) => {
                    if let Some(own) = self.own_tag(component, tag, platform).await? {
                        match ask(image::layer_path(component, &own, platform)).await {
                            Err(Error::NotFound { .. }) => {}
                            Err(error) => return Err(error),
                            Ok(answer) => {
                                self.transport.memory().prove(Generation::Two);
                                return Ok(answer);
                            }
                        }
                    }
                    if self.transport.memory().has(Generation::Two) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let not_found = || Error::NotFound { subject: subject.clone() };
        let listed = self.listed(component).await.map_err(|error| match error {
            Error::NotFound { .. } => not_found(),
            error => error,
        })?;
        for old in image::old_tags(tag, platform).into_iter().filter(|old| listed.contains(old.as_str())) {
            match ask(image::old_layer_path(component, &old)).await {
                Ok(answer) => {
                    self.transport.memory().prove(Generation::One);
                    self.transport.memory().rule_out(Generation::Two);
                    return Ok(answer);
                }
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(not_found())
    }
}

/// The manifest's digest out of `Docker-Content-Digest`, else out of `ETag`.
fn manifest_digest(headers: &HeaderMap) -> Result<Option<Digest>, String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(named) = text(DOCKER_CONTENT_DIGEST) {
        return named.parse().map(Some).map_err(|error| format!("header Docker-Content-Digest: {error}"));
    }
    Ok(text(ETAG).and_then(|tag| tag.trim_matches('"').parse().ok()))
}
