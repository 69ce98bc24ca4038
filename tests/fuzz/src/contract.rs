//! Contracts in every form, and their requirements.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
        explain,
        plan::Dependencies,
        requirements::{Findings, check, check_plugins},
    },
    records::{
        cluster::{ClusterFacts, Fact, ModuleState},
        contract::{Contract, ContractError, ContractWarning},
        requirements::Requirements,
    },
    values::{
        name::{Component, PluginName, Tag},
        version::Version,
    },
};
use serde::Deserialize as _;
use serde_json::Value;

use crate::input::assert_printable;

fn component_and_tag() -> (Component, Tag) {
    ("stronghold".parse().expect("a name"), "v1.2.3".parse().expect("a tag"))
}

/// Checks the result of reading a contract: a valid contract is read back from every form.
fn check_result(result: Result<(Contract, Vec<ContractWarning>), ContractError>) {
    let (component, tag) = component_and_tag();
    let contract = match result {
        Ok((contract, warnings)) => {
            for warning in &warnings {
                assert_printable(&warning.to_string());
            }
            contract
        }
        Err(error) => {
            if let Some(field) = error.field() {
                assert_printable(field);
            }
            return assert_printable(&error.to_string());
        }
    };
    assert_eq!((contract.name.as_str(), contract.version.as_str()), ("stronghold", "v1.2.3"));
    let json = contract.to_json();
    let again = Ok((contract, Vec::new()));
    assert_eq!(Contract::from_json(json.as_bytes(), &component, &tag), again);
    assert_eq!(Contract::from_yaml(&json, &component, &tag), again, "{json}");
    let Ok((contract, _)) = again else { return };
    assert_eq!(Contract::from_cache(json.as_bytes(), &component).as_ref(), Ok(&contract));
    assert_eq!(
        Contract::from_annotation(&contract.to_annotation(), &component, &tag).map(|read| read.0).as_ref(),
        Ok(&contract)
    );
    check_requirements(&contract.requirements);
}

pub(crate) fn json(data: &[u8]) {
    let (component, tag) = component_and_tag();
    check_result(Contract::from_json(data, &component, &tag));
    if let Err(error) = Contract::from_cache(data, &component) {
        assert_printable(&error.to_string());
    }
}

pub(crate) fn yaml(data: &[u8]) {
    let (component, tag) = component_and_tag();
    check_result(Contract::from_yaml(&String::from_utf8_lossy(data), &component, &tag));
}

pub(crate) fn annotation(data: &[u8]) {
    let (component, tag) = component_and_tag();
    check_result(Contract::from_annotation(&String::from_utf8_lossy(data), &component, &tag));
}

fn assert_findings(findings: &Findings, max: usize) {
    let Findings { unmet, unchecked, warnings } = findings;
    let count = unmet.len() + unchecked.len() + warnings.len();
    assert!(count <= max, "{count} findings about {max} requirements");
    let sentences = unmet.iter().map(explain::unmet).chain(unchecked.iter().map(explain::unchecked));
    for sentence in sentences.chain(warnings.iter().map(explain::warning)) {
        assert_printable(&sentence);
    }
}

/// Unchecked requirements of a record, against a cluster that reports arbitrary texts.
pub(crate) fn requirements(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let Ok(requirements) = Requirements::deserialize(&value["requirements"]) else { return };
    let text = |field: &str| value[field].as_str();
    let modules = value["modules"].as_array().into_iter().flatten().filter_map(ModuleState::from_object);
    let facts = ClusterFacts {
        kubernetes: Fact::kubernetes(text("kubernetes").unwrap_or_default()),
        deckhouse: Fact::deckhouse(text("deckhouse")),
        modules: Fact::Known(modules.collect()),
    };
    let max = 2 + 2 * requirements.modules.names().len() + requirements.modules.any_of.len();
    assert_findings(&check(&requirements, &facts), max);
    check_requirements(&requirements);
}

fn check_requirements(requirements: &Requirements) {
    let state = |version: &str| ModuleState { enabled: true, version: Some(version.to_owned()) };
    let names = requirements.modules.names();
    let facts = ClusterFacts {
        kubernetes: Fact::kubernetes("v1.33.4"),
        deckhouse: Fact::deckhouse(Some("v1.72.1")),
        modules: Fact::Known(names.iter().step_by(2).map(|name| ((*name).to_owned(), state("v1.2.3"))).collect()),
    };
    let max = 2 + 2 * names.len() + requirements.modules.any_of.len();
    let found = check(requirements, &facts);
    assert_eq!(check(requirements, &facts), found);
    assert_findings(&found, max);
    assert_findings(&check(requirements, &ClusterFacts::unreadable("away\u{1b}")), max);
    let plugins = &requirements.plugins;
    let all = || plugins.mandatory.iter().chain(&plugins.conditional);
    let installed: BTreeMap<PluginName, Option<Version>> =
        all().step_by(2).filter_map(|wanted| Some((wanted.name.parse().ok()?, "1.2.3".parse().ok()))).collect();
    assert_findings(&check_plugins(requirements, &installed), all().count());
    match Dependencies::read(plugins) {
        Ok(demands) => assert_eq!(demands.all().len(), all().count()),
        Err(error) => assert_printable(&error.to_string()),
    }
}
