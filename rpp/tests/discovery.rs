//! The three objects in a cluster that name the proxy's address, and when the next one is read.
// Tables of cases are long.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::too_many_lines)]

mod support;

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request};
use d8_rpp::{ClientOptions, ClusterAccess, EndpointIdentity, Error, ErrorKind, Prefer, Proxy};
use serde_json::{Value, json};
use support::{Authority, ScriptedProxy, TOKEN, TlsServer, answer, fast_retries, kubeconfig, verified_access};

const NAMESPACE: &str = "/namespaces/d8-cloud-instance-manager";

/// The cluster's responses: status and body for the ConfigMap, the Ingress and the list of Pods.
type Responses = [(u16, Value); 3];

/// The requested objects: `ConfigMap`, `Ingress`, `Pods`.
type Requests = Arc<Mutex<Vec<&'static str>>>;

/// A stand-in for the Kubernetes API. It ends when it is dropped.
struct Cluster {
    access: ClusterAccess,
    requests: Requests,
    _server: TlsServer,
}

fn cluster(responses: Responses) -> Cluster {
    let requests = Requests::default();
    let log = Arc::clone(&requests);
    let router = Router::new().fallback(move |request: Request| {
        let (responses, log) = (responses.clone(), Arc::clone(&log));
        async move {
            assert_eq!(request.headers()["authorization"], format!("Bearer {TOKEN}"));
            let uri = request.uri().to_string();
            let paths = [
                format!("/api/v1{NAMESPACE}/configmaps/registry-packages-proxy-config"),
                format!("/apis/networking.k8s.io/v1{NAMESPACE}/ingresses/registry-packages-proxy"),
                format!("/api/v1{NAMESPACE}/pods?&labelSelector=app%3Dregistry-packages-proxy"),
            ];
            let object = paths.iter().position(|path| *path == uri).unwrap_or_else(|| panic!("{uri}"));
            log.lock().unwrap().push(["ConfigMap", "Ingress", "Pods"][object]);
            let (status, body) = &responses[object];
            let mut response = answer(*status, body.to_string());
            response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
            response
        }
    });
    let authority = Authority::new();
    let server = TlsServer::serve(&authority.issue(|_| {}, &["127.0.0.1"]), &[b"http/1.1"], router);
    Cluster { access: verified_access(server.address, &authority), requests, _server: server }
}

fn status(code: u16) -> (u16, Value) {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": "x"});
    (code, body)
}

fn config_map(data: &Value) -> (u16, Value) {
    (200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": data}))
}

fn ingress(rules: &Value) -> (u16, Value) {
    let spec = json!({"ingressClassName": "nginx", "rules": rules, "tls": [{"hosts": ["x"], "secretName": "x"}]});
    (200, json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "x"}, "spec": spec}))
}

fn pods(items: &[Value]) -> (u16, Value) {
    (200, json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
}

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": "p", "labels": {"app": "registry-packages-proxy"}},
        "spec": {"containers": [{"name": "proxy"}]},
        "status": {
            "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}],
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    });
    change(&mut pod);
    pod
}

#[tokio::test]
async fn when_the_next_object_is_read() {
    let authority = Authority::new();
    let ca_file = || Some(authority.file());
    let public = || config_map(&json!({"publicEndpoint": "https://packages.example.com/"}));
    let nameless = || config_map(&json!({}));
    let internal = || config_map(&json!({"endpoints": "[\"10.0.0.1:4219\"]"}));
    let host = || {
        ingress(&json!([{"http": {"paths": []}}, {"host": "*.all"}, {"host": "ingress.example.com"}, {"host": "b"}]))
    };
    let hostless = || ingress(&json!([{"http": {"paths": []}}, {"host": "*.all"}]));
    let ready = || pods(&[pod(|_| {})]);
    let all = vec!["ConfigMap", "Ingress", "Pods"];
    let (one, two) = (vec!["ConfigMap"], vec!["ConfigMap", "Ingress"]);
    let none = || status(404);
    let cases: Vec<(&str, Responses, Option<std::path::PathBuf>, Result<&str, (ErrorKind, &str)>, &Vec<&str>)> = vec![
        ("the ConfigMap", [public(), host(), ready()], ca_file(), Ok("packages.example.com"), &one),
        ("no ConfigMap", [none(), host(), ready()], ca_file(), Ok("ingress.example.com"), &two),
        ("a forbidden one", [status(403), host(), ready()], ca_file(), Ok("ingress.example.com"), &two),
        ("one without an address", [nameless(), host(), ready()], ca_file(), Ok("ingress.example.com"), &two),
        ("one without an authority", [internal(), host(), ready()], None, Ok("ingress.example.com"), &two),
        (
            "one without an authority, with a CA file",
            [internal(), host(), ready()],
            ca_file(),
            Ok("10.0.0.1:4219"),
            &one,
        ),
        ("no Ingress", [none(), none(), ready()], ca_file(), Ok("10.1.2.3:4219"), &all),
        ("an Ingress without a host", [none(), hostless(), ready()], ca_file(), Ok("10.1.2.3:4219"), &all),
        (
            "a Pod without a CA file",
            [none(), none(), ready()],
            None,
            Err((
                ErrorKind::Discovery,
                "the certificate of the ready Pod at 10.1.2.3 cannot be verified without --rpp-ca-file",
            )),
            &all,
        ),
        (
            "nothing at all",
            [none(), hostless(), pods(&[])],
            ca_file(),
            Err((
                ErrorKind::Discovery,
                "ConfigMap d8-cloud-instance-manager/registry-packages-proxy-config not found; \
                 Ingress d8-cloud-instance-manager/registry-packages-proxy has no host; \
                 none of the pods app=registry-packages-proxy in namespace d8-cloud-instance-manager is ready",
            )),
            &all,
        ),
        // Errors that end the search.
        (
            "401",
            [status(401), host(), ready()],
            ca_file(),
            Err((ErrorKind::ClusterUnauthorized, "the Kubernetes API at https://127.0.0.1")),
            &one,
        ),
        ("500", [status(500), host(), ready()], ca_file(), Err((ErrorKind::Discovery, "no")), &one),
        (
            "no answer of the API",
            [(200, json!("<html>")), host(), ready()],
            ca_file(),
            Err((ErrorKind::Discovery, "failed to find the proxy: ")),
            &one,
        ),
        (
            "a bad ConfigMap",
            [config_map(&json!({"publicEndpoint": "http://plain"})), host(), ready()],
            ca_file(),
            Err((ErrorKind::Discovery, "publicEndpoint")),
            &one,
        ),
        ("Ingress 401", [none(), status(401), ready()], ca_file(), Err((ErrorKind::ClusterUnauthorized, "401")), &two),
        (
            "Ingress 403",
            [none(), status(403), ready()],
            ca_file(),
            Err((
                ErrorKind::Discovery,
                "this identity may not read Ingress d8-cloud-instance-manager/registry-packages-proxy",
            )),
            &two,
        ),
        (
            "403 twice",
            [status(403), status(403), ready()],
            ca_file(),
            Err((
                ErrorKind::Discovery,
                "this identity may not read ConfigMap d8-cloud-instance-manager/registry-packages-proxy-config; \
                 this identity may not read Ingress d8-cloud-instance-manager/registry-packages-proxy",
            )),
            &two,
        ),
        ("Ingress 500", [none(), status(500), ready()], ca_file(), Err((ErrorKind::Discovery, "no")), &two),
        (
            "Pods 403",
            [none(), none(), status(403)],
            ca_file(),
            Err((ErrorKind::Discovery, "this identity may not read pods")),
            &all,
        ),
        (
            "no namespace",
            [none(), none(), none()],
            ca_file(),
            Err((ErrorKind::Discovery, "in namespace d8-cloud-instance-manager not found")),
            &all,
        ),
    ];
    for (what, responses, ca_file, expected, objects) in cases {
        let cluster = cluster(responses);
        let options = ClientOptions { ca_file, ..ClientOptions::default() };
        match (Proxy::connect(&cluster.access, &options).await, expected) {
            (Ok(proxy), Ok(host)) => assert_eq!(proxy.host(), host, "{what}"),
            (Err(error), Err((kind, message))) => {
                assert_eq!(error.kind(), kind, "{what}: {error}");
                assert!(error.to_string().contains(message), "{what}: {error}");
                assert!(!error.advice().is_empty(), "{what}");
                let binds = error.advice()[0].fix.contains("kubectl create clusterrolebinding");
                assert_eq!(binds, what.contains("403"), "{what}: {:?}", error.advice());
            }
            (other, _) => panic!("{what}: {other:?}"),
        }
        assert_eq!(*cluster.requests.lock().unwrap(), *objects, "{what}");
    }
}

#[tokio::test]
async fn only_ready_pods_are_used() {
    let authority = Authority::new();
    let unusable = [
        pod(|pod| pod["status"]["phase"] = json!("Pending")),
        pod(|pod| pod["status"]["conditions"][1]["status"] = json!("False")),
        pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T00:00:00Z")),
        pod(|pod| pod["status"]["podIP"] = json!("")),
        pod(|pod| pod["status"]["conditions"] = json!([])),
        pod(|pod| pod["status"] = json!({})),
    ];
    for (first, host) in [("10.0.0.9", "10.0.0.9:4219"), ("fd00::1", "[fd00::1]:4219")] {
        let here = pod(|pod| pod["status"]["podIP"] = json!(first));
        let items: Vec<Value> = unusable.iter().cloned().chain([here, pod(|_| {})]).collect();
        let cluster = cluster([status(404), status(404), pods(&items)]);
        let options = ClientOptions { ca_file: Some(authority.file()), ..ClientOptions::default() };
        assert_eq!(Proxy::connect(&cluster.access, &options).await.unwrap().host(), host);
        let options = ClientOptions { insecure: true, ..ClientOptions::default() };
        assert_eq!(Proxy::connect(&cluster.access, &options).await.unwrap().host(), host);
    }
    let cluster = cluster([status(404), status(404), pods(&unusable)]);
    let options = ClientOptions { ca_file: Some(authority.file()), ..ClientOptions::default() };
    let error = Proxy::connect(&cluster.access, &options).await.unwrap_err();
    assert!(error.to_string().contains("is ready"), "{error}");
}

#[tokio::test]
async fn an_unreachable_kubernetes_api() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Proxy::connect(&kubeconfig(unused), &ClientOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Discovery, "{error}");
    assert!(error.advice().iter().any(|advice| advice.fix.contains("--rpp-endpoint")));
    assert!(error.advice().iter().any(|advice| advice.fix.contains("https://127.0.0.1:6445")));

    // The CA file for the proxy is not used for the API server.
    let api = ScriptedProxy::new(|_, _| answer(200, "{}"));
    let mut config = kubeconfig(unused);
    config.config.cluster_url = format!("https://{}", api.server.address).parse().unwrap();
    let options = ClientOptions { ca_file: Some(api.authority.file()), ..ClientOptions::default() };
    let error = Proxy::connect(&config, &options).await.unwrap_err();
    assert!(matches!(error, Error::ClusterCertificate { .. }), "{error:?}");
    assert!(error.advice()[0].cause.contains("not with `--rpp-ca-file`"), "{:?}", error.advice());
    assert_eq!(api.count(), 0);
}

#[tokio::test]
async fn a_cluster_that_announces_another_proxy() {
    let scripted = ScriptedProxy::new(|_, _| answer(200, r#"{"tags": ["v1.0.0"]}"#));
    let here = scripted.server.address.to_string();
    let map = |host: &str, ca: &str| {
        config_map(
            &json!({"publicEndpoint": format!("https://{host}"), "endpoints": format!("[\"{here}\"]"), "ca.crt": ca}),
        )
    };
    let check = async |map: (u16, Value), pinned: Option<&EndpointIdentity>| {
        let cluster = cluster([map, status(404), status(404)]);
        let config = &cluster.access;
        let options = ClientOptions { prefer: Prefer::Internal, timeouts: fast_retries(), ..ClientOptions::default() };
        let found = Proxy::find(config.client(), config, &options).await.unwrap();
        let endpoints = found.check("https://api", pinned)?;
        let proxy = Proxy::connect_to(endpoints.clone(), config, &options)?;
        Ok::<_, Error>((proxy, endpoints))
    };
    let (own, other) = (&scripted.authority.pem, Authority::new().pem);
    let (_, first) = check(map("public", own), None).await.unwrap();
    let first = first.new_pin.expect("the first identity is pinned");
    assert_eq!((first.host.as_deref(), first.keys.len()), (Some("public"), 1));
    let (_, again) = check(map("public", own), Some(&first)).await.unwrap();
    assert_eq!((again.new_pin, again.untrusted.len()), (None, 0));

    // An authority beside the pinned one verifies nothing, and is not remembered.
    for bundle in [format!("{other}{own}"), format!("{own}{other}")] {
        let (proxy, more) = check(map("public", &bundle), Some(&first)).await.unwrap();
        assert_eq!((more.new_pin, more.untrusted.len()), (None, 1));
        assert_eq!(proxy.tags(&d8_crds::values::name::Component::D8).await.unwrap(), ["v1.0.0"]);
    }
    let requests = scripted.count();
    let foreign = EndpointIdentity { keys: key_of(&other).await, ..first.clone() };
    let (proxy, more) = check(map("public", &format!("{other}{own}")), Some(&foreign)).await.unwrap();
    assert_eq!((more.new_pin.map(|pin| pin.keys), more.untrusted), (Some(foreign.keys.clone()), first.keys.clone()));
    let error = proxy.tags(&d8_crds::values::name::Component::D8).await.unwrap_err();
    assert!(matches!(&error, Error::UntrustedKey { announced, .. } if *announced == first.keys), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::EndpointChanged, "{error}");
    assert!(error.to_string().contains(first.keys.first().unwrap().as_str()), "{error}");

    for map in [map("evil", own), map("public", &other)] {
        let error = check(map, Some(&first)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::EndpointChanged, "{error}");
        assert!(error.to_string().contains("pinned host public, keys sha256:"), "{error}");
        assert!(error.advice().iter().any(|advice| advice.fix.contains("d8 policy trust")), "{:?}", error.advice());
    }
    assert_eq!(scripted.count(), requests, "no request was sent");
}

/// The key of an authority, as a cluster announces it.
async fn key_of(ca: &str) -> std::collections::BTreeSet<d8_crds::values::digest::Digest> {
    let data = json!({"endpoints": "[\"127.0.0.1:1\"]", "ca.crt": ca});
    let config = &cluster([config_map(&data), status(404), status(404)]).access;
    Proxy::find(config.client(), config, &ClientOptions::default()).await.unwrap().identity.keys
}
