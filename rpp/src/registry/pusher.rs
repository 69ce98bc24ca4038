//! The client with which images are pushed.

use std::time::Instant;

use d8_crds::values::name::Component;
use oci_client::{
    RegistryOperation,
    client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
    token_cache::RegistryTokenType,
};
use url::Url;

use super::{
    CONNECT_TIMEOUT, READ_TIMEOUT, RegistryAccess, RegistryError, USER_AGENT,
    token::{self, Access},
};
use crate::forward_proxy::ProxyEnvironment;

/// A client that pushes to the repository of one component. It never requests a token itself: it would not limit the
/// answer, and it panics on tokens that are no header.
pub(crate) struct PushClient {
    client: oci_client::Client,
    /// When its token must be renewed.
    renew_at: Option<Instant>,
}

impl PushClient {
    /// Returns the client, `None` if its token expires soon.
    pub(crate) fn get(&self) -> Option<&oci_client::Client> {
        let is_valid = self.renew_at.is_none_or(|renew_at| Instant::now() < renew_at);
        is_valid.then_some(&self.client)
    }
}

impl RegistryAccess {
    /// Makes a client for pushing to the repository of a component, with a new token if the registry issues tokens.
    ///
    /// # Errors
    /// The registry refuses the credentials, or its token cannot be used.
    pub(crate) async fn push_client(&self, component: &Component) -> Result<PushClient, RegistryError> {
        let session = self.session()?;
        let client = self.library_client()?;
        let requested = Instant::now();
        let (origin, repository) = (self.address().origin(), self.address().repository(component));
        let token = token::request(&session, &origin, &repository, Access::Push).await?;
        let renew_at = token.as_ref().map(|token| requested + token.lifetime * 3 / 4);
        let auth = token.map_or_else(|| session.auth.clone(), |token| RegistryAuth::Bearer(token.value));
        let reference = self.address().tag_reference(component, "latest");
        match &auth {
            // Without stored credentials the client sends none, and requests no token.
            RegistryAuth::Anonymous => return Ok(PushClient { client, renew_at }),
            RegistryAuth::Bearer(_) => {}
            // As a token: with credentials the client would request a token.
            RegistryAuth::Basic(user, password) => {
                for operation in [RegistryOperation::Pull, RegistryOperation::Push] {
                    let basic = RegistryTokenType::Basic(user.clone(), password.clone());
                    client.tokens.insert(&reference, operation, basic).await;
                }
            }
        }
        client.store_auth_if_needed(reference.resolve_registry(), &auth).await;
        Ok(PushClient { client, renew_at })
    }

    fn library_client(&self) -> Result<oci_client::Client, RegistryError> {
        let address = self.address();
        let origin = Url::parse(&address.origin()).map_err(|error| RegistryError::Failed(error.to_string()))?;
        let proxies = ProxyEnvironment::of_process().for_library(&origin);
        let certificate = |der: &Vec<u8>| Certificate { encoding: CertificateEncoding::Der, data: der.clone() };
        let config = ClientConfig {
            protocol: if address.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            extra_root_certificates: self.certificates.iter().map(certificate).collect(),
            platform_resolver: None,
            connect_timeout: Some(CONNECT_TIMEOUT),
            read_timeout: Some(READ_TIMEOUT),
            user_agent: USER_AGENT,
            https_proxy: proxies.https,
            http_proxy: proxies.http,
            no_proxy: Some(proxies.direct),
            ..ClientConfig::default()
        };
        oci_client::Client::try_from(config).map_err(|error| RegistryError::from(&error))
    }
}
