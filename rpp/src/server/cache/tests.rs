use futures::FutureExt as _;

use super::*;

fn cache(folder: &Path, bound: u64) -> Arc<Cache> {
    Cache::open(folder, bound, Arc::new(Metrics::new())).unwrap()
}

/// A layer that comes in these pieces.
fn incoming(pieces: &[&[u8]]) -> BoxFuture<'static, io::Result<Incoming>> {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    async move { Ok(stream::iter(pieces).boxed()) }.boxed()
}

/// What happens, what comes, and words of the reader's error.
type Case = (&'static str, BoxFuture<'static, io::Result<Incoming>>, Option<&'static str>);

/// What a reader gets: all of it, or what came before the error.
async fn read(blob: Blob) -> (Vec<u8>, Option<String>) {
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

/// The layers that are there under their names.
fn kept(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn hex(content: &[u8]) -> String {
    Digest::of(content).as_str().trim_start_matches("sha256:").to_owned()
}

fn never() -> BoxFuture<'static, io::Result<Incoming>> {
    async { Err(io::Error::other("it was asked for again")) }.boxed()
}

#[tokio::test]
async fn what_comes_is_what_its_name_says_or_nobody_has_it_whole() {
    let right = b"right bytes";
    let refused = || async { Err(io::Error::other("refused")) }.boxed();
    let breaks =
        || async { Ok(stream::iter([Ok(Bytes::from_static(b"right")), Err(io::Error::other("broken"))]).boxed()) };
    let cases: [Case; 7] = [
        ("whole", incoming(&[b"right", b" bytes"]), None),
        ("other bytes", incoming(&[b"wrong", b" bytes"]), Some("it has digest sha256:")),
        ("cut short", incoming(&[b"right"]), Some("it has 5 of 11 bytes")),
        ("too long", incoming(&[b"right bytes", b"!"]), Some("it is longer than the 11 bytes")),
        ("nothing", incoming(&[]), Some("it has 0 of 11 bytes")),
        ("refused", refused(), Some("refused")),
        ("broken", breaks().boxed(), Some("broken")),
    ];
    for (what, coming, words) in cases {
        let folder = tempfile::TempDir::new().unwrap();
        let cache = cache(folder.path(), 1 << 20);
        let digest = Digest::of(right);
        let blob = cache.get(&digest, right.len() as u64, || coming).unwrap();
        // Whoever comes while it is on its way waits for the same.
        let other = cache.get(&digest, right.len() as u64, never).unwrap();
        for (got, error) in [read(blob).await, read(other).await] {
            match words {
                None => assert_eq!((got.as_slice(), error), (&right[..], None), "{what}"),
                Some(words) => {
                    assert!(error.as_ref().is_some_and(|error| error.contains(words)), "{what}: {error:?}");
                    assert!(got.len() < right.len(), "{what}: {got:?}");
                }
            }
        }
        assert_eq!(kept(folder.path()).len(), usize::from(words.is_none()), "{what}");
        if words.is_some() {
            // It is not remembered as bad.
            let again = cache.get(&digest, right.len() as u64, || incoming(&[right])).unwrap();
            assert_eq!(read(again).await, (right.to_vec(), None), "{what}");
        }
    }
}

#[tokio::test]
async fn the_last_byte_waits_for_the_digest() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = cache(folder.path(), 1 << 20);
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(1);
    let pieces =
        stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|piece| (piece, receiver)) });
    let blob = cache.get(&Digest::of(b"right bytes"), 11, || async { Ok(pieces.boxed()) }.boxed()).unwrap();
    let mut stream = Box::pin(blob.bytes());
    sender.send(Ok(Bytes::from_static(b"right byte"))).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "right byte", "what came is sent on");
    sender.send(Ok(Bytes::from_static(b"z"))).await.unwrap();
    drop(sender);
    assert!(stream.next().await.unwrap().is_err(), "and nobody takes it for whole");
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let folder = tempfile::TempDir::new().unwrap();
    let cache = cache(folder.path(), 10);
    let layers: [&'static [u8]; 4] = [b"aaaa", b"bbbb", b"cccc", b"longer than all"];
    let bring = async |content: &'static [u8]| {
        let blob = cache.get(&Digest::of(content), content.len() as u64, || incoming(&[content])).unwrap();
        assert_eq!(read(blob.clone()).await, (content.to_vec(), None));
        blob
    };
    let first = bring(layers[0]).await;
    bring(layers[1]).await;
    bring(layers[0]).await;
    bring(layers[2]).await;
    let names = |contents: &[&[u8]]| {
        let mut names: Vec<String> = contents.iter().map(|content| hex(content)).collect();
        names.sort();
        names
    };
    assert_eq!(kept(folder.path()), names(&[layers[0], layers[2]]));
    bring(layers[3]).await;
    // It is removed by the task that fetched it, after its last reader has it.
    for _ in 0..100 {
        if kept(folder.path()).is_empty() {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(kept(folder.path()), names(&[]), "one larger than all is only passed through");
    assert_eq!(read(first).await, (layers[0].to_vec(), None), "who has it can read on");
}

#[tokio::test]
async fn what_is_there_from_before() {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write(&hex(b"kept"), b"kept");
    write(&hex(b"damaged"), b"dam");
    write(".filling-abc", b"half");
    write("README", b"not ours");
    let cache = cache(folder.path(), 1 << 20);
    let blob = cache.get(&Digest::of(b"kept"), 4, never).unwrap();
    assert_eq!(read(blob).await, (b"kept".to_vec(), None));
    let blob = cache.get(&Digest::of(b"damaged"), 7, || incoming(&[b"damaged"])).unwrap();
    assert_eq!(read(blob).await, (b"damaged".to_vec(), None));
    let mut expected = vec!["README".to_owned(), hex(b"kept"), hex(b"damaged")];
    expected.sort();
    assert_eq!(kept(folder.path()), expected);
}
