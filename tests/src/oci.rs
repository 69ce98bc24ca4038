//! Writes images into an OCI image layout byte by byte, also images that `d8-rpp pack` refuses: what a hostile
//! or careless publisher puts into a registry.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use d8_crds::values::digest::Digest;
use d8_crds::values::platform::Platform;
pub use d8_layers::{TarEntry as Entry, gzip, layer};
use serde_json::{Value, json};

use crate::{Error, Result};

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Writes an empty layout into a directory.
pub fn create(layout: &Path) -> Result<()> {
    write(layout, "oci-layout", json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    write_index(layout, &[])
}

/// Adds `<image>:<tag>` with one layer and these manifest annotations. Replaces an image of that name. Returns
/// the digest of the manifest.
pub fn push(layout: &Path, image: &str, tag: &str, layer: &[u8], annotations: &Value) -> Result<String> {
    let layers = [blob_descriptor(layout, LAYER, layer)?];
    let entry = push_manifest(layout, &layers, annotations)?;
    name(layout, image, tag, &entry)?;
    Ok(entry["digest"].as_str().unwrap_or_default().to_owned())
}

/// Writes a manifest with these layers. Returns its [descriptor].
pub fn push_manifest(layout: &Path, layers: &[Value], annotations: &Value) -> Result<Value> {
    let config = blob_descriptor(layout, CONFIG, config(&Platform::current()).as_bytes())?;
    let mut manifest = manifest(&config, &Value::Null, annotations);
    manifest["layers"] = layers.into();
    blob_descriptor(layout, MANIFEST, manifest.to_string().as_bytes())
}

/// Writes an index with these descriptors. Returns its [descriptor].
pub fn push_index(layout: &Path, manifests: &[Value]) -> Result<Value> {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    blob_descriptor(layout, INDEX, index.to_string().as_bytes())
}

/// Names a descriptor `<image>:<tag>`. Replaces what had that name.
pub fn name(layout: &Path, image: &str, tag: &str, entry: &Value) -> Result<()> {
    let name = format!("{image}:{tag}");
    let mut entry = entry.clone();
    entry["annotations"] = json!({REF_NAME: name});
    // `d8-rpp pack` takes the same lock.
    let locked = || Error::io(format!("lock of {}", layout.display()));
    let lock = fs::File::create(layout.join(".lock")).map_err(locked())?;
    lock.lock().map_err(locked())?;
    let mut manifests = index(layout)?;
    manifests.retain(|other| other["annotations"][REF_NAME] != name.as_str());
    manifests.push(entry);
    write_index(layout, &manifests)
}

/// Writes a blob. Returns its [descriptor].
pub fn blob_descriptor(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    Ok(descriptor(media_type, &blob(layout, bytes)?, bytes.len()))
}

/// Returns an image configuration for a platform.
pub fn config(platform: &Platform) -> String {
    let rootfs = json!({"type": "layers", "diff_ids": []});
    json!({"architecture": platform.arch(), "os": platform.os(), "rootfs": rootfs}).to_string()
}

/// Returns a manifest with one layer. `config` and `layer` are [descriptors](descriptor).
pub fn manifest(config: &Value, layer: &Value, annotations: &Value) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], "annotations": annotations,
    })
}

/// Returns a descriptor of a blob.
pub fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn write_index(layout: &Path, manifests: &[Value]) -> Result<()> {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    write(layout, "index.json", index.to_string().as_bytes())
}

fn index(layout: &Path) -> Result<Vec<Value>> {
    let Ok(text) = fs::read_to_string(layout.join("index.json")) else { return Ok(Vec::new()) };
    let index: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Unexpected { what: "index.json of the layout".into(), found: error.to_string() })?;
    Ok(index["manifests"].as_array().cloned().unwrap_or_default())
}

fn blob(layout: &Path, bytes: &[u8]) -> Result<String> {
    let digest = Digest::of(bytes).to_string();
    write(layout, &format!("blobs/{}", digest.replace(':', "/")), bytes)?;
    Ok(digest)
}

/// Writes a file with a rename, so that the proxy never reads a part of it. Parallel tests write the same blobs.
fn write(layout: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = layout.join(name);
    let fail = || Error::io(path.display().to_string());
    let directory = path.parent().unwrap_or(layout);
    fs::create_dir_all(directory).map_err(fail())?;
    let mut staged = tempfile::NamedTempFile::new_in(directory).map_err(fail())?;
    staged.write_all(bytes).map_err(fail())?;
    staged.persist(&path).map(drop).map_err(|error| fail()(error.error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_replaces_a_tag() {
        let layout = tempfile::tempdir().unwrap();
        let none = json!({});
        let first = push(layout.path(), "deckhouse-cli/plugins/a", "v1.0.0", b"1", &none).unwrap();
        push(layout.path(), "deckhouse-cli/plugins/b", "v1.0.0", b"1", &none).unwrap();
        let second = push(layout.path(), "deckhouse-cli/plugins/a", "v1.0.0", b"2", &none).unwrap();
        assert_ne!(first, second);
        let digests: Vec<_> = index(layout.path()).unwrap().iter().map(|entry| entry["digest"].clone()).collect();
        assert_eq!(digests, [json!(first), json!(second)]);
    }
}
