//! Documents of the OCI image spec: indexes, manifests, descriptors. Contains the fields that this project
//! reads or writes. Maps are ordered, so that the same image always has the same digest.

#[cfg(feature = "server")]
pub(crate) mod hash_writer;
#[cfg(feature = "server")]
pub(crate) mod layout;
pub(crate) mod platforms;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an index, of Docker.
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
#[cfg(feature = "server")]
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Media types of manifests and indexes, of OCI and of Docker, that a client accepts.
pub(crate) const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// Annotation with the contract: base64 of JSON.
pub const CONTRACT_ANNOTATION: &str = "contract";
/// Annotation with the time of publishing (OCI image spec, RFC 3339).
pub const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";

/// A manifest or an index: one has `layers`, the other `manifests`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Document {
    pub(crate) schema_version: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layers: Option<Vec<Descriptor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifests: Option<Vec<Descriptor>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    /// Size in bytes; signed in the spec.
    pub(crate) size: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<PlatformFields>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

/// The platform of a manifest in an index.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PlatformFields {
    pub(crate) architecture: String,
    pub(crate) os: String,
    /// The CPUs of the architecture that it is for: `v3` of amd64, `v7` of arm.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}
