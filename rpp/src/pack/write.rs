//! Writes the blobs of an image to a layout: layers, configs, manifests and the index.

use std::{collections::BTreeMap, io, path::Path};

use d8_crds::values::{digest::Digest, name::Tag, platform::Platform};
use jiff::Timestamp;

use super::{CheckedContract, ImageFormat, PackRequest, layer, platform_tag};
use crate::oci::{
    CONTRACT_ANNOTATION, CREATED_ANNOTATION, Descriptor, Document, INDEX, MANIFEST, PlatformFields, layout::Layout,
};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Writes all blobs. Returns the tags to publish with their descriptors.
pub(super) fn write(
    layout: &Layout,
    request: &PackRequest,
    contract: Option<&CheckedContract>,
) -> io::Result<Vec<(Tag, Descriptor)>> {
    layout.create()?;
    let annotations = annotations(request, contract);
    // Also in the layer: a client of generation 2 reads the contract only there.
    let in_layer = contract.map(|checked| checked.text.as_str());
    let mut platforms: Vec<_> = request.platforms.iter().collect();
    platforms.sort();
    let manifests = platforms
        .iter()
        .map(|(platform, path)| write_platform(layout, request, platform, path, in_layer, &annotations))
        .collect::<io::Result<Vec<_>>>()?;
    match request.format {
        ImageFormat::Index => {
            let index = Document { manifests: Some(manifests), ..document(INDEX, &annotations) };
            Ok(vec![(request.tag.clone(), write_document(layout, &index)?)])
        }
        ImageFormat::PerPlatform => {
            let images = platforms.iter().zip(manifests).map(|((platform, _), manifest)| {
                let tag = platform_tag(&request.tag, platform).map_err(io::Error::other)?;
                Ok((tag, Descriptor { platform: None, ..manifest }))
            });
            images.collect()
        }
    }
}

fn annotations(request: &PackRequest, contract: Option<&CheckedContract>) -> BTreeMap<String, String> {
    // Whole seconds, as other tools write them.
    let created = Timestamp::from_second(request.created.as_second()).unwrap_or(request.created);
    let mut annotations = BTreeMap::from([(CREATED_ANNOTATION.to_owned(), created.to_string())]);
    let contract = contract.filter(|_| request.format == ImageFormat::Index);
    annotations.extend(contract.map(|checked| (CONTRACT_ANNOTATION.to_owned(), checked.contract.to_annotation())));
    annotations
}

fn document(media_type: &str, annotations: &BTreeMap<String, String>) -> Document {
    Document {
        schema_version: 2,
        media_type: media_type.to_owned(),
        annotations: Some(annotations.clone()),
        ..Document::default()
    }
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> io::Result<Descriptor> {
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: i64::try_from(size).map_err(io::Error::other)?,
        platform: None,
        annotations: None,
    })
}

fn write_document(layout: &Layout, document: &Document) -> io::Result<Descriptor> {
    let bytes = serde_json::to_vec(document)?;
    let digest = layout.write(&bytes)?;
    descriptor(&document.media_type, &digest, bytes.len() as u64)
}

fn write_platform(
    layout: &Layout,
    request: &PackRequest,
    platform: &Platform,
    executable: &Path,
    contract: Option<&str>,
    annotations: &BTreeMap<String, String>,
) -> io::Result<Descriptor> {
    let layer = layer::write(layout, request.component.executable(), executable, contract)?;
    let config = serde_json::json!({
        "architecture": platform.arch(),
        "os": platform.os(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.unpacked]},
    });
    let config = serde_json::to_vec(&config)?;
    let config_digest = layout.write(&config)?;
    let manifest = Document {
        config: Some(descriptor(CONFIG, &config_digest, config.len() as u64)?),
        layers: Some(vec![descriptor(LAYER, &layer.compressed, layer.size)?]),
        ..document(MANIFEST, annotations)
    };
    let platform = PlatformFields {
        architecture: platform.arch().to_owned(),
        os: platform.os().to_owned(),
        variant: String::new(),
    };
    Ok(Descriptor { platform: Some(platform), ..write_document(layout, &manifest)? })
}
