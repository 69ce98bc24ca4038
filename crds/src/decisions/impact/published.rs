//! The facts that records contain about published versions.

use std::collections::BTreeMap;

use crate::{
    decisions::{
        plan::{Dependencies, FactRequest, KnownFacts, VersionFacts},
        requirements::Findings,
        selection::{TagList, read_tags},
    },
    records::release::CliRelease,
    values::{name::Component, platform::Platform},
};

/// Reads what records contain for one platform. Records whose name is no component's are ignored.
pub(super) fn known_facts(records: &BTreeMap<String, CliRelease>, platform: Option<&Platform>) -> KnownFacts {
    let mut known = KnownFacts::default();
    for (name, record) in records {
        let Ok(component) = name.parse::<Component>() else { continue };
        let list = TagList::of_record(&component, record, platform);
        for published in &list.published {
            let Some(recorded) = record.recorded(&published.version) else { continue };
            let facts = Dependencies::read(&recorded.requirements.plugins)
                .map(|dependencies| VersionFacts { findings: Findings::recorded(recorded, platform), dependencies })
                .map_err(|error| error.to_string());
            known.insert_version(component.clone(), published.version.clone(), facts);
        }
        known.insert_tags(component, Ok(list));
    }
    known
}

/// Answers a request for a fact that no record contains: the component has no published versions, or the
/// version has no contract.
pub(super) fn insert_missing(known: &mut KnownFacts, request: FactRequest) {
    match request {
        FactRequest::Tags(component) => {
            let none = read_tags(&component, [""; 0], None);
            known.insert_tags(component, Ok(none));
        }
        FactRequest::Contract { component, published } => {
            known.insert_version(component, published.version, Err("the record does not have it".to_owned()));
        }
    }
}
