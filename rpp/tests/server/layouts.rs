//! Layouts that others wrote, also with bad intent: nothing outside of the layout is read, nothing blocks, and a broken
//! image does not affect the others.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use d8_crds::values::digest::Digest;
use d8_rpp::{ErrorKind, server};
use serde_json::{Value, json};

use super::{HELLO, Lab, download, hello, kubeconfig, options};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The layout of a lab, written to by hand.
struct Hand<'a>(&'a Path);

impl Hand<'_> {
    fn path(&self, digest: &str) -> PathBuf {
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    /// Writes a blob. Returns its descriptor.
    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes).to_string();
        fs::write(self.path(&digest), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    fn manifest(&self, layer: &Value) -> Value {
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": [layer]});
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Names a descriptor as a version of the plugin.
    fn name(&self, tag: &str, mut descriptor: Value) {
        descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": format!("{HELLO}:{tag}")});
        let path = self.0.join("index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        index["manifests"].as_array_mut().unwrap().push(descriptor);
        let staged = self.0.join("staged");
        fs::write(&staged, index.to_string()).unwrap();
        fs::rename(staged, path).unwrap();
    }
}

fn layer(name: &str) -> Vec<u8> {
    d8_layers::layer(&[d8_layers::TarEntry::file("plugin", name)])
}

#[tokio::test]
async fn a_broken_image_is_told_and_does_not_affect_the_others() {
    let lab = Lab::new().await;
    let root = lab.directory.path().join("layout");
    let hand = Hand(&root);
    let outside = lab.directory.path().join("secret");
    fs::write(&outside, "{\"layers\": []}").unwrap();
    let replaced = |what: &str, plant: &dyn Fn(&Path)| {
        let manifest = hand.manifest(&hand.blob(LAYER, &layer(what)));
        let path = hand.path(manifest["digest"].as_str().unwrap());
        fs::remove_file(&path).unwrap();
        plant(&path);
        manifest
    };
    let pipe = |path: &Path| {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let large = format!("{{\"mediaType\": \"{MANIFEST}\", \"x\": \"{}\"}}", "x".repeat(1 << 20));
    let cases: Vec<(&str, Value, &str)> = vec![
        ("v2.0.0", replaced("a", &|path| symlink(&outside, path).unwrap()), "is a link"),
        ("v2.1.0", replaced("b", &pipe), "is not a regular file"),
        ("v2.2.0", replaced("c", &|path| fs::create_dir(path).unwrap()), "is not a regular file"),
        ("v2.3.0", replaced("d", &|path| fs::write(path, "{}").unwrap()), "has another digest"),
        ("v2.4.0", replaced("e", &|_| ()), "No such file"),
        ("v2.5.0", hand.blob(MANIFEST, large.as_bytes()), "larger than 1048576 bytes"),
        ("v2.6.0", hand.blob(MANIFEST, b"no JSON"), "expected"),
        ("v2.7.0", hand.blob(MANIFEST, "[".repeat(100_000).as_bytes()), "invalid type"),
    ];
    for (tag, descriptor, _) in &cases {
        hand.name(tag, descriptor.clone());
    }
    // Its layer is a pipe, and a link out of the layout.
    for (tag, plant) in [("v3.0.0", &pipe as &dyn Fn(&Path)), ("v3.1.0", &|path| symlink(&outside, path).unwrap())] {
        let layer = hand.blob(LAYER, &layer(tag));
        let path = hand.path(layer["digest"].as_str().unwrap());
        fs::remove_file(&path).unwrap();
        plant(&path);
        hand.name(tag, hand.manifest(&layer));
    }
    // A media type that no header can have.
    let odd = json!({"schemaVersion": 2, "mediaType": "a\nb", "layers": [hand.blob(LAYER, &layer("odd"))]});
    hand.name("v4.0.0", hand.blob(MANIFEST, odd.to_string().as_bytes()));

    let proxy = lab.proxy("good");
    for (tag, _, message) in &cases {
        let (status, _, body) = lab.request("GET", &format!("/v1/images/{HELLO}/manifests/{tag}"), Some("good")).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 422, "{tag}: {body}");
        assert!(body.starts_with("the image cannot be used: ") && body.contains(message), "{tag}: {body}");
        assert_eq!(body.lines().count(), 1, "{tag}: {body:?}");
        let error = proxy.resolve(&hello(), &tag.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{tag}: {error}");
        assert!(error.to_string().contains(message), "{tag}: {error}");
    }
    for tag in ["v3.0.0", "v3.1.0"] {
        for route in ["images", "tags"] {
            let (status, _, body) =
                lab.request("GET", &format!("/v1/images/{HELLO}/{route}/{tag}"), Some("good")).await;
            assert_eq!(status, 422, "{tag}: {}", String::from_utf8_lossy(&body));
        }
    }
    let (status, headers, _) = lab.request("GET", &format!("/v1/images/{HELLO}/manifests/v4.0.0"), Some("good")).await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, MANIFEST));
    assert_eq!(download(&proxy, &hello(), "v1.0.0", "linux-amd64").await, "hello 1.0", "other versions are served");
}

#[tokio::test]
async fn the_proxy_and_its_client_choose_the_same_variant() {
    let lab = Lab::new().await;
    let root = lab.directory.path().join("layout");
    let hand = Hand(&root);
    let of = |arch: &str, variant: &str| {
        let mut manifest = hand.manifest(&hand.blob(LAYER, &layer(&format!("{arch} {variant}"))));
        manifest["platform"] = json!({"os": "linux", "architecture": arch});
        if !variant.is_empty() {
            manifest["platform"]["variant"] = json!(variant);
        }
        manifest
    };
    let nested = |children: &[Value]| {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
        hand.blob(INDEX, index.to_string().as_bytes())
    };
    let mut inner = nested(&[of("arm64", "")]);
    inner["platform"] = json!({"os": "linux", "architecture": "arm64"});
    hand.name("v2.0.0", nested(&[of("amd64", "v3"), of("amd64", ""), of("arm", "v7"), of("arm", "v6"), inner]));
    let proxy = lab.proxy("good");
    for (platform, content) in [("linux-amd64", "amd64 "), ("linux-arm", "arm v6")] {
        assert_eq!(download(&proxy, &hello(), "v2.0.0", platform).await, content);
    }
    let path = format!("/v1/images/{HELLO}/images/v2.0.0?platform=linux-arm64");
    let (status, _, body) = lab.request("GET", &path, Some("good")).await;
    let body = String::from_utf8(body).unwrap();
    assert!(status == 422 && body.contains("is an index inside of the index"), "{status} {body}");
    let resolved = proxy.resolve(&hello(), &"v2.0.0".parse().unwrap()).await.unwrap();
    let left_out: Vec<_> =
        resolved.left_out.iter().map(|part| (part.platform.as_ref().unwrap().as_str(), part.why.as_str())).collect();
    assert_eq!(
        left_out[0],
        ("linux-amd64", "variant v3 is left out: the entry without a variant is used, which runs on more CPUs")
    );
    assert_eq!(left_out[1], ("linux-arm", "variant v7 is left out: v6 is used, which runs on more CPUs"));
    assert_eq!(left_out[2].0, "linux-arm64");
    assert!(left_out[2].1.contains("list the manifest of each platform in the index of the tag"), "{left_out:?}");
}

#[tokio::test]
async fn the_bytes_of_a_layer_decide_if_its_media_type_is_odd() {
    let lab = Lab::new().await;
    let root = lab.directory.path().join("layout");
    let hand = Hand(&root);
    let tar = d8_layers::tar(&[d8_layers::TarEntry::file("plugin", "x")]);
    let odd = "application/octet-stream";
    for (tag, media_type, bytes, why) in [
        (
            "v2.0.0",
            "application/vnd.oci.image.layer.v1.tar+zstd",
            b"\x28\xb5\x2f\xfd\xa0".to_vec(),
            Some("a zstd stream"),
        ),
        ("v2.1.0", "application/vnd.oci.image.layer.v1.tar", tar, Some("a tar without compression")),
        ("v2.2.0", odd, b"#!/bin/sh\n".to_vec(), Some("a script that begins with `#!/bin/sh`")),
        ("v2.3.0", odd, layer("gzip"), None),
        ("v2.4.0", "APPLICATION/X-GZIP; a=b", layer("other"), None),
        ("v2.5.0", "a\nb\u{1b}[31m", b"\x7fELF".to_vec(), Some("an ELF program (media type `a b\\u{1b}[31m`)")),
        ("v2.6.0", LAYER, Vec::new(), Some("its last layer is empty")),
    ] {
        hand.name(tag, hand.manifest(&hand.blob(media_type, &bytes)));
        let resolved = lab.proxy("good").resolve(&hello(), &tag.parse().unwrap()).await.unwrap();
        assert_eq!(resolved.artifacts.len(), usize::from(why.is_none()), "{tag}: {resolved:?}");
        let found = resolved.left_out.first().map(|part| part.why.clone());
        assert_eq!(found.is_some(), why.is_some(), "{tag}: {found:?}");
        assert!(found.unwrap_or_default().contains(why.unwrap_or_default()), "{tag}: {resolved:?}");
    }
}

#[tokio::test]
async fn a_directory_that_is_no_layout_is_named() {
    let lab = Lab::new().await;
    let directory = lab.directory.path();
    let bind = |layout: &Path| {
        let options = options(directory, server::ImageSource::Layout(layout.to_owned()));
        let client = kube::Client::try_from(kubeconfig(lab.address).config).unwrap();
        server::Server::bind(&options, client).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let layout = directory.join("other");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let missing = bind(&layout);
    assert!(
        missing.contains("index.json is missing") && missing.contains("deckhouse-cli/plugins/hello:v1.0.0"),
        "{missing}"
    );
    assert!(bind(&directory.join("nowhere")).contains("No such file"));
    symlink(directory.join("layout/index.json"), layout.join("index.json")).unwrap();
    assert!(bind(&layout).contains("index.json: a part of this path is a link"), "{}", bind(&layout));
    fs::remove_file(layout.join("index.json")).unwrap();
    fs::write(layout.join("index.json"), vec![b' '; (16 << 20) + 1]).unwrap();
    assert!(bind(&layout).contains("larger than 16777216 bytes"));
    // Entries that are odd, or named otherwise, are left out.
    let entries = json!({"manifests": [7, {"digest": 5}, {"digest": "sha256:x", "size": 1, "annotations": {"org.opencontainers.image.ref.name": "v1.0.0"}}]});
    fs::write(layout.join("index.json"), entries.to_string()).unwrap();
    assert_eq!(bind(&layout), "");
}
