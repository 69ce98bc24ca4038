//! The client of the Kubernetes API: the layers of the library's own client, over connections without Nagle's delay and
//! with the credential that the proxy's client shares.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Request, Uri, header::AUTHORIZATION};
use hyper::rt::{Read, Write};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{
        Client as HttpClient,
        connect::{
            Connection, HttpConnector,
            proxy::{SocksV5, Tunnel},
        },
    },
    rt::TokioExecutor,
};
use kube::client::{Body, Client, ConfigExt as _, retry::RetryPolicy};
use percent_encoding::percent_decode_str;
use tower::{BoxError, Service, ServiceBuilder, retry::RetryLayer, service_fn};

use super::{ClusterAccess, credential::Credential};
use crate::{
    error::{Error, ForwardProxyError},
    forward_proxy::ForwardProxy,
    text::error_chain,
};

/// Builds the client. Makes no connection, but runs a credential plugin: it may return a client certificate.
pub(super) async fn client(access: &ClusterAccess) -> Result<Client, Error> {
    let mut config = access.config.clone();
    // As kubectl: no identity goes over a connection that anyone can read.
    if !access.is_secret() {
        return build(&config, Credential::anonymous(), access).map_err(|error| failed(access, &error));
    }
    if let Some((certificate, key)) = access.credential.certificate().await.map_err(Error::Identity)? {
        config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
        config.auth_info.client_key_data = Some(STANDARD.encode(key).into());
    }
    let credential = access.credential.clone();
    build(&config, credential, access).map_err(|error| failed(access, &error))
}

fn failed(access: &ClusterAccess, error: &kube::Error) -> Error {
    Error::ClusterClient { server: access.server(), why: error_chain(error) }
}

fn build(config: &kube::Config, credential: Credential, access: &ClusterAccess) -> Result<Client, kube::Error> {
    let direct = connector();
    let Some(forward_proxy) = &access.api_proxy else { return over(direct, config, credential, None) };
    let proxy = &forward_proxy.url;
    let through = Some(forward_proxy.clone());
    let login = proxy.authority().and_then(|authority| Some(authority.as_str().rsplit_once('@')?.0.to_owned()));
    match proxy.scheme_str() {
        Some("socks5" | "socks5h") => {
            let mut socks = SocksV5::new(with_port(proxy, 1080), direct);
            if let Some((user, password)) = login.as_deref().map(|login| login.split_once(':').unwrap_or((login, ""))) {
                socks = socks.with_auth(decoded(user), decoded(password));
            }
            over(socks, config, credential, through)
        }
        Some("https") => {
            let tls = config.rustls_https_connector_with_connector(direct)?;
            over(with_login(Tunnel::new(proxy.clone(), tls), login.as_deref()), config, credential, through)
        }
        _ => over(with_login(Tunnel::new(proxy.clone(), direct), login.as_deref()), config, credential, through),
    }
}

/// Returns the connector of every connection to a Kubernetes API or to a proxy in front of it.
fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    // Otherwise the first request waits for the delayed acknowledgement of the handshake, 40 ms.
    connector.set_nodelay(true);
    connector
}

/// Adds the port of a SOCKS proxy that names none. The connector knows the ports of http and https only.
fn with_port(proxy: &Uri, port: u16) -> Uri {
    if proxy.port_u16().is_some() {
        return proxy.clone();
    }
    let host = proxy.host().unwrap_or_default();
    format!("socks5://{host}:{port}").parse().unwrap_or_else(|_| proxy.clone())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn with_login<C>(tunnel: Tunnel<C>, login: Option<&str>) -> Tunnel<C> {
    let Some(login) = login else { return tunnel };
    match HeaderValue::try_from(format!("Basic {}", STANDARD.encode(percent_decode_str(login).collect::<Vec<u8>>()))) {
        Ok(header) => tunnel.with_auth(header),
        Err(_) => tunnel,
    }
}

/// Builds the client over the connections of `connector`, which lead through a proxy or not.
fn over<H>(
    connector: H,
    config: &kube::Config,
    credential: Credential,
    through: Option<ForwardProxy>,
) -> Result<Client, kube::Error>
where
    H: 'static + Clone + Send + Sync + Service<Uri>,
    H::Response: 'static + Connection + Read + Write + Send + Unpin,
    H::Future: 'static + Send,
    H::Error: 'static + Send + Sync + std::error::Error,
{
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(connector)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let authorized = service_fn(move |mut request: Request<Body>| {
        let (http, credential, through) = (http.clone(), credential.clone(), through.clone());
        async move {
            let header = credential.header().await?;
            if let Some(header) = &header {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            tracing::debug!(method = %request.method(), url = %request.uri(), "request to the Kubernetes API");
            let response = http.request(request).await.map_err(|error| connection_error(error, through))?;
            if response.status() == http::StatusCode::UNAUTHORIZED {
                credential.refused(header.as_ref()).await;
            }
            Ok::<_, BoxError>(response)
        }
    });
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.default_retry.then_some(RetryLayer::new(RetryPolicy::server_retry())))
        .layer(config.extra_headers_layer()?)
        .service(authorized);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// Names the proxy in the error of a connection that was not established.
fn connection_error(error: hyper_util::client::legacy::Error, through: Option<ForwardProxy>) -> BoxError {
    match through {
        Some(proxy) if error.is_connect() => ForwardProxyError::new(proxy, error).into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::rt::TokioIo;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn connections_send_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let connection: TokioIo<tokio::net::TcpStream> = connector().oneshot(uri).await.unwrap();
        assert!(connection.into_inner().nodelay().unwrap());
    }

    #[test]
    fn socks_proxies_have_a_port() {
        for (proxy, expected) in [
            ("socks5://proxy", "socks5://proxy:1080/"),
            ("socks5://user:secret@proxy", "socks5://proxy:1080/"),
            ("socks5://proxy:9050", "socks5://proxy:9050/"),
            ("socks5://[::1]", "socks5://[::1]:1080/"),
        ] {
            assert_eq!(with_port(&proxy.parse().unwrap(), 1080).to_string(), expected);
        }
    }
}
