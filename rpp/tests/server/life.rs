//! Start, probes, shutdown and the binary.

use super::*;

#[tokio::test]
async fn health_readiness_and_metrics() {
    let lab = Lab::new().await;
    let get = |path: &'static str| {
        let url = format!("http://{}{path}", lab.metrics_address);
        async move {
            let response = reqwest::get(url).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    assert_eq!(lab.request("GET", &format!("/v1/images/{HELLO}/images/v1.0.0"), Some("good")).await.0, 200);
    assert_eq!(lab.request("GET", "/metrics", None).await.0, 401, "not on the public address");
    assert_eq!(lab.request("GET", "/readyz", None).await.0, 200);
    assert_eq!(get("/readyz").await, (200, "ok\n".to_owned()));
    let (code, text) = get("/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "d8_rpp_requests_total{route=\"layer\",code=\"200\"} 1",
        "d8_rpp_reviews_total{kind=\"token\",result=\"ok\"} 1",
        "d8_rpp_in_flight 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let sent = text.lines().find_map(|line| line.strip_prefix("d8_rpp_sent_bytes_total ")).unwrap();
    assert!(sent.parse::<u64>().unwrap() > 100, "{sent}");

    // Without its layout the server is not ready.
    std::fs::write(lab.directory.path().join("layout/index.json"), "{").unwrap();
    assert_eq!(get("/readyz").await.0, 503);
}

#[tokio::test]
async fn a_running_request_finishes_during_shutdown() {
    let mut lab = Lab::new().await;
    let proxy = lab.proxy("good");
    // Large enough that most of it is not yet sent when the shutdown begins.
    let mut large = vec![0_u8; 24 << 20];
    let mut state = 1_u64;
    for byte in &mut large {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let path = lab.directory.path().join("large");
    std::fs::write(&path, &large).unwrap();
    let request = PackRequest {
        component: hello(),
        tag: "v2.0.0".parse().unwrap(),
        platforms: vec![("linux-amd64".parse().unwrap(), path)],
        contract: None,
        created: jiff::Timestamp::UNIX_EPOCH,
        format: ImageFormat::Index,
        to: Target::Layout(lab.directory.path().join("layout")),
    };
    pack(&request).unwrap();
    let (tag, platform) = (request.tag.clone(), request.platforms[0].0.clone());
    let layer = proxy.resolve(&hello(), &tag).await.unwrap().artifacts[0].layer.clone();
    let download = proxy.download(&hello(), &tag, &platform, Some(&layer)).await.unwrap();
    lab.shutdown.take().unwrap().send(()).unwrap();
    // Load balancers see that the server is not ready any more.
    let ready =
        async || reqwest::get(format!("http://{}/readyz", lab.metrics_address)).await.unwrap().status().as_u16();
    while ready().await == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ready().await, 503);
    let mut sink = Vec::new();
    unpack(download.into_reader(), "plugin", &Limits::default(), &mut sink).await.unwrap();
    assert_eq!(sink, large);
    drop(proxy);
    // Then the server ends.
    std::pin::pin!(&mut lab.task).as_mut().await.unwrap();
}

#[tokio::test]
async fn invalid_options_prevent_the_start() {
    let lab = Lab::new().await;
    let directory = lab.directory.path();
    let layout = |name: &str| server::ImageSource::Layout(directory.join(name));
    let good = options(directory, layout("layout"));
    let authority_pair = lab.authority.file();
    let cases = [
        (server::ServeOptions { source: layout("missing"), ..good.clone() }, "missing"),
        (server::ServeOptions { generation: 4, ..good.clone() }, "generation 4"),
        (server::ServeOptions { metrics_listen: Some(lab.address), ..good.clone() }, "cannot listen on 127.0.0.1"),
        (server::ServeOptions { tls_cert: directory.join("missing"), ..good.clone() }, "missing"),
        (server::ServeOptions { tls_cert: directory.join("tls.key"), ..good.clone() }, "tls.key"),
        (server::ServeOptions { tls_cert: authority_pair.clone(), ..good.clone() }, "the certificate of an authority"),
        (server::ServeOptions { tls_cert: authority_pair, ..good.clone() }, "basicConstraints=critical,CA:FALSE"),
        (server::ServeOptions { tls_key: directory.join("tls.crt"), ..good.clone() }, "tls.crt"),
        (server::ServeOptions { listen: lab.address, ..good.clone() }, "cannot listen on 127.0.0.1"),
    ];
    for (options, message) in cases {
        let client = kube::Client::try_from(kubeconfig(lab.address).config).unwrap();
        let error = Server::bind(&options, client).err().expect(message);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[tokio::test]
async fn the_binary_prints_its_address_and_ends_on_a_signal() {
    let reviews = Reviews::default();
    let cluster = cluster(Arc::clone(&reviews)).await;
    let lab = Lab::with_cluster(cluster, Arc::clone(&reviews));
    let _cluster = support::verified_cluster(&lab.authority, lab.directory.path(), reviews);
    for signal in ["TERM", "INT"] {
        let mut server = Command::new(env!("CARGO_BIN_EXE_d8-rpp"))
            .args("serve --layout layout --listen 127.0.0.1:0 --tls-cert tls.crt --tls-key tls.key --kubeconfig kubeconfig".split(' '))
            .current_dir(lab.directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoint = Endpoint::explicit(&format!("https://{}", line.trim_end())).unwrap();
        let options =
            ClientOptions { ca_file: Some(lab.authority.file()), timeouts: fast_retries(), ..ClientOptions::default() };
        let proxy = Proxy::new(vec![endpoint], Identity::token("good").unwrap(), &options).unwrap();
        assert_eq!(proxy.tags(&hello()).await.unwrap().len(), 2);
        assert!(Command::new("kill").args(["-s", signal, &server.id().to_string()]).status().unwrap().success());
        let mut log = String::new();
        server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{log}");
        assert!(log.contains("path=\"/v1/images/deckhouse-cli/plugins/hello/tags\" status=200"), "{log}");
        assert!(log.contains("system:serviceaccount:x:good"), "{log}");
        assert!(!log.contains("Bearer") && !log.contains("\"good\""), "{log}");
    }
}
