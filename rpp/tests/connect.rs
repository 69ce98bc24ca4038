//! The way to the proxy: options, discovery, certificates, endpoints that are away.
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
use d8_rpp::{CertificateProblem, ClientOptions, Endpoint, Error, ErrorKind, Identity, Prefer, Proxy};
use rcgen::date_time_ymd;
use support::{Authority, Fault, TOKEN, Tls, answer, kubeconfig, patient, plain};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TAGS: &str = r#"{"name": "deckhouse-cli", "tags": ["v1.0.0"]}"#;

/// A port that nobody listens on.
fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn options_that_cannot_be_are_found_before_any_request() {
    let authority = Authority::new();
    let folder = tempfile::TempDir::new().unwrap();
    let (empty, garbage) = (folder.path().join("empty.pem"), folder.path().join("garbage.pem"));
    std::fs::write(&empty, "# no certificate\n").unwrap();
    std::fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let missing = folder.path().join("missing.pem");
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
        (options(None, Some(folder.path().to_owned()), false), "CA file"),
        (options(None, Some(empty), false), "holds no certificate"),
        (options(None, Some(garbage), false), "garbage.pem"),
        (options(None, Some(authority.file()), true), "exclude each other"),
        (options(Some("https://host"), Some(missing), true), "exclude each other"),
    ];
    // Any question to this cluster would be a discovery error instead.
    let config = kubeconfig(nowhere());
    for (options, words) in cases {
        let error = Proxy::connect(&config, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.advice().len(), 1);
    }
}

/// A cluster whose ConfigMap of the proxy is answered so.
async fn cluster(status: u16, body: String) -> SocketAddr {
    let path = "/api/v1/namespaces/d8-cloud-instance-manager/configmaps/registry-packages-proxy-config";
    plain(Router::new().route(
        path,
        axum::routing::get(move |headers: http::HeaderMap| async move {
            assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
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
async fn a_cluster_leads_to_its_proxy() {
    // The proxy inside of the cluster is vouched for by the ConfigMap, the public one by a CA file; both
    // orders lead to one that can be used, past one that is away.
    let fault = Fault::new(|_, _| answer(200, TAGS));
    let (here, away) = (fault.server.address.to_string(), nowhere().to_string());
    let list = |hosts: &[&String]| serde_json::to_string(hosts).unwrap();
    let (ca, file) = (&fault.authority.pem, Some(fault.authority.file()));
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
        let options = ClientOptions { ca_file, prefer, timeouts: patient(), ..ClientOptions::default() };
        let proxy = Proxy::connect(&config, &options).await.unwrap();
        assert_eq!(proxy.tags(&Component::D8).await.unwrap(), ["v1.0.0"], "{data}");
        assert_eq!(proxy.host(), here);
    }
}

/// Whether this is what is wrong with a certificate.
type Check = fn(&CertificateProblem) -> bool;

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
    // The certificate, the CA file, insecure, what is wrong, words of the advice.
    let cases: [(&str, &(String, String), Option<PathBuf>, bool, Option<(Check, &str)>); 8] = [
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
        ("expired", &old, Some(authority.file()), false, Some((|p| *p == CertificateProblem::Expired, "clock"))),
    ];
    for (what, certificate, ca_file, insecure, expected) in cases {
        let server = Tls::serve(
            certificate,
            &[b"h2"],
            Router::new().fallback(|headers: http::HeaderMap| async move {
                assert!(headers.contains_key("authorization"));
                TAGS
            }),
        );
        let endpoint = Endpoint::explicit(&format!("https://{}", server.address)).unwrap();
        let options = ClientOptions { ca_file, insecure, timeouts: patient(), ..ClientOptions::default() };
        let proxy = Proxy::new(vec![endpoint], Identity::token(TOKEN).unwrap(), &options).unwrap();
        match (proxy.tags(&Component::D8).await, expected) {
            (Ok(tags), None) => assert_eq!(tags, ["v1.0.0"], "{what}"),
            (Err(error), Some((check, advice))) => {
                let Error::Certificate { host, problem } = &error else { panic!("{what}: {error}") };
                assert!(check(problem), "{what}: {error}");
                assert_eq!(*host, server.address.to_string());
                let given = &error.advice()[0];
                assert!(given.fix.contains(advice), "{what}: {given:?}");
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_clusters_own_authority_does_not_vouch_for_the_proxy() {
    let fault = Fault::new(|_, _| answer(200, TAGS));
    let mut config = kubeconfig(nowhere());
    let der = pem_to_der(&fault.authority.pem);
    config.root_cert = Some(vec![der]);
    let options = ClientOptions {
        endpoint: Some(format!("https://{}", fault.server.address)),
        timeouts: patient(),
        ..ClientOptions::default()
    };
    let error = Proxy::connect(&config, &options).await.unwrap().tags(&Component::D8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Certificate, "{error}");
    assert_eq!(fault.count(), 0);
}

fn pem_to_der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

#[tokio::test]
async fn endpoints_that_are_away() {
    let away = nowhere();
    let endpoints = vec![Endpoint::explicit(&format!("https://{away}")).unwrap()];
    let options = ClientOptions { timeouts: patient(), ..ClientOptions::default() };
    let error = Proxy::new(endpoints, Identity::nobody(), &options).unwrap().tags(&Component::D8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&away.to_string()), "{error}");

    // A listener that accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = vec![Endpoint::explicit(&format!("https://{}", silent.local_addr().unwrap())).unwrap()];
    let mut options = ClientOptions { timeouts: support::impatient(), ..ClientOptions::default() };
    options.timeouts.connect = std::time::Duration::from_millis(200);
    options.timeouts.headers = std::time::Duration::from_secs(20);
    let error = Proxy::new(endpoints, Identity::nobody(), &options).unwrap().tags(&Component::D8).await.unwrap_err();
    assert!(error.to_string().contains("no connection within 200 ms"), "{error}");
}

#[tokio::test]
async fn an_identity_without_a_token_is_explained() {
    let fault = Fault::new(|_, request| {
        assert!(!request.headers().contains_key("authorization"));
        answer(401, "Unauthorized")
    });
    let mut config = kubeconfig(nowhere());
    config.auth_info.token = None;
    config.auth_info.username = Some("me".to_owned());
    config.auth_info.password = Some("secret".to_owned().into());
    let options = ClientOptions {
        endpoint: Some(format!("https://{}", fault.server.address)),
        ca_file: Some(fault.authority.file()),
        ..ClientOptions::default()
    };
    let error = Proxy::connect(&config, &options).await.unwrap().tags(&Component::D8).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { token_sent: false, .. }), "{error}");
    assert!(error.advice()[0].fix.contains("OIDC"));
}

#[tokio::test]
async fn a_denial_names_the_line_to_type() {
    let fault = Fault::new(|_, _| answer(403, "Forbidden (user=me)"));
    let error = fault.proxy(patient()).tags(&Component::D8).await.unwrap_err();
    let advice = error.advice();
    assert!(advice[0].fix.contains("kubectl create clusterrolebinding"), "{advice:?}");
    assert!(advice[0].fix.contains("--clusterrole=d8:registry-packages-proxy:cli-download"), "{advice:?}");
    assert!(advice[1].cause.contains("30 s"), "{advice:?}");
}

/// A forward proxy that tunnels, and to whom it did.
async fn tunnels() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let log = Arc::clone(&asked);
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
    (address, asked)
}

#[tokio::test]
async fn the_kubeconfigs_forward_proxy_is_for_both_legs() {
    let fault = Fault::new(|_, _| answer(200, TAGS));
    let here = fault.server.address.to_string();
    let data = serde_json::json!({"endpoints": format!("[\"{here}\"]"), "ca.crt": fault.authority.pem});
    let api = cluster(200, config_map(&data)).await;
    let (forward, asked) = tunnels().await;
    let mut config = kubeconfig(api);
    config.proxy_url = Some(format!("http://{forward}").parse().unwrap());
    let proxy =
        Proxy::connect(&config, &ClientOptions { timeouts: patient(), ..ClientOptions::default() }).await.unwrap();
    assert_eq!(proxy.tags(&Component::D8).await.unwrap(), ["v1.0.0"]);
    assert_eq!(*asked.lock().unwrap(), [api.to_string(), here]);
}
