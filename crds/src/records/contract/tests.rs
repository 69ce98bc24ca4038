mod protocol;
mod yaml;

use proptest::prelude::*;

use super::*;

fn component() -> Component {
    "stronghold".parse().unwrap()
}

fn tag() -> Tag {
    "v1.2.3".parse().unwrap()
}

fn read(json: &str) -> Result<(Contract, Vec<ContractWarning>), ContractError> {
    Contract::from_json(json.as_bytes(), &component(), &tag())
}

/// A contract with all fields.
const FULL: &str = r#"{"name":"stronghold","version":"v1.2.3","description":"Secrets","env":[{"name":"KUBECONFIG"}],
 "flags":[{"name":"--address"}],"future":{"field":[1]},
 "requirements":{"kubernetes":{"constraint":">= 1.29"},"deckhouse":{"constraint":">= 1.70"},
  "modules":{"mandatory":[{"name":"stronghold","constraint":">= 1.0"}],"conditional":[{"name":"console"}],
   "anyOf":[{"name":"cni","description":"network","modules":[{"name":"cni-cilium"},{"name":"cni-flannel"}]}],
   "noneOf":[{"modules":[{"name":"old","constraint":"<2"}]},{"modules":[{"name":"older"}]}]},
  "plugins":{"mandatory":[{"name":"delivery-kit","constraint":"^1.0"}],"conditional":[{"name":"system"}]}}}"#;

#[test]
fn a_full_contract_is_read() {
    let (contract, warnings) = read(FULL).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(contract.description, "Secrets");
    assert_eq!(contract.env, [EnvVar { name: "KUBECONFIG".to_owned() }]);
    let modules = &contract.requirements.modules;
    assert_eq!(modules.any_of[0].modules[1].name, "cni-flannel");
    let names: Vec<_> = modules.none_of.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["group 1", "group 2"]);
    assert_eq!(contract.requirements.plugins.mandatory[0].constraint, "^1.0");
}

#[test]
fn all_forms_round_trip() {
    let (contract, _) = read(FULL).unwrap();
    assert_eq!(read(&contract.to_json()).unwrap().0, contract);
    assert_eq!(Contract::from_annotation(&contract.to_annotation(), &component(), &tag()).unwrap().0, contract);
    assert_eq!(Contract::from_cache(contract.to_json().as_bytes(), &component()).unwrap(), contract);
    assert_eq!(serde_json::from_str::<Contract>(&contract.to_json()).unwrap(), contract);
    assert_eq!(
        Contract::bare(&component(), &tag()).to_json(),
        r#"{"name":"stronghold","version":"v1.2.3"}"#,
        "empty fields are left out"
    );
}

#[test]
fn missing_and_null_fields_are_filled_in() {
    let bare = Contract::bare(&component(), &tag());
    for json in [
        "{}",
        r#"{"name":null,"version":null,"description":null,"env":null,"flags":null,"requirements":null}"#,
        r#"{"name":"","version":"","env":[{}],"flags":[{"name":""}]}"#,
        r#"{"requirements":{"kubernetes":null,"deckhouse":{},"modules":null,"plugins":{"mandatory":null}}}"#,
        r#"{"requirements":{"kubernetes":{"constraint":""},"modules":{"anyOf":[],"noneOf":null}}}"#,
        r#"{"version":"1.2.3"}"#,
    ] {
        assert_eq!(read(json).unwrap(), (bare.clone(), vec![]), "{json}");
    }
}

#[test]
fn another_version_is_a_warning_and_the_tag_is_used() {
    let (contract, warnings) = read(r#"{"version":"v1.2.4\u001b"}"#).unwrap();
    assert_eq!(contract.version, "v1.2.3");
    let messages: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(messages, [r"the contract of stronghold v1.2.3 names version `v1.2.4\u{1b}`; the tag is used"]);
    assert_eq!(Contract::from_cache(br#"{"version":"v9"}"#, &component()).unwrap().version, "v9");
}

#[test]
fn errors_name_the_field() {
    let modules = |inner: &str| format!(r#"{{"requirements":{{"modules":{inner}}}}}"#);
    let plugins = |inner: &str| format!(r#"{{"requirements":{{"plugins":{inner}}}}}"#);
    let m = "requirements.modules";
    for (json, field, why) in [
        (r#"{"name":"other"}"#.to_owned(), "name", "the contract belongs to `other`"),
        (r#"{"name":7}"#.to_owned(), "name", "invalid type: integer `7`, expected a string"),
        (r#"{"version":1.2}"#.to_owned(), "version", "floating point `1.2`, expected a string"),
        ("[]".to_owned(), ".", "invalid type: sequence, expected an object with the contract's fields"),
        ("null".to_owned(), ".", "invalid type: null"),
        ("{} x".to_owned(), ".", "trailing characters"),
        (r#"{"description":"#.to_owned(), "description", "EOF"),
        (r#"{"env":{}}"#.to_owned(), "env", "expected a sequence"),
        (r#"{"env":[{"name":"A"},"B"]}"#.to_owned(), "env[1]", "expected an object with `name`"),
        (r#"{"flags":[{"name":"a\u001bb"}]}"#.to_owned(), "flags[0].name", "cannot be printed"),
        (
            r#"{"requirements":{"kubernetes":">=1.2"}}"#.to_owned(),
            "requirements.kubernetes",
            "expected an object with `constraint`",
        ),
        (
            r#"{"requirements":{"deckhouse":{"constraint":"newest"}}}"#.to_owned(),
            "requirements.deckhouse.constraint",
            "`newest` is not a version constraint",
        ),
        (modules("[]"), m, "expected an object with `mandatory`, `conditional`, `anyOf` and `noneOf`"),
        (modules(r#"[{"name":"a"}]"#), m, "invalid type: sequence, expected an object with `mandatory`"),
        (plugins(r#"[{"name":"a"}]"#), "requirements.plugins", "expected an object with `mandatory` and `conditional`"),
        (modules(r#"{"mandatory":["a"]}"#), "requirements.modules.mandatory[0]", "an object with `name` and"),
        (modules(r#"{"mandatory":[{}]}"#), "requirements.modules.mandatory[0].name", "it is missing"),
        (
            modules(r#"{"conditional":[{"name":"a","constraint":"1.2.3.4"}]}"#),
            "requirements.modules.conditional[0].constraint",
            "`1.2.3.4` is not a version constraint",
        ),
        (modules(r#"{"anyOf":[{"name":"g"}]}"#), "requirements.modules.anyOf[0].modules", "at least one module"),
        (
            modules(r#"{"noneOf":[{"name":"g","modules":[{"name":"a"}]},{"name":"g","modules":[{"name":"b"}]}]}"#),
            "requirements.modules.noneOf[1].name",
            "another group also has the name `g`",
        ),
        (
            modules(r#"{"anyOf":[{"name":"group 2","modules":[{"name":"a"}]},{"modules":[{"name":"b"}]}]}"#),
            "requirements.modules.anyOf[1].name",
            "another group also has the name `group 2`",
        ),
        (
            modules(r#"{"anyOf":[{"modules":[{"name":"a"},{"name":"a"}]}]}"#),
            "requirements.modules.anyOf[0].modules[1].name",
            "listed twice",
        ),
        (plugins(r#"{"mandatory":[{"name":"../x"}]}"#), "requirements.plugins.mandatory[0].name", "not valid"),
        (plugins(r#"{"conditional":[{"name":"d8"}]}"#), "requirements.plugins.conditional[0].name", "not valid"),
    ] {
        let error = read(&json).unwrap_err();
        assert_eq!(error.field(), Some(field), "{json}: {error}");
        assert!(error.to_string().contains(why), "{json}: {error}");
        assert!(error.to_string().starts_with("the contract of stronghold v1.2.3 is not valid: "), "{error}");
    }
}

#[test]
fn a_module_is_in_lists_of_one_kind_only() {
    let lists = [
        r#""mandatory":[{"name":"a"}]"#,
        r#""conditional":[{"name":"a"}]"#,
        r#""anyOf":[{"modules":[{"name":"a"}]}]"#,
        r#""noneOf":[{"modules":[{"name":"a"}]}]"#,
    ];
    for (index, one) in lists.iter().enumerate() {
        for other in &lists[index + 1..] {
            let error = read(&format!(r#"{{"requirements":{{"modules":{{{one},{other}}}}}}}"#)).unwrap_err();
            assert_eq!(error.field(), Some("requirements.modules"));
            assert!(error.to_string().contains("module `a` is listed in both "), "{error}");
        }
    }
    let twice = r#"{"requirements":{"modules":{"anyOf":[{"modules":[{"name":"a"}]},{"modules":[{"name":"a"}]}]}}}"#;
    assert!(read(twice).is_ok(), "groups of the same list may share a module");
}

#[test]
fn size_and_encoding_are_checked() {
    let large = format!(r#"{{"description":"{}"}}"#, "a".repeat(limits::CONTRACT_BYTES));
    let annotation = |text: &str| Contract::from_annotation(text, &component(), &tag()).map_err(|e| e.kind());
    assert_eq!(read(&large).unwrap_err().kind(), "too-large");
    assert_eq!(annotation(&general_purpose::STANDARD.encode(&large)).unwrap_err(), "too-large");
    assert_eq!(annotation("no base64!").unwrap_err(), "encoding");
    assert_eq!(annotation("").unwrap_err(), "malformed", "an empty annotation is not a missing one");
    let unpadded = general_purpose::STANDARD_NO_PAD.encode(r#"{"name":"stronghold"}"#);
    assert!(annotation(&unpadded).is_ok());
    assert!(annotation(&format!(" {}\n{}\n", &unpadded[..8], &unpadded[8..])).is_ok(), "wrapped");
    let deep = format!("{}{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    assert_eq!(read(&deep).unwrap_err().kind(), "malformed");
}

#[test]
fn errors_are_printable() {
    for json in [
        r#"{"name":"\u001b[2Jx"}"#,
        r#"{"requirements":"\u001b[2J\n"}"#,
        r#"{"requirements":{"kubernetes":{"constraint":"\u009b1\u202e"}}}"#,
        r#"{"requirements":{"plugins":{"mandatory":[{"name":"\u001b"}]}}}"#,
        "{\"\\u001b[2J\":\x1b}",
    ] {
        let error = read(json).unwrap_err().to_string();
        assert_eq!(error, printable_to(&error, 1000), "{json}");
        assert!(error.len() < 600);
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..FULL.len(), byte in any::<u8>()) {
        let _ = Contract::from_json(&bytes, &component(), &tag());
        let _ = Contract::from_annotation(&String::from_utf8_lossy(&bytes), &component(), &tag());
        let mut broken = FULL.as_bytes().to_vec();
        broken[cut] = byte;
        if let Err(error) = Contract::from_json(&broken, &component(), &tag()) {
            let error = error.to_string();
            prop_assert_eq!(printable_to(&error, 1000), error.as_str());
        }
    }
}
