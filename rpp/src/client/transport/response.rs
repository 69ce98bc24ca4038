//! Reads response bodies, and turns failed responses into errors.

use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use http::header::LOCATION;
use reqwest::Response;
use tokio::time::timeout;

use super::{EndpointClient, FullResponse, Request, Transport, content_length};
use crate::{
    certificate::{self, CertificateProblem},
    client::endpoint::Trust,
    error::{Error, ImageReference, TimeoutPhase},
    text::{MAX_MESSAGE, error_chain, one_line},
};

/// Limit for the next bytes of an error's body. The message is a courtesy and not worth a longer wait.
const MESSAGE_IDLE: Duration = Duration::from_secs(5);

impl Transport {
    /// Reads a body of at most `limit` bytes.
    pub(super) async fn read_body(
        &self,
        response: Response,
        host: &str,
        reference: &ImageReference,
        what: &'static str,
        limit: usize,
    ) -> Result<FullResponse, Error> {
        let too_large = || Error::TooLarge { reference: reference.clone(), what, limit: limit as u64 };
        let headers = response.headers().clone();
        if content_length(&headers).is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        let mut chunks = response.bytes_stream();
        loop {
            match timeout(self.timeouts.idle, chunks.next()).await {
                Err(_) => {
                    let (host, after) = (host.to_owned(), self.timeouts.idle);
                    return Err(Error::Timeout { host, phase: TimeoutPhase::Body, after });
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Error::Unreachable { host: host.to_owned(), why: error_chain(&error.without_url()) });
                }
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() > limit => return Err(too_large()),
                Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            }
        }
        Ok(FullResponse { headers, body: body.freeze() })
    }

    /// Turns a failure without a response into an error.
    pub(super) fn connection_error(&self, to: &EndpointClient, error: reqwest::Error) -> Error {
        let (host, error) = (to.endpoint.host(), error.without_url());
        if let Some(problem) = certificate::problem_of(&error) {
            // The other key may be one of those that the cluster announces and that are not trusted yet.
            let may_be_announced = !self.untrusted_keys.is_empty() && matches!(to.endpoint.trust(), Trust::Only(_));
            return match problem {
                CertificateProblem::UnknownIssuer if may_be_announced => {
                    Error::UntrustedKey { host, announced: self.untrusted_keys.clone() }
                }
                problem => Error::Certificate { host, problem },
            };
        }
        if let Some(proxy) = to.forward_proxy.as_ref().filter(|_| error.is_connect()) {
            return Error::ForwardProxy { host, proxy: Box::new(proxy.clone()), why: error_chain(&error) };
        }
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => Error::Timeout { host, phase: TimeoutPhase::Connect, after: self.timeouts.connect },
            (true, false) => Error::Timeout { host, phase: TimeoutPhase::Response, after: self.timeouts.headers },
            _ => Error::Unreachable { host, why: error_chain(&error) },
        }
    }

    /// Turns a response with a status other than 200 into an error.
    pub(super) async fn status_error(
        &self,
        response: Response,
        host: String,
        token_sent: bool,
        request: Request<'_>,
    ) -> Error {
        let status = response.status().as_u16();
        let path = format!("/{}", request.path);
        // Others, such as 304 or 300 without a target, are no redirects.
        if let (300..400, Some(to)) = (status, response.headers().get(LOCATION)) {
            return Error::Redirect { host, path, status, to: one_line(to.as_bytes(), MAX_MESSAGE) };
        }
        let message = self.read_message(response).await;
        match status {
            401 => Error::Unauthorized { host, token_sent, message },
            403 => Error::Forbidden { host, message },
            404 => Error::NotFound { reference: request.reference.clone() },
            // The image is published, and the proxy cannot use it.
            422 => Error::Malformed { reference: request.reference.clone(), why: message },
            500..600 => Error::Unavailable { host, path, status, message },
            _ => {
                let method = if request.head { "HEAD" } else { "GET" };
                Error::Status { host, method, path, status, message }
            }
        }
    }

    /// Reads the beginning of an error's body as one line. A failure while reading makes the message shorter.
    async fn read_message(&self, response: Response) -> String {
        let mut message = Vec::new();
        let mut body = response.bytes_stream();
        let idle = self.timeouts.idle.min(MESSAGE_IDLE);
        while message.len() < 4 * MAX_MESSAGE {
            match timeout(idle, body.next()).await {
                Ok(Some(Ok(chunk))) => message.extend_from_slice(&chunk[..chunk.len().min(4 * MAX_MESSAGE)]),
                _ => break,
            }
        }
        one_line(&message, MAX_MESSAGE)
    }
}
