//! The rules of the contract, one case for each. How a contract is found is tested in `rpp` (`resolve`),
//! how requirements are checked in `decisions::requirements`, the contracts of other plugins in
//! `decisions::plan`.

use super::*;

/// Expected result of reading a contract of stronghold v1.2.3.
enum Expected {
    /// The contract as JSON.
    Contract(&'static str),
    /// The contract as JSON, and a part of the warning.
    Warning(&'static str, &'static str),
    /// The field of the error and a part of its message.
    Error(&'static str, &'static str),
}

const BARE: &str = r#"{"name":"stronghold","version":"v1.2.3"}"#;

const RULES: &[(&str, &[(&str, Expected)])] = &[
    (
        "the example",
        &[(
            r#"{"name":"stronghold","version":"v1.2.3","description":"…","env":[{"name":"KUBECONFIG"}],"flags":[{"name":"--address"}],
             "requirements":{"kubernetes":{"constraint":">= 1.29"},"deckhouse":{"constraint":">= 1.70"},
              "modules":{"mandatory":[{"name":"stronghold","constraint":">= 1.0"}],"conditional":[],
               "anyOf":[{"name":"cni","description":"…","modules":[{"name":"cni-cilium"},{"name":"cni-flannel"}]}],"noneOf":[]},
              "plugins":{"mandatory":[{"name":"delivery-kit","constraint":"^1.0"}],"conditional":[]}}}"#,
            Expected::Contract(
                r#"{"name":"stronghold","version":"v1.2.3","description":"…","env":[{"name":"KUBECONFIG"}],"flags":[{"name":"--address"}],"requirements":{"kubernetes":{"constraint":">= 1.29"},"deckhouse":{"constraint":">= 1.70"},"modules":{"mandatory":[{"name":"stronghold","constraint":">= 1.0"}],"anyOf":[{"name":"cni","description":"…","modules":[{"name":"cni-cilium"},{"name":"cni-flannel"}]}]},"plugins":{"mandatory":[{"name":"delivery-kit","constraint":"^1.0"}]}}}"#,
            ),
        )],
    ),
    (
        "unknown fields are ignored",
        &[(
            r#"{"apiVersion":"v2","requirements":{"helm":[],"modules":{"allOf":{}}},"env":[{"value":1}]}"#,
            Expected::Contract(BARE),
        )],
    ),
    (
        "a missing name or version is filled in",
        &[
            ("{}", Expected::Contract(BARE)),
            (r#"{"name":"stronghold"}"#, Expected::Contract(BARE)),
            (r#"{"name":"","version":""}"#, Expected::Contract(BARE)),
            (r#"{"version":null}"#, Expected::Contract(BARE)),
        ],
    ),
    (
        "the name of another component is an error",
        &[
            (r#"{"name":"vault"}"#, Expected::Error("name", "the contract belongs to `vault`")),
            (r#"{"name":"Stronghold"}"#, Expected::Error("name", "the contract belongs to `Stronghold`")),
            (r#"{"name":"d8"}"#, Expected::Error("name", "the contract belongs to `d8`")),
        ],
    ),
    (
        "another version is a warning, and the tag is used",
        &[
            (r#"{"version":"v9.0.0"}"#, Expected::Warning(BARE, "names version `v9.0.0`; the tag is used")),
            (r#"{"version":"latest"}"#, Expected::Warning(BARE, "`latest`")),
            (r#"{"version":"1.2.3"}"#, Expected::Contract(BARE)),
        ],
    ),
    (
        "an empty or missing constraint means any version",
        &[
            (r#"{"requirements":{"kubernetes":{},"deckhouse":{"constraint":""}}}"#, Expected::Contract(BARE)),
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a","constraint":""},{"name":"b"}]}}}"#,
                Expected::Contract(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"mandatory":[{"name":"a"},{"name":"b"}]}}}"#,
                ),
            ),
            (
                r#"{"requirements":{"plugins":{"conditional":[{"name":"a","constraint":null}]}}}"#,
                Expected::Contract(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"plugins":{"conditional":[{"name":"a"}]}}}"#,
                ),
            ),
        ],
    ),
    (
        "`modules` and `plugins` must be objects, not lists",
        &[
            (
                r#"{"requirements":{"modules":[{"name":"a","constraint":">=1"}]}}"#,
                Expected::Error(
                    "requirements.modules",
                    "expected an object with `mandatory`, `conditional`, `anyOf` and",
                ),
            ),
            (
                r#"{"requirements":{"plugins":[]}}"#,
                Expected::Error("requirements.plugins", "expected an object with `mandatory` and `conditional`"),
            ),
        ],
    ),
    (
        "groups need at least one module and distinct names",
        &[
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[]}]}}}"#,
                Expected::Error("requirements.modules.anyOf[0].modules", "a group needs at least one module"),
            ),
            (
                r#"{"requirements":{"modules":{"noneOf":[{"name":"g"}]}}}"#,
                Expected::Error("requirements.modules.noneOf[0].modules", "a group needs at least one module"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]},{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                Expected::Error("requirements.modules.anyOf[1].name", "another group also has the name `g`"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]}],"noneOf":[{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                Expected::Contract(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]}],"noneOf":[{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                ),
            ),
        ],
    ),
    (
        "a group without a name is named by its position",
        &[(
            r#"{"requirements":{"modules":{"noneOf":[{"modules":[{"name":"a"}]},{"name":"","modules":[{"name":"b"}]}]}}}"#,
            Expected::Contract(
                r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"noneOf":[{"name":"group 1","modules":[{"name":"a"}]},{"name":"group 2","modules":[{"name":"b"}]}]}}}"#,
            ),
        )],
    ),
    (
        "a module must not be in lists of different kinds",
        &[
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a"}],"conditional":[{"name":"a"}]}}}"#,
                Expected::Error("requirements.modules", "module `a` is listed in both mandatory and conditional"),
            ),
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a"}],"noneOf":[{"modules":[{"name":"a","constraint":"<1"}]}]}}}"#,
                Expected::Error("requirements.modules", "module `a` is listed in both mandatory and noneOf"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"modules":[{"name":"b"},{"name":"a"}]}],"noneOf":[{"modules":[{"name":"a"}]}]}}}"#,
                Expected::Error("requirements.modules", "module `a` is listed in both anyOf and noneOf"),
            ),
        ],
    ),
    (
        "a malformed contract is an error that names the field, and not a missing contract",
        &[
            ("", Expected::Error(".", "")),
            ("null", Expected::Error(".", "null")),
            ("{", Expected::Error(".", "")),
            (r#"{"env":"KUBECONFIG"}"#, Expected::Error("env", "expected a sequence")),
            (r#"{"name":"stronghold","name":"stronghold"}"#, Expected::Error(".", "duplicate field `name`")),
        ],
    ),
];

#[test]
fn contracts_follow_the_rules() {
    for (rule, cases) in RULES {
        for (json, expected) in *cases {
            let result = read(json);
            let context = format!("{rule}\n{json}\n{result:?}");
            match (result, expected) {
                (Ok((contract, warnings)), Expected::Contract(expected)) => {
                    assert_eq!((contract.to_json().as_str(), warnings.len()), (*expected, 0), "{context}");
                }
                (Ok((contract, warnings)), Expected::Warning(expected, message)) => {
                    assert_eq!(contract.to_json(), *expected, "{context}");
                    assert!(warnings.len() == 1 && warnings[0].to_string().contains(message), "{context}");
                }
                (Err(error), Expected::Error(field, message)) => {
                    assert_eq!(error.field(), Some(*field), "{context}");
                    assert!(error.to_string().contains(message), "{context}");
                }
                _ => panic!("{context}"),
            }
        }
    }
}

/// All forms of a contract give the same result: JSON, annotation, YAML file and cache on disk.
#[test]
fn all_forms_give_the_same_result() {
    for (json, expected) in RULES.iter().flat_map(|(_, cases)| *cases) {
        let comparable = |result: Result<Contract, ContractError>| {
            result.map(|contract| contract.to_json()).map_err(|error| error.field().map(str::to_owned))
        };
        let from_json = comparable(read(json).map(|read| read.0));
        let annotation = general_purpose::STANDARD.encode(json);
        let from_annotation = Contract::from_annotation(&annotation, &component(), &tag()).map(|read| read.0);
        assert_eq!(comparable(from_annotation), from_json);
        let from_yaml = comparable(Contract::from_yaml(json, &component(), &tag()).map(|read| read.0));
        assert_eq!(from_yaml, from_json, "{json}");
        if let Expected::Contract(_) = expected
            && let Ok(json) = from_json
        {
            assert_eq!(comparable(Contract::from_cache(json.as_bytes(), &component())), Ok(json));
        }
    }
}

#[test]
fn all_forms_are_limited_to_one_mebibyte() {
    let of_size = |size: usize| format!(r#"{{"description":"{}"}}"#, "a".repeat(size - r#"{"description":""}"#.len()));
    for (size, fits) in [(limits::CONTRACT_BYTES, true), (limits::CONTRACT_BYTES + 1, false)] {
        let text = of_size(size);
        assert_eq!(text.len(), size);
        let annotation = general_purpose::STANDARD.encode(&text);
        for read in [
            read(&text).map(drop),
            Contract::from_yaml(&text, &component(), &tag()).map(drop),
            Contract::from_annotation(&annotation, &component(), &tag()).map(drop),
            Contract::from_cache(text.as_bytes(), &component()).map(drop),
        ] {
            assert_eq!(read.map_err(|error| error.kind()), if fits { Ok(()) } else { Err("too-large") });
        }
    }
}

#[test]
fn an_image_without_a_contract_has_no_requirements() {
    let bare = Contract::bare(&component(), &tag());
    assert_eq!(bare.to_json(), BARE);
    assert!(bare.requirements.is_empty() && !bare.requirements.need_cluster_facts());
}

/// The Go d8 writes `cache/contracts/<name>.json` with indentation, empty and null fields, and a final newline.
#[test]
fn cached_contracts_of_the_go_d8_are_read() {
    let cached = r#"{
  "name": "stronghold",
  "version": "v1.2.3",
  "description": "Secrets & more",
  "env": [
    {
      "name": "KUBECONFIG"
    }
  ],
  "requirements": {
    "kubernetes": {
      "constraint": ""
    },
    "deckhouse": {
      "constraint": ">=1.70"
    },
    "modules": {
      "mandatory": [
        {
          "name": "console",
          "constraint": ""
        }
      ],
      "noneOf": [
        {
          "name": "legacy",
          "modules": [
            {
              "name": "old",
              "constraint": "<2.0"
            }
          ]
        }
      ]
    },
    "plugins": {}
  }
}
"#;
    let contract = Contract::from_cache(cached.as_bytes(), &component()).unwrap();
    assert_eq!(
        contract.to_json(),
        r#"{"name":"stronghold","version":"v1.2.3","description":"Secrets & more","env":[{"name":"KUBECONFIG"}],"requirements":{"deckhouse":{"constraint":">=1.70"},"modules":{"mandatory":[{"name":"console"}],"noneOf":[{"name":"legacy","modules":[{"name":"old","constraint":"<2.0"}]}]}}}"#
    );
    let bare = "{\n  \"name\": \"stronghold\",\n  \"version\": \"v1.2.3\",\n  \"description\": \"\",\n  \"requirements\": {\n    \"kubernetes\": {\n      \"constraint\": \"\"\n    },\n    \"deckhouse\": {\n      \"constraint\": \"\"\n    },\n    \"modules\": {},\n    \"plugins\": {}\n  }\n}\n";
    assert_eq!(
        Contract::from_cache(bare.as_bytes(), &component()).unwrap(),
        Contract::bare(&component(), &tag()),
        "one without requirements"
    );
}
