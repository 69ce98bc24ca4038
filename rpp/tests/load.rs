//! 200 clients at the same time, each with its own connection: no errors, and the server's memory is bounded. Takes
//! 2 seconds in `make test` and 30 seconds in `make load`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use d8_crds::values::{digest::Digest, name::Component, platform::Platform};
use d8_rpp::{
    ClientOptions, Endpoint, Identity, Proxy,
    layer::{Limits, unpack},
    pack::{ImageFormat, PackRequest, Target, pack},
};
use support::{Authority, Reviews, TlsServer, fast_retries, verified_cluster};
use tempfile::TempDir;

const CLIENTS: usize = 200;
/// Size of the downloaded layer, in bytes. Larger than any buffer in between.
const SIZE: usize = 4 << 20;
/// Peak memory that the server may use, in bytes. All downloads together are 800 MiB.
const MEMORY: u64 = 128 << 20;

/// The server's process. It ends when it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_d8-rpp"))
            .args("serve --layout layout --listen 127.0.0.1:0 --tls-cert tls.crt --tls-key tls.key --kubeconfig kubeconfig".split(' '))
            .current_dir(directory)
            .env("LOG_LEVEL", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { process, address: address.trim_end().to_owned() }
    }

    /// Returns the peak memory in bytes (proc(5), `VmHWM`).
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Returns bytes that do not compress.
fn noise() -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(SIZE).collect()
}

fn publish(authority: &Authority) -> (TempDir, TlsServer) {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(directory.path().join(name), content).unwrap();
    write("hello", &noise());
    let request = PackRequest {
        component: "hello".parse().unwrap(),
        tag: "v1.0.0".parse().unwrap(),
        platforms: vec![("linux-amd64".parse().unwrap(), directory.path().join("hello"))],
        contract: None,
        created: jiff::Timestamp::UNIX_EPOCH,
        format: ImageFormat::Index,
        to: Target::Layout(directory.path().join("layout")),
    };
    pack(&request).unwrap();
    let (cert, key) = authority.issue(|_| {}, &["127.0.0.1"]);
    write("tls.crt", cert.as_bytes());
    write("tls.key", key.as_bytes());
    let cluster = verified_cluster(authority, directory.path(), Reviews::default());
    (directory, cluster)
}

/// Lists tags, reads manifests and downloads until the end. Returns the number of downloads.
async fn client(proxy: Proxy, until: Instant) -> usize {
    let hello: Component = "hello".parse().unwrap();
    let (tag, platform) = ("v1.0.0".parse().unwrap(), "linux-amd64".parse::<Platform>().unwrap());
    let mut downloads = 0;
    while downloads == 0 || Instant::now() < until {
        assert_eq!(proxy.tags(&hello).await.unwrap(), ["v1.0.0"]);
        let layer: Digest = proxy.resolve(&hello, &tag).await.unwrap().artifacts[0].layer.clone();
        let download = proxy.download(&hello, &tag, &platform, Some(&layer)).await.unwrap();
        let mut sink = Count(0);
        unpack(download.into_reader(), "plugin", &Limits::default(), &mut sink).await.unwrap();
        assert_eq!(sink.0, SIZE);
        downloads += 1;
    }
    downloads
}

/// Counts the unpacked bytes.
struct Count(usize);

impl d8_rpp::layer::Sink for Count {
    async fn restart(&mut self) -> std::io::Result<()> {
        self.0 = 0;
        Ok(())
    }

    async fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        self.0 += chunk.len();
        Ok(())
    }
}

async fn load(time: Duration) {
    support::provider();
    let authority = Arc::new(Authority::new());
    let (directory, _cluster) = publish(&authority);
    let server = Server::start(directory.path());
    let until = Instant::now() + time;
    let clients = (0..CLIENTS).map(|_| {
        // A busy machine may take long for the first byte: only completed downloads count.
        let mut options =
            ClientOptions { ca_file: Some(authority.file()), timeouts: fast_retries(), ..ClientOptions::default() };
        options.timeouts.connect = Duration::from_mins(1);
        options.timeouts.attempts = 1;
        let endpoint = Endpoint::explicit(&format!("https://{}", server.address)).unwrap();
        let proxy = Proxy::new(vec![endpoint], Identity::token("good").unwrap(), &options).unwrap();
        tokio::spawn(client(proxy, until))
    });
    let clients: Vec<_> = clients.collect();
    let mut downloads = 0;
    for client in clients {
        downloads += client.await.unwrap();
    }
    let peak = server.peak();
    println!("{CLIENTS} clients, {downloads} downloads of {} MiB, peak {} MiB", SIZE >> 20, peak >> 20);
    assert!(peak < MEMORY, "the server took {} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients() {
    load(Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes 30 seconds; run by `make load`"]
async fn two_hundred_clients_for_30_seconds() {
    load(Duration::from_secs(30)).await;
}
