//! GET requests to a registry: tag lists, manifests and blobs. Bodies are read up to a limit, or as a stream.

use std::{collections::HashMap, time::Duration};

use bytes::{Bytes, BytesMut};
use d8_crds::values::name::Component;
use futures::StreamExt as _;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use oci_client::secrets::RegistryAuth;
use reqwest::Response;
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use super::{
    RegistryAccess, RegistryError, Session,
    token::{self, Access},
};
use crate::{
    forward_proxy::ProxyEnvironment,
    text::{MAX_MESSAGE, error_chain, one_line},
};

/// Bytes of an error's body that are read.
const ERROR_BYTES: usize = 16 << 10;
/// Limit for reading the body of an error.
const ERROR_TIME: Duration = Duration::from_secs(5);

/// Tokens that the registry issued, by repository.
pub(super) type Tokens = Mutex<HashMap<String, HeaderValue>>;

/// A response whose body was read completely.
pub(crate) struct RegistryResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl RegistryAccess {
    /// Returns the URL of a path below `/v2/REPOSITORY/` of a component.
    ///
    /// # Errors
    /// The address and the path do not make a URL.
    pub(crate) fn url(&self, component: &Component, path: &str) -> Result<Url, RegistryError> {
        let address = self.address();
        let text = format!("{}/v2/{}/{path}", address.origin(), address.repository(component));
        Url::parse(&text).map_err(|error| RegistryError::Failed(format!("{text}: {error}")))
    }

    /// Requests a URL of a component, and reads at most `limit` bytes of the body. `what` names the body in errors.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for status 404, [`RegistryError::Unusable`] for a body that is too large.
    pub(crate) async fn get(
        &self,
        component: &Component,
        url: &Url,
        accept: &str,
        what: &str,
        limit: usize,
    ) -> Result<RegistryResponse, RegistryError> {
        let response = self.open(component, url, accept).await?;
        let headers = response.headers().clone();
        match read(response, limit).await.map_err(|error| failed(url, &error))? {
            Some(body) => Ok(RegistryResponse { headers, body }),
            None => Err(RegistryError::Unusable(format!("{what} is larger than {limit} bytes"))),
        }
    }

    /// Requests a URL of a component. Returns the answer, with a body that was not read.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for status 404, [`RegistryError::Failed`] for any other than 200.
    pub(crate) async fn open(&self, component: &Component, url: &Url, accept: &str) -> Result<Response, RegistryError> {
        let session = self.session()?;
        let known = session.tokens.lock().await.get(&self.address().repository(component)).cloned();
        let known = known.or_else(|| authorization(&session.auth));
        let mut response = send(&session, url, accept, known).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let token = self.request_token(&session, component).await?;
            response = send(&session, url, accept, token).await?;
        }
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound),
            status => Err(RegistryError::Failed(format!("{url}: {status}: {}", error_message(response).await))),
        }
    }

    /// Requests a token for a repository. Returns the header with it, or with the credentials if the registry wants
    /// these themselves.
    async fn request_token(
        &self,
        session: &Session,
        component: &Component,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let repository = self.address().repository(component);
        let token = token::request(session, &self.address().origin(), &repository, Access::Pull).await?;
        let Some(header) = token.and_then(|token| bearer(&token.value)) else {
            return Ok(authorization(&session.auth));
        };
        session.tokens.lock().await.insert(repository, header.clone());
        Ok(Some(header))
    }
}

/// Returns the header for a token. `None`: it contains characters that no header may have.
fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Returns the header for credentials that are sent as they are.
pub(super) fn authorization(auth: &RegistryAuth) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match auth {
        RegistryAuth::Anonymous => None,
        RegistryAuth::Bearer(token) => bearer(token),
        RegistryAuth::Basic(user, password) => {
            let mut header =
                HeaderValue::try_from(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))).ok()?;
            header.set_sensitive(true);
            Some(header)
        }
    }
}

async fn send(
    session: &Session,
    url: &Url,
    accept: &str,
    authorization: Option<HeaderValue>,
) -> Result<Response, RegistryError> {
    let mut request = session.http.get(url.clone()).header(ACCEPT, accept);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.send().await.map_err(|error| failed(url, &error.without_url()))
}

pub(super) fn failed(url: &Url, error: &reqwest::Error) -> RegistryError {
    let why = error_chain(error);
    match ProxyEnvironment::of_process().for_url(url).filter(|_| error.is_connect()) {
        Some(proxy) => RegistryError::Failed(format!("{url}: no connection through the {proxy}: {why}")),
        None => RegistryError::Failed(format!("{url}: {why}")),
    }
}

/// Reads a body, `None` if it is larger than `limit` bytes.
pub(super) async fn read(response: Response, limit: usize) -> reqwest::Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(reqwest::Error::without_url)?;
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// Reads the beginning of an error's body, as one line. A failure while reading makes it shorter.
pub(super) async fn error_message(response: Response) -> String {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    let reading = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            let room = ERROR_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() >= ERROR_BYTES {
                break;
            }
        }
    };
    // What arrived until then is the message.
    let _ = timeout(ERROR_TIME, reading).await;
    one_line(&body, MAX_MESSAGE)
}
