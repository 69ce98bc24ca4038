//! Clients that hold connections without using them, over real sockets: the server closes them, and serves others.

use std::{net::IpAddr, sync::Arc, time::Duration};

use d8_rpp::connections::ConnectionLimits;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{HELLO, Lab, publish};

/// Longest wait for what the server must do by itself. A server that does not do it never does.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of a layer that no buffer between server and client holds.
const LARGE: usize = 24 << 20;

/// Short limits, so that a test need not wait.
fn short() -> ConnectionLimits {
    ConnectionLimits {
        headers: Duration::from_millis(500),
        idle: Duration::from_millis(700),
        progress: Duration::from_secs(1),
        ..ConnectionLimits::default()
    }
}

impl Lab {
    /// Opens a TLS connection from a local address. `alpn`: the protocol.
    async fn connect(&self, from: &str, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from.parse::<IpAddr>().unwrap(), 0).into())?;
        // A small window: what the client does not read stays at the server.
        socket.set_recv_buffer_size(32 << 10)?;
        let stream = socket.connect(self.address).await?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Opens a connection over HTTP/1 and sends the beginning of it.
    async fn send(&self, from: &str, bytes: &str) -> TlsStream<TcpStream> {
        let mut stream = self.connect(from, b"http/1.1").await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// Asserts that another client is served.
    async fn assert_serves_others(&self, what: &str) {
        let tags = self.proxy("good").tags(&super::hello()).await;
        assert!(tags.is_ok_and(|tags| tags.len() >= 2), "{what}");
    }

    /// Publishes a version with an executable that does not compress.
    fn publish_large(&self) {
        let mut state = 1_u64;
        let byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(32 + (state >> 58) as u8)
        };
        let large: String = std::iter::repeat_with(byte).take(LARGE).collect();
        publish(self.directory.path(), HELLO, "v9.0.0", &large, None);
    }
}

fn get(path: &str) -> String {
    format!("GET /v1/images/{HELLO}/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")
}

/// Reads until the server closes the connection. Returns the bytes.
async fn read_to_end(mut stream: impl AsyncRead + Unpin, what: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A connection that is reset is closed, too.
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok(), "{what}: the server did not close the connection");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_request_are_closed() {
    let lab = Lab::with_limits(short()).await;
    let request = get("tags");
    for (what, sent) in [
        ("nothing", ""),
        ("a part of a request line", "GET /v1"),
        ("a part of the headers", &request[..request.len() - 4]),
        ("a request, then nothing", &request),
        ("a request, then a part of another one", &(request.clone() + &request[..20])),
        ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let stream = lab.send("127.0.0.1", sent).await;
        lab.assert_serves_others(what).await;
        let answer = String::from_utf8_lossy(&read_to_end(stream, what).await).into_owned();
        assert_eq!(
            answer.starts_with("HTTP/1.1 200"),
            sent.contains("\r\n\r\n") && sent.starts_with("GET"),
            "{what}: {answer}"
        );
    }
    // No TLS handshake at all.
    let stream = TcpStream::connect(lab.address).await.unwrap();
    read_to_end(stream, "no handshake").await;
    // The address for health and metrics.
    let mut stream = TcpStream::connect(lab.metrics_address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost").await.unwrap();
    read_to_end(stream, "metrics").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_http_2_is_closed() {
    let lab = Lab::with_limits(short()).await;
    let stream = lab.connect("127.0.0.1", b"h2").await.unwrap();
    let (client, connection) = h2_client(stream).await;
    let connection = tokio::spawn(connection);
    let response = h2_get(client.clone(), "tags").await;
    assert_eq!(response.status(), 200);
    // The client answers pings and keeps the connection, but requests nothing.
    assert!(tokio::time::timeout(PATIENCE, connection).await.is_ok(), "the server did not close the connection");
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_disconnected() {
    let lab = Lab::with_limits(short()).await;
    lab.publish_large();
    // HTTP/1: it never reads.
    let stalled = lab.send("127.0.0.1", &get("images/v9.0.0")).await;
    // HTTP/2: it reads nothing of the response, so its window stays full. The connection itself is read.
    let stream = lab.connect("127.0.0.1", b"h2").await.unwrap();
    let (client, connection) = h2_client(stream).await;
    let connection = tokio::spawn(connection);
    let response = h2_get(client.clone(), "images/v9.0.0").await;
    assert_eq!(response.status(), 200);
    lab.assert_serves_others("while two clients do not read").await;
    assert!(
        tokio::time::timeout(PATIENCE, connection).await.is_ok(),
        "HTTP/2: the server did not close the connection"
    );
    drop(response);
    // It began to send before the server gave up.
    lab.wait_for_connections(0).await;
    let got = read_to_end(stalled, "HTTP/1").await;
    assert!(!got.is_empty() && got.len() < LARGE, "{}", got.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_that_reads_enough_is_served() {
    let lab = Lab::with_limits(short()).await;
    lab.publish_large();
    let mut stream =
        lab.send("127.0.0.1", &get("images/v9.0.0").replace("Host: x", "Host: x\r\nConnection: close")).await;
    let (mut got, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    let started = std::time::Instant::now();
    loop {
        // Slow enough that the whole takes longer than the time for a part.
        if started.elapsed() < 3 * short().progress {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(read) => got.extend_from_slice(&chunk[..read]),
        }
    }
    let body = got.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&got[..body]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert_eq!(got.len() - body, length.parse::<usize>().unwrap(), "{head}");
}

/// Reads a response over HTTP/1 whose body is one line.
async fn read_response(stream: &mut (impl AsyncRead + Unpin), what: &str) -> String {
    let mut text = Vec::new();
    let read = async {
        let mut chunk = [0; 4096];
        while !String::from_utf8_lossy(&text).split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('\n')) {
            match stream.read(&mut chunk).await {
                Ok(read) if read > 0 => text.extend_from_slice(&chunk[..read]),
                end => panic!("{what}: {end:?} after {}", String::from_utf8_lossy(&text)),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("{what}: no response"));
    String::from_utf8(text).unwrap()
}

/// The time without a request and the time for headers are two limits, also on a connection of HTTP/1.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_be_idle_for_longer_than_headers_may_take() {
    let headers = Duration::from_millis(300);
    let limits = ConnectionLimits { headers, idle: Duration::from_hours(1), ..ConnectionLimits::default() };
    let lab = Lab::with_limits(limits).await;
    let request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut stream = lab.send("127.0.0.1", request).await;
    for what in ["first", "after an idle time"] {
        assert!(read_response(&mut stream, what).await.starts_with("HTTP/1.1 200"), "{what}");
        tokio::time::sleep(4 * headers).await;
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    read_response(&mut stream, "last").await;
    // Nothing but the time for headers ends this connection.
    stream.write_all(&request.as_bytes()[..20]).await.unwrap();
    read_to_end(stream, "a part of the headers of another request").await;

    // Bytes over HTTP/2 may be something else than headers.
    let (mut client, mut connection) = h2_client(lab.connect("127.0.0.1", b"h2").await.unwrap()).await;
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(h2_get(client.clone(), "tags").await.status(), 200);
    for _ in 0..3 {
        pings.ping(h2::Ping::opaque()).await.unwrap();
        tokio::time::sleep(headers).await;
    }
    assert_eq!(h2_get(client.clone(), "tags").await.status(), 200);
    client = client.ready().await.unwrap();
    assert!(!connection.is_finished());
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_does_not_take_all_connections() {
    let limits = ConnectionLimits { connections: 300, per_address: 150, ..ConnectionLimits::default() };
    let lab = Lab::with_limits(limits).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(lab.connect("127.0.0.2", b"http/1.1").await.unwrap());
    }
    lab.assert_serves_others("while one address holds all of its connections").await;
    lab.wait_for_connections(150).await;
    let metrics = lab.metrics().await;
    assert!(metrics.contains("d8_rpp_connections_displaced_total{bound=\"address\"} 50"), "{metrics}");
    for stream in held.drain(..50) {
        read_to_end(stream, "a connection that made room").await;
    }
    drop(held);
    lab.wait_for_connections(0).await;
    assert!(lab.connect("127.0.0.2", b"http/1.1").await.is_ok(), "its connections are free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_with_a_request_do_not_make_room() {
    let limits = ConnectionLimits { connections: 5, per_address: 5, ..ConnectionLimits::default() };
    let lab = Lab::with_limits(limits).await;
    lab.publish_large();
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut stream = lab.send("127.0.0.1", &get("images/v9.0.0")).await;
        // The request is running, and the client does not read the rest.
        stream.read_exact(&mut [0; 1024]).await.unwrap();
        held.push(stream);
    }
    for from in ["127.0.0.1", "127.0.0.3"] {
        assert!(lab.connect(from, b"http/1.1").await.is_err(), "{from}");
    }
    let metrics = lab.metrics().await;
    for bound in ["address", "all"] {
        assert!(metrics.contains(&format!("d8_rpp_connections_refused_total{{bound=\"{bound}\"}} 1")), "{metrics}");
    }
    // Idle connections make room at the address for health and metrics.
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(lab.metrics_address).await.unwrap());
    }
    for path in ["healthz", "readyz"] {
        let answer = reqwest::get(format!("http://{}/{path}", lab.metrics_address)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    held.clear();
    lab.assert_serves_others("after they were released").await;
}

impl Lab {
    async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.metrics_address)).await.unwrap().text().await.unwrap()
    }

    /// Waits until this many clients are connected, besides the one that reads the metrics.
    async fn wait_for_connections(&self, count: usize) {
        let line = format!("\nd8_rpp_connections {}\n", count + 1);
        let wait = async {
            while !self.metrics().await.contains(&line) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

/// An HTTP/2 connection whose client has no room for a body, and requests again and again.
async fn request_without_reading(lab: &Lab, from: &str, every: Duration) -> tokio::task::JoinHandle<()> {
    let stream = lab.connect(from, b"h2").await.unwrap();
    let (client, mut connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, bytes::Bytes>(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let requests = tokio::spawn(async move {
        let mut last = None;
        // Each new request resets the one before.
        while let Ok(mut ready) = client.clone().ready().await {
            let request = http::Request::get("https://127.0.0.1/healthz").body(()).unwrap();
            let Ok((response, _)) = ready.send_request(request, true) else { break };
            let Ok(response) = response.await else { break };
            assert_eq!(response.status(), 200);
            drop(last.replace(response));
            for _ in 0..20 {
                tokio::time::sleep(every / 20).await;
                if pings.ping(h2::Ping::opaque()).await.is_err() {
                    return;
                }
            }
        }
    });
    tokio::spawn(async move {
        drop(connection.await);
        requests.abort();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_2_client_that_reads_nothing_is_disconnected_whatever_it_sends() {
    let lab = Lab::with_limits(short()).await;
    let connection = request_without_reading(&lab, "127.0.0.1", Duration::from_millis(400)).await;
    assert!(tokio::time::timeout(PATIENCE, connection).await.is_ok(), "the server did not close the connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_clients_that_read_nothing_make_room() {
    let headers = Duration::from_millis(500);
    let limits = ConnectionLimits { connections: 6, per_address: 3, headers, ..ConnectionLimits::default() };
    let lab = Lab::with_limits(limits).await;
    let mut held = Vec::new();
    for from in ["127.0.0.2", "127.0.0.3"] {
        for _ in 0..3 {
            held.push(request_without_reading(&lab, from, Duration::from_millis(200)).await);
        }
    }
    lab.wait_for_connections(6).await;
    tokio::time::sleep(2 * headers).await;
    assert!(held.iter().all(|connection| !connection.is_finished()), "there is room for them");
    lab.assert_serves_others("while clients that read nothing hold all connections").await;
    lab.assert_serves_others("again").await;
    // Their own address has room for another one, too.
    drop(lab.connect("127.0.0.2", b"http/1.1").await.unwrap());
    let metrics = lab.metrics().await;
    assert!(!metrics.contains("d8_rpp_connections_refused_total{"), "{metrics}");
    assert!(held.iter().any(tokio::task::JoinHandle::is_finished), "{metrics}");
}

/// The same limits, and a client that reads slowly, but faster than it must.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_download_does_not_make_room() {
    let limits = ConnectionLimits { connections: 1, per_address: 1, ..short() };
    let lab = Lab::with_limits(limits).await;
    lab.publish_large();
    let stream = lab.connect("127.0.0.1", b"h2").await.unwrap();
    let (client, connection) = h2_client(stream).await;
    let connection = tokio::spawn(connection);
    let mut body = h2_get(client.clone(), "images/v9.0.0").await.into_body();
    let (mut got, started) = (0, std::time::Instant::now());
    while let Some(chunk) = body.data().await {
        let length = chunk.unwrap().len();
        got += length;
        body.flow_control().release_capacity(length).unwrap();
        // Far longer than a client may be stuck, and three times as fast as it must read.
        if started.elapsed() < 6 * limits.headers {
            tokio::time::sleep(Duration::from_millis(length as u64 / 200)).await;
            assert!(lab.connect("127.0.0.2", b"http/1.1").await.is_err(), "it made room after {got} bytes");
        }
    }
    assert!(got > LARGE / 2 && !connection.is_finished(), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_metrics_are_served_over_http_1_only() {
    let lab = Lab::new().await;
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(lab.metrics_address).await.unwrap();
        // The preface, settings with a window of 0 bytes, and a request.
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
        let request = [&[0, 0, 16, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 4, 8][..], b"/healthz", &[1, 1, b'x']].concat();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&[&settings[..], &request].concat()).await.unwrap();
        held.push(stream);
    }
    for path in ["healthz", "readyz", "metrics"] {
        let answer = reqwest::get(format!("http://{}/{path}", lab.metrics_address)).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    for stream in held {
        let answer = read_to_end(stream, "HTTP/2").await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
}

type H2Client = h2::client::SendRequest<bytes::Bytes>;

async fn h2_client(stream: TlsStream<TcpStream>) -> (H2Client, h2::client::Connection<TlsStream<TcpStream>>) {
    h2::client::handshake(stream).await.unwrap()
}

async fn h2_get(client: H2Client, path: &str) -> http::Response<h2::RecvStream> {
    let request = http::Request::get(format!("https://127.0.0.1/v1/images/{HELLO}/{path}"))
        .header("authorization", "Bearer good")
        .body(())
        .unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    response.await.unwrap()
}
