use futures::{FutureExt as _, stream};

use super::*;

fn cache(directory: &Path, max_bytes: u64) -> Arc<Cache> {
    Cache::open(directory, max_bytes, Arc::new(Metrics::new())).unwrap()
}

/// Returns a layer that arrives in these chunks.
fn chunks(pieces: &[&[u8]]) -> BoxFuture<'static, io::Result<BlobStream>> {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    async move { Ok(stream::iter(pieces).boxed()) }.boxed()
}

/// Name, the fetch, and a part of the reader's error.
type FetchCase = (&'static str, BoxFuture<'static, io::Result<BlobStream>>, Option<&'static str>);

/// Reads a layer to its end, or to the error.
async fn read(blob: CachedBlob) -> (Vec<u8>, Option<String>) {
    let mut stream = Box::pin(blob.bytes());
    let mut got = Vec::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => got.extend_from_slice(&chunk),
            Err(error) => return (got, Some(error.to_string())),
        }
    }
    (got, None)
}

/// Returns the names of the files in the cache.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.join("layers"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn hex(content: &[u8]) -> String {
    Digest::of(content).as_str().trim_start_matches("sha256:").to_owned()
}

fn unexpected() -> BoxFuture<'static, io::Result<BlobStream>> {
    async { Err(io::Error::other("it was fetched again")) }.boxed()
}

#[tokio::test]
async fn only_verified_layers_are_sent_completely_and_kept() {
    let right = b"right bytes";
    let refused = || async { Err(io::Error::other("refused")) }.boxed();
    let breaks =
        || async { Ok(stream::iter([Ok(Bytes::from_static(b"right")), Err(io::Error::other("broken"))]).boxed()) };
    let cases: [FetchCase; 7] = [
        ("whole", chunks(&[b"right", b" bytes"]), None),
        ("other bytes", chunks(&[b"wrong", b" bytes"]), Some("it has digest sha256:")),
        ("cut short", chunks(&[b"right"]), Some("it has 5 of 11 bytes")),
        ("too long", chunks(&[b"right bytes", b"!"]), Some("it is longer than the 11 bytes")),
        ("nothing", chunks(&[]), Some("it has 0 of 11 bytes")),
        ("refused", refused(), Some("refused")),
        ("broken", breaks().boxed(), Some("broken")),
    ];
    for (what, fetch, message) in cases {
        let directory = tempfile::TempDir::new().unwrap();
        let cache = cache(directory.path(), 1 << 20);
        let digest = Digest::of(right);
        let blob = cache.get(&digest, right.len() as u64, || fetch).unwrap();
        // A request during the fetch waits for the same bytes.
        let other = cache.get(&digest, right.len() as u64, unexpected).unwrap();
        for (got, error) in [read(blob).await, read(other).await] {
            match message {
                None => assert_eq!((got.as_slice(), error), (&right[..], None), "{what}"),
                Some(message) => {
                    assert!(error.as_ref().is_some_and(|error| error.contains(message)), "{what}: {error:?}");
                    assert!(got.len() < right.len(), "{what}: {got:?}");
                }
            }
        }
        assert_eq!(files(directory.path()).len(), usize::from(message.is_none()), "{what}");
        if message.is_some() {
            // The failure is not cached.
            let again = cache.get(&digest, right.len() as u64, || chunks(&[right])).unwrap();
            assert_eq!(read(again).await, (right.to_vec(), None), "{what}");
        }
    }
}

#[tokio::test]
async fn the_last_byte_waits_for_the_digest() {
    let directory = tempfile::TempDir::new().unwrap();
    let cache = cache(directory.path(), 1 << 20);
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let pieces =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) });
    let blob = cache.get(&Digest::of(b"right bytes"), 11, || async { Ok(pieces.boxed()) }.boxed()).unwrap();
    let mut stream = Box::pin(blob.bytes());
    sender.send(Ok(Bytes::from_static(b"right byte"))).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "right byte", "bytes are forwarded as they arrive");
    sender.send(Ok(Bytes::from_static(b"z"))).await.unwrap();
    drop(sender);
    assert!(stream.next().await.unwrap().is_err(), "the last byte of a wrong layer is not sent");
}

#[tokio::test]
async fn the_least_recently_used_layers_are_evicted() {
    let directory = tempfile::TempDir::new().unwrap();
    let cache = cache(directory.path(), 10);
    let layers: [&'static [u8]; 4] = [b"aaaa", b"bbbb", b"cccc", b"longer than all"];
    let fetch = async |content: &'static [u8]| {
        let blob = cache.get(&Digest::of(content), content.len() as u64, || chunks(&[content])).unwrap();
        assert_eq!(read(blob.clone()).await, (content.to_vec(), None));
        blob
    };
    let first = fetch(layers[0]).await;
    fetch(layers[1]).await;
    fetch(layers[0]).await;
    fetch(layers[2]).await;
    let names = |contents: &[&[u8]]| {
        let mut names: Vec<String> = contents.iter().map(|content| hex(content)).collect();
        names.sort();
        names
    };
    assert_eq!(files(directory.path()), names(&[layers[0], layers[2]]));
    fetch(layers[3]).await;
    // A layer larger than the cache is not kept, and evicts nothing.
    wait_for_files(directory.path(), &names(&[layers[0], layers[2]])).await;
    fetch(b"dddddddd").await;
    wait_for_files(directory.path(), &names(&[b"dddddddd"])).await;
    assert_eq!(read(first).await, (layers[0].to_vec(), None), "an evicted layer can be read on");
}

/// Waits until the cache has these files: a task may still be at work after its reader got the last byte.
async fn wait_for_files(directory: &Path, expected: &[String]) {
    while files(directory) != expected {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_declared_size_evicts_nothing() {
    let directory = tempfile::TempDir::new().unwrap();
    let cache = cache(directory.path(), 10);
    let good = Digest::of(b"good");
    assert_eq!(read(cache.get(&good, 4, || chunks(&[b"good"])).unwrap()).await, (b"good".to_vec(), None));
    // Nothing arrives of a layer that claims to fill the cache, and of one that claims to be larger.
    for size in [10, 11] {
        let blob = cache.get(&Digest::of(b"claims"), size, || chunks(&[])).unwrap();
        assert!(read(blob).await.1.unwrap().contains("it has 0 of"), "{size}");
    }
    // A manifest with another size for the same layer.
    for size in [3, 5, 1 << 40] {
        let error = cache.get(&good, size, unexpected).err().unwrap();
        assert!(error.to_string().contains("the layer has 4 bytes, its manifest says"), "{error}");
    }
    assert_eq!(read(cache.get(&good, 4, unexpected).unwrap()).await, (b"good".to_vec(), None));
    // A layer that is larger than the cache is sent, and evicts nothing.
    let large: &[u8] = b"larger than ten";
    let blob = cache.get(&Digest::of(large), 15, || chunks(&[large])).unwrap();
    assert_eq!(read(blob).await, (large.to_vec(), None));
    assert_eq!(files(directory.path()), [hex(b"good")]);
    assert_eq!(read(cache.get(&good, 4, unexpected).unwrap()).await, (b"good".to_vec(), None));
}

#[tokio::test]
async fn files_from_an_earlier_process() {
    let directory = tempfile::TempDir::new().unwrap();
    let layers = directory.path().join("layers");
    std::fs::create_dir(&layers).unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(layers.join(name), content).unwrap();
    write(&hex(b"kept"), b"kept");
    write(&hex(b"damaged"), b"dam");
    write(&hex(b"another"), b"content");
    write(".filling-abc", b"half");
    write("README", b"not ours");
    let cache = cache(directory.path(), 1 << 20);
    let blob = cache.get(&Digest::of(b"kept"), 4, unexpected).unwrap();
    assert_eq!(read(blob).await, (b"kept".to_vec(), None));
    for content in [&b"damaged"[..], b"another"] {
        let blob = cache.get(&Digest::of(content), 7, || chunks(&[content])).unwrap();
        assert_eq!(read(blob).await, (content.to_vec(), None));
    }
    let mut expected = vec!["README".to_owned(), hex(b"kept"), hex(b"damaged"), hex(b"another")];
    expected.sort();
    assert_eq!(files(directory.path()), expected);

    // A file that changes after it was verified.
    write(&hex(b"kept"), b"kepT");
    let blob = cache.get(&Digest::of(b"kept"), 4, || chunks(&[b"kept"])).unwrap();
    assert_eq!(read(blob).await, (b"kept".to_vec(), None));
}

#[tokio::test]
async fn only_own_regular_files_are_used() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let directory = tempfile::TempDir::new().unwrap();
    let layers = directory.path().join("layers");
    std::fs::create_dir(&layers).unwrap();
    std::fs::set_permissions(&layers, std::fs::Permissions::from_mode(0o777)).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&outside, "linked").unwrap();
    symlink(outside.path(), layers.join(hex(b"linked"))).unwrap();
    std::fs::hard_link(outside.path(), layers.join(hex(b"hardly"))).unwrap();
    let pipe = layers.join(hex(b"a pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let cache = cache(directory.path(), 1 << 20);
    assert_eq!(std::fs::metadata(&layers).unwrap().permissions().mode() & 0o777, 0o700);
    for content in [&b"linked"[..], b"hardly", b"a pipe"] {
        let blob = cache.get(&Digest::of(content), 6, || chunks(&[content])).unwrap();
        assert_eq!(read(blob).await, (content.to_vec(), None));
        let stored = layers.join(hex(content));
        assert!(std::fs::symlink_metadata(&stored).unwrap().is_file(), "{}", stored.display());
        assert_eq!(std::fs::read(&stored).unwrap(), content);
    }
    assert_eq!(std::fs::read(&outside).unwrap(), b"linked", "the file outside is unchanged");

    // The directory itself is a link.
    let other = tempfile::TempDir::new().unwrap();
    symlink(&layers, other.path().join("layers")).unwrap();
    let error = Cache::open(other.path(), 1, Arc::new(Metrics::new())).err().unwrap();
    assert!(error.to_string().contains("not a directory"), "{error}");
}
