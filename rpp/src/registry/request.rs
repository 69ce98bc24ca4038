//! GET requests to a registry whose body is small: tag lists and manifests. Bodies are read up to a limit.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use d8_crds::values::name::Component;
use futures::StreamExt as _;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION},
};
use oci_client::{RegistryOperation, secrets::RegistryAuth};
use reqwest::Response;
use tokio::sync::Mutex;
use url::Url;

use super::{RegistryAccess, RegistryError, Session};
use crate::{
    forward_proxy::ProxyEnvironment,
    text::{MAX_MESSAGE, error_chain, one_line},
};

/// Bytes of an error's body that are read.
const ERROR_BYTES: usize = 16 << 10;

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
        let session = self.session()?;
        let known = session.tokens.lock().await.get(&self.address().repository(component)).cloned();
        let known = known.or_else(|| basic(&session.auth));
        let mut response = send(&session, url, accept, known).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let token = self.request_token(&session, component).await?;
            response = send(&session, url, accept, token).await?;
        }
        if response.status() != StatusCode::OK {
            return Err(status_error(url, response).await);
        }
        let headers = response.headers().clone();
        match read(response, limit).await.map_err(|error| failed(url, &error))? {
            Some(body) => Ok(RegistryResponse { headers, body }),
            None => Err(RegistryError::Unusable(format!("{what} is larger than {limit} bytes"))),
        }
    }

    /// Requests a token for a repository. `None`: the registry wants the configured credentials themselves.
    async fn request_token(
        &self,
        session: &Session,
        component: &Component,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let reference = self.address().tag_reference(component, "latest");
        let token = session.client.auth(&reference, &session.auth, RegistryOperation::Pull).await;
        let Some(token) = token.map_err(|error| RegistryError::from(&error))? else { return Ok(basic(&session.auth)) };
        let header = bearer(&token).ok_or_else(|| {
            RegistryError::Failed("the token that it issued contains characters that no header may have".to_owned())
        })?;
        session.tokens.lock().await.insert(self.address().repository(component), header.clone());
        Ok(Some(header))
    }
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

/// Returns the header for credentials that are sent as they are.
fn basic(auth: &RegistryAuth) -> Option<HeaderValue> {
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

fn failed(url: &Url, error: &reqwest::Error) -> RegistryError {
    let why = error_chain(error);
    match ProxyEnvironment::of_process().for_url(url).filter(|_| error.is_connect()) {
        Some(proxy) => RegistryError::Failed(format!("{url}: no connection through the {proxy}: {why}")),
        None => RegistryError::Failed(format!("{url}: {why}")),
    }
}

/// Reads a body, `None` if it is larger than `limit` bytes.
async fn read(response: Response, limit: usize) -> reqwest::Result<Option<Bytes>> {
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

async fn status_error(url: &Url, response: Response) -> RegistryError {
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return RegistryError::NotFound;
    }
    let body = read(response, ERROR_BYTES).await.ok().flatten().unwrap_or_default();
    RegistryError::Failed(format!("{url}: {status}: {}", one_line(&body, MAX_MESSAGE)))
}
