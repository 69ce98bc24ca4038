//! Reads the record: what is published, with its digests.

use d8_crds::values::version::Version;
use serde_json::Value;

use super::values::list;
use crate::clock;

/// The entry of one version in the record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) first_seen: Option<i128>,
    pub(crate) fit: String,
    pub(crate) moved: bool,
    /// Digests of the index or manifest, and of the manifest and layer of each artifact.
    pub(crate) digests: Vec<String>,
}

/// Finds the entry of a version in the record, by the value of the version.
pub(crate) fn entry(release: &Value, version: &Version) -> Option<Entry> {
    for object in list(&release["status"]["versions"]).ok()? {
        if Version::parse(object["version"].as_str()?).ok().as_ref() != Some(version) {
            continue;
        }
        let mut digests = vec![object["digest"].as_str()?.to_owned()];
        for artifact in list(&object["artifacts"]).ok()? {
            digests.push(artifact["manifest"].as_str()?.to_owned());
            digests.push(artifact["layer"].as_str()?.to_owned());
        }
        return Some(Entry {
            first_seen: object["firstSeen"].as_str().and_then(clock::instant),
            fit: object["fit"].as_str()?.to_owned(),
            moved: !object["moved"].is_null(),
            digests,
        });
    }
    None
}

/// The versions in the record, by value.
pub(crate) fn recorded(case: &Value) -> Vec<Version> {
    let objects = case["release"]["status"]["versions"].as_array().into_iter().flatten();
    objects.filter_map(|object| Version::parse_full(object["version"].as_str()?).ok()).collect()
}

/// The layer of a version on the host's platform. Rule 6: a moved tag has none. A host without a platform is
/// linux-amd64.
pub(crate) fn layer(case: &Value, component: &str, version: &Version) -> Option<String> {
    // A plugin whose name is not a DNS label cannot have a record.
    if component.contains('_') {
        return None;
    }
    let platform = case["host"]["platform"].as_str().unwrap_or("linux-amd64");
    let objects = case["release"]["status"]["versions"].as_array().into_iter().flatten();
    for object in objects {
        let of = Version::parse_full(object["version"].as_str().unwrap_or_default());
        if of.ok().as_ref() != Some(version) || !object["moved"].is_null() {
            continue;
        }
        let artifacts = || object["artifacts"].as_array().into_iter().flatten();
        // The platform's own artifact, else the one that is for every platform.
        let own = artifacts().find(|artifact| artifact["platform"] == platform);
        let artifact = own.or_else(|| artifacts().find(|artifact| artifact["platform"].is_null()))?;
        return artifact["layer"].as_str().filter(|layer| !layer.is_empty()).map(str::to_owned);
    }
    None
}
