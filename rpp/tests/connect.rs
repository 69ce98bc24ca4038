//! Connecting to the proxy: options, discovery, certificates, unreachable endpoints.
// Tables of cases are long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::too_many_lines)]

mod support;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::Router;
use d8_crds::values::name::Component;
use d8_rpp::{CertificateProblem, ClientOptions, Endpoint, Error, ErrorKind, Identity, NoIdentity, Prefer, Proxy};
use rcgen::date_time_ymd;
use support::{Authority, ScriptedProxy, TOKEN, TlsServer, answer, fast_retries, kubeconfig, plain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TAGS: &str = r#"{"name": "deckhouse-cli", "tags": ["v1.0.0"]}"#;

/// Returns an address that no process listens on.
fn unused_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn invalid_options_are_found_before_any_request() {
    let authority = Authority::new();
    let directory = tempfile::TempDir::new().unwrap();
    let (empty, garbage) = (directory.path().join("empty.pem"), directory.path().join("garbage.pem"));
    std::fs::write(&empty, "# no certificate\n").unwrap();
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let missing = directory.path().join("missing.pem");
    let options = |endpoint: Option<&str>, ca_file: Option<PathBuf>, insecure| ClientOptions {
        endpoint: endpoint.map(str::to_owned),
        ca_file,
        insecure,
        ..ClientOptions::default()
    };
    let cases = [
        (options(Some("http://host"), None, false), "https://"),
        (options(Some("https://"), None, false), "host"),
        (options(Some("host:4219"), None, false), "https://"),
        (options(Some("https://user:pw@host"), None, false), "password"),
        (options(None, Some(missing.clone()), false), "missing.pem"),
        (options(None, Some(directory.path().to_owned()), false), "CA file"),
        (options(None, Some(empty), false), "contains no certificate"),
        (options(None, Some(garbage), false), "garbage.pem"),
        (options(None, Some(authority.file()), true), "cannot be combined with skipping its verification"),
        (options(Some("https://host"), Some(missing), true), "cannot be combined with skipping its verification"),
    ];
    // A request to this cluster would be a discovery error.
    let config = kubeconfig(unused_address());
    for (options, message) in cases {
        let error = Proxy::connect(&config, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.advice().len(), 1);
    }
}

/// Starts a cluster that answers a request for the proxy's ConfigMap with this.
async fn cluster(status: u16, body: String) -> SocketAddr {
    let path = "/api/v1/namespaces/d8-cloud-instance-manager/configmaps/registry-packages-proxy-config";
    plain(Router::new().route(
        path,
        axum::routing::get(move |headers: http::HeaderMap| async move {
            // A token is never sent without TLS.
            assert!(!headers.contains_key("authorization"));
            let mut response = answer(status, body.clone());
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            response
        }),
    ))
    .await
}

fn config_map(data: &serde_json::Value) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}).to_string()
}

#[tokio::test]
async fn addresses_of_a_cluster() {
    // The ConfigMap has the authority of the internal address, a CA file that of the public one. The client passes
    // over an unreachable address in both orders.
    let scripted = ScriptedProxy::new(|_, _| answer(200, TAGS));
    let (here, away) = (scripted.server.address.to_string(), unused_address().to_string());
    let list = |hosts: &[&String]| serde_json::to_string(hosts).unwrap();
    let (ca, file) = (&scripted.authority.pem, Some(scripted.authority.file()));
    let other = Authority::new();
    let cases = [
        (serde_json::json!({"endpoints": list(&[&here]), "ca.crt": ca}), None, Prefer::Public),
        (serde_json::json!({"endpoints": list(&[&away, &here]), "ca.crt": ca}), None, Prefer::Internal),
        (serde_json::json!({"publicEndpoint": format!("https://{here}")}), file.clone(), Prefer::Internal),
        (
            serde_json::json!({"publicEndpoint": format!("https://{away}"), "endpoints": list(&[&here]), "ca.crt": ca}),
            None,
            Prefer::Public,
        ),
        (
            serde_json::json!({"publicEndpoint": format!("https://{here}"), "endpoints": list(&[&away]), "ca.crt": other.pem}),
            file.clone(),
            Prefer::Internal,
        ),
    ];
    for (data, ca_file, prefer) in cases {
        let config = kubeconfig(cluster(200, config_map(&data)).await);
        let options = ClientOptions { ca_file, prefer, timeouts: fast_retries(), ..ClientOptions::default() };
        let proxy = Proxy::connect(&config, &options).await.unwrap();
        assert_eq!(proxy.tags(&Component::D8).await.unwrap(), ["v1.0.0"], "{data}");
        assert_eq!(proxy.host(), here);
    }
}

/// Whether a problem is the expected one.
type IsExpected = fn(&CertificateProblem) -> bool;

#[tokio::test]
async fn certificates() {
    let authority = Authority::new();
    let other = Authority::new();
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
    };
    let good = authority.issue(|_| {}, &["127.0.0.1"]);
    let named = authority.issue(|_| {}, &["packages.example.com"]);
    let other_ip = authority.issue(|_| {}, &["10.0.0.1"]);
    let old = authority.issue(expired, &["127.0.0.1"]);
    let future = |params: &mut rcgen::CertificateParams| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2099, 1, 1);
    };
    let new = authority.issue(future, &["127.0.0.1"]);
    let is_ca = |params: &mut rcgen::CertificateParams| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    };
    let of_authority = authority.issue(is_ca, &["127.0.0.1"]);
    // Name, certificate, CA file, whether verification is off, the expected problem, a part of the fix.
    let cases: [(&str, &(String, String), Option<PathBuf>, bool, Option<(IsExpected, &str)>); 10] = [
        ("trusted", &good, Some(authority.file()), false, None),
        ("not verified", &good, None, true, None),
        ("not verified, of another host", &named, None, true, None),
        ("system roots only", &good, None, false, Some((|p| *p == CertificateProblem::UnknownIssuer, "--rpp-ca-file"))),
        (
            "another authority",
            &good,
            Some(other.file()),
            false,
            Some((|p| *p == CertificateProblem::UnknownIssuer, "--rpp-ca-file")),
        ),
        (
            "no IP names",
            &named,
            Some(authority.file()),
            false,
            Some((|p| matches!(p, CertificateProblem::OtherHost { no_ip_names: true, .. }), "public endpoint")),
        ),
        (
            "another host",
            &other_ip,
            Some(authority.file()),
            false,
            Some((|p| matches!(p, CertificateProblem::OtherHost { no_ip_names: false, .. }), "--rpp-endpoint")),
        ),
        (
            "expired",
            &old,
            Some(authority.file()),
            false,
            Some((|p| matches!(p, CertificateProblem::Expired { until, now } if until < now), "clock")),
        ),
        (
            "not yet valid",
            &new,
            Some(authority.file()),
            false,
            Some((|p| matches!(p, CertificateProblem::NotYetValid { from, now } if from > now), "clock")),
        ),
        (
            "of an authority",
            &of_authority,
            Some(authority.file()),
            false,
            Some((|p| *p == CertificateProblem::AuthorityAsServer, "openssl req -x509")),
        ),
    ];
    for (what, certificate, ca_file, insecure, expected) in cases {
        let server = TlsServer::serve(
            certificate,
            &[b"h2"],
            Router::new().fallback(|headers: http::HeaderMap| async move {
                assert!(headers.contains_key("authorization"));
                TAGS
            }),
        );
        let endpoint = Endpoint::explicit(&format!("https://{}", server.address)).unwrap();
        let options = ClientOptions { ca_file, insecure, timeouts: fast_retries(), ..ClientOptions::default() };
        let proxy = Proxy::new(vec![endpoint], Identity::token(TOKEN).unwrap(), &options).unwrap();
        match (proxy.tags(&Component::D8).await, expected) {
            (Ok(tags), None) => assert_eq!(tags, ["v1.0.0"], "{what}"),
            (Err(error), Some((check, advice))) => {
                let Error::Certificate { host, problem } = &error else { panic!("{what}: {error}") };
                assert!(check(problem), "{what}: {error}");
                assert_eq!(*host, server.address.to_string());
                let first = &error.advice()[0];
                assert!(first.fix.contains(advice), "{what}: {first:?}");
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_authority_of_the_api_server_is_not_trusted_for_the_proxy() {
    let scripted = ScriptedProxy::new(|_, _| answer(200, TAGS));
    let mut config = kubeconfig(unused_address());
    let der = pem_to_der(&scripted.authority.pem);
    config.config.root_cert = Some(vec![der]);
    let options = ClientOptions {
        endpoint: Some(format!("https://{}", scripted.server.address)),
        timeouts: fast_retries(),
        ..ClientOptions::default()
    };
    let error = Proxy::connect(&config, &options).await.unwrap().tags(&Component::D8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
    assert_eq!(scripted.count(), 0);
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn unreachable_endpoints() {
    let unreachable = unused_address();
    let endpoints = vec![Endpoint::explicit(&format!("https://{unreachable}")).unwrap()];
    let options = ClientOptions { timeouts: fast_retries(), ..ClientOptions::default() };
    let error = Proxy::new(endpoints, Identity::anonymous(), &options).unwrap().tags(&Component::D8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&unreachable.to_string()), "{error}");

    // A server that accepts connections and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = vec![Endpoint::explicit(&format!("https://{}", silent.local_addr().unwrap())).unwrap()];
    let mut options = ClientOptions { timeouts: support::short_timeouts(), ..ClientOptions::default() };
    options.timeouts.connect = std::time::Duration::from_millis(200);
    options.timeouts.headers = std::time::Duration::from_secs(20);
    let error = Proxy::new(endpoints, Identity::anonymous(), &options).unwrap().tags(&Component::D8).await.unwrap_err();
    assert!(error.to_string().contains("no connection within 200 ms"), "{error}");
}

#[tokio::test]
async fn an_identity_without_a_token_is_explained() {
    let scripted = ScriptedProxy::new(|_, request| {
        assert!(!request.headers().contains_key("authorization"));
        answer(401, "Unauthorized")
    });
    let config = support::access(unused_address(), "{username: me, password: secret}", "");
    let options = ClientOptions {
        endpoint: Some(format!("https://{}", scripted.server.address)),
        ca_file: Some(scripted.authority.file()),
        ..ClientOptions::default()
    };
    let error = Proxy::connect(&config, &options).await.unwrap().tags(&Component::D8).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { token_sent: false, .. }), "{error}");
    assert!(error.advice()[0].fix.contains("OIDC"));
}

#[tokio::test]
async fn a_denial_names_the_command_that_allows_it() {
    let scripted = ScriptedProxy::new(|_, _| answer(403, "Forbidden (user=me)"));
    let error = scripted.client(fast_retries()).tags(&Component::D8).await.unwrap_err();
    let advice = error.advice();
    assert!(advice[0].fix.contains("kubectl create clusterrolebinding"), "{advice:?}");
    assert!(advice[0].fix.contains("--clusterrole=d8:registry-packages-proxy:cli-download"), "{advice:?}");
    assert!(advice[0].fix.contains("create clusterrolebinding d8-cli-download-me "), "{advice:?}");
    assert!(advice.len() == 1 && advice[0].cause.contains("30 s"), "{advice:?}");
}

/// Starts an HTTP proxy that tunnels. Returns its address and the targets.
async fn forward_proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let targets = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&targets);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
                let mut far = tokio::net::TcpStream::connect(&target).await?;
                log.lock().unwrap().push(target);
                near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    (address, targets)
}

#[tokio::test]
async fn the_http_proxy_of_the_kubeconfig_is_used_for_all_connections() {
    let scripted = ScriptedProxy::new(|_, _| answer(200, TAGS));
    let here = scripted.server.address.to_string();
    let data = serde_json::json!({"endpoints": format!("[\"{here}\"]"), "ca.crt": scripted.authority.pem});
    let api = cluster(200, config_map(&data)).await;
    let (forward, targets) = forward_proxy().await;
    let user = format!("{{token: {TOKEN}}}");
    let config = support::access(api, &user, &format!("proxy-url: 'http://{forward}'"));
    let proxy =
        Proxy::connect(&config, &ClientOptions { timeouts: fast_retries(), ..ClientOptions::default() }).await.unwrap();
    assert_eq!(proxy.tags(&Component::D8).await.unwrap(), ["v1.0.0"]);
    assert_eq!(*targets.lock().unwrap(), [api.to_string(), here]);
}

/// Anyone can answer for an API server over http, and name a proxy that collects tokens.
#[tokio::test]
async fn no_token_is_sent_to_a_proxy_that_an_api_server_over_http_names() {
    let tokens = Arc::<Mutex<Vec<bool>>>::default();
    let log = Arc::clone(&tokens);
    let scripted = ScriptedProxy::new(move |_, request| {
        log.lock().unwrap().push(request.headers().contains_key("authorization"));
        answer(200, TAGS)
    });
    let here = scripted.server.address.to_string();
    let data = serde_json::json!({"endpoints": format!("[\"{here}\"]"), "ca.crt": scripted.authority.pem});
    let config = kubeconfig(cluster(200, config_map(&data)).await);
    let found = ClientOptions { timeouts: fast_retries(), ..ClientOptions::default() };
    let given = ClientOptions {
        endpoint: Some(format!("https://{here}")),
        ca_file: Some(scripted.authority.file()),
        ..found.clone()
    };
    for (options, token_sent) in [(found, false), (given, true)] {
        Proxy::connect(&config, &options).await.unwrap().tags(&Component::D8).await.unwrap();
        assert_eq!(std::mem::take(&mut *tokens.lock().unwrap()), [token_sent], "{:?}", options.endpoint);
    }
}

#[tokio::test]
async fn a_refusal_over_http_is_not_an_expired_token() {
    let status = |code: u16| serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no"});
    for code in [401, 403] {
        let config = kubeconfig(cluster(code, status(code).to_string()).await);
        let error = Proxy::connect(&config, &ClientOptions::default()).await.unwrap_err();
        assert!(matches!(error, Error::Anonymous { why: NoIdentity::PlainHttp, .. }), "{code}: {error}");
        assert!(error.to_string().contains("no token is sent to an address that begins with http://"), "{error}");
        assert!(error.advice()[0].fix.contains("--server=https://"), "{:?}", error.advice());
    }
}

#[tokio::test]
async fn a_forward_proxy_without_a_connection_is_named() {
    let gone = unused_address();
    let options = ClientOptions { timeouts: fast_retries(), ..ClientOptions::default() };
    for (url, shown) in [
        (format!("http://{gone}"), format!("HTTP proxy http://{gone} (`proxy-url` in the kubeconfig)")),
        (format!("http://me:secret@{gone}"), format!("HTTP proxy http://{gone} (`proxy-url` in the kubeconfig)")),
        (format!("socks5://{gone}"), format!("SOCKS proxy socks5://{gone} (`proxy-url` in the kubeconfig)")),
    ] {
        let config = support::access(unused_address(), "{}", &format!("proxy-url: '{url}'"));
        let of_api = Proxy::connect(&config, &options).await.unwrap_err();
        let given = ClientOptions { endpoint: Some("https://packages.example".to_owned()), ..options.clone() };
        let of_endpoint = Proxy::connect(&config, &given).await.unwrap().tags(&Component::D8).await.unwrap_err();
        assert!(matches!(of_api, Error::ClusterUnreachable { .. }), "{of_api}");
        assert_eq!(of_endpoint.kind(), ErrorKind::Unreachable, "{of_endpoint}");
        for error in [of_api, of_endpoint] {
            let text = error.describe();
            assert!(text.contains(&shown) && !text.contains("secret"), "{text}");
            assert!(text.contains("kubectl config set-cluster NAME --proxy-url="), "{text}");
        }
    }
}
