//! Contracts in every form, and what is demanded in them.

use std::collections::BTreeMap;

use d8_crds::{
    decisions::{
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

use crate::input::shown;

fn asked_for() -> (Component, Tag) {
    ("stronghold".parse().expect("a name"), "v1.2.3".parse().expect("a tag"))
}

/// What is read comes back in every form; what is not is said, and why.
fn read(result: Result<(Contract, Vec<ContractWarning>), ContractError>) {
    let (component, tag) = asked_for();
    let contract = match result {
        Ok((contract, warnings)) => {
            for warning in &warnings {
                shown(&warning.to_string());
            }
            contract
        }
        Err(error) => {
            if let Some(field) = error.field() {
                shown(field);
            }
            return shown(&error.to_string());
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
    judged(&contract.requirements);
}

pub(crate) fn json(data: &[u8]) {
    let (component, tag) = asked_for();
    read(Contract::from_json(data, &component, &tag));
    if let Err(error) = Contract::from_cache(data, &component) {
        shown(&error.to_string());
    }
}

pub(crate) fn yaml(data: &[u8]) {
    let (component, tag) = asked_for();
    read(Contract::from_yaml(&String::from_utf8_lossy(data), &component, &tag));
}

pub(crate) fn annotation(data: &[u8]) {
    let (component, tag) = asked_for();
    read(Contract::from_annotation(&String::from_utf8_lossy(data), &component, &tag));
}

fn findings(findings: &Findings, most: usize) {
    let all = || findings.unmet.iter().chain(&findings.unchecked).chain(&findings.warnings);
    all().for_each(|sentence| shown(sentence));
    assert!(all().count() <= most, "{} sentences about {most} requirements", all().count());
}

/// Requirements that a record has, which nobody has checked, against a cluster that says anything.
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
    let most = 2 + 2 * requirements.modules.names().len() + requirements.modules.any_of.len();
    findings(&check(&requirements, &facts), most);
    judged(&requirements);
}

fn judged(requirements: &Requirements) {
    let state = |version: &str| ModuleState { enabled: true, version: Some(version.to_owned()) };
    let names = requirements.modules.names();
    let facts = ClusterFacts {
        kubernetes: Fact::kubernetes("v1.33.4"),
        deckhouse: Fact::deckhouse(Some("v1.72.1")),
        modules: Fact::Known(names.iter().step_by(2).map(|name| ((*name).to_owned(), state("v1.2.3"))).collect()),
    };
    let most = 2 + 2 * names.len() + requirements.modules.any_of.len();
    let found = check(requirements, &facts);
    assert_eq!(check(requirements, &facts), found);
    findings(&found, most);
    findings(&check(requirements, &ClusterFacts::unreadable("away\u{1b}")), most);
    let plugins = &requirements.plugins;
    let all = || plugins.mandatory.iter().chain(&plugins.conditional);
    let installed: BTreeMap<PluginName, Option<Version>> =
        all().step_by(2).filter_map(|wanted| Some((wanted.name.parse().ok()?, "1.2.3".parse().ok()))).collect();
    findings(&check_plugins(requirements, &installed), all().count());
    match Dependencies::read(plugins) {
        Ok(demands) => assert_eq!(demands.all().len(), all().count()),
        Err(error) => shown(&error.to_string()),
    }
}
