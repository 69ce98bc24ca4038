//! What `rpp-protocol.md` says of contracts, a sentence a case. What it says of where a contract is found
//! is tested in `rpp` (`resolve`), of facts in `requirements::check`, of other plugins' contracts in `plan`.

use super::*;

/// What becomes of a contract that was asked for as stronghold v1.2.3.
enum Becomes {
    /// It is read as this.
    This(&'static str),
    /// It is read as this, with a warning that says so.
    Warned(&'static str, &'static str),
    /// It is refused, by this field, with these words.
    Refused(&'static str, &'static str),
}
use Becomes::{Refused, This, Warned};

const BARE: &str = r#"{"name":"stronghold","version":"v1.2.3"}"#;

const SENTENCES: &[(&str, &[(&str, Becomes)])] = &[
    (
        "the example",
        &[(
            r#"{"name":"stronghold","version":"v1.2.3","description":"…","env":[{"name":"KUBECONFIG"}],"flags":[{"name":"--address"}],
             "requirements":{"kubernetes":{"constraint":">= 1.29"},"deckhouse":{"constraint":">= 1.70"},
              "modules":{"mandatory":[{"name":"stronghold","constraint":">= 1.0"}],"conditional":[],
               "anyOf":[{"name":"cni","description":"…","modules":[{"name":"cni-cilium"},{"name":"cni-flannel"}]}],"noneOf":[]},
              "plugins":{"mandatory":[{"name":"delivery-kit","constraint":"^1.0"}],"conditional":[]}}}"#,
            This(
                r#"{"name":"stronghold","version":"v1.2.3","description":"…","env":[{"name":"KUBECONFIG"}],"flags":[{"name":"--address"}],"requirements":{"kubernetes":{"constraint":">= 1.29"},"deckhouse":{"constraint":">= 1.70"},"modules":{"mandatory":[{"name":"stronghold","constraint":">= 1.0"}],"anyOf":[{"name":"cni","description":"…","modules":[{"name":"cni-cilium"},{"name":"cni-flannel"}]}]},"plugins":{"mandatory":[{"name":"delivery-kit","constraint":"^1.0"}]}}}"#,
            ),
        )],
    ),
    (
        "Unknown fields are ignored.",
        &[(r#"{"apiVersion":"v2","requirements":{"helm":[],"modules":{"allOf":{}}},"env":[{"value":1}]}"#, This(BARE))],
    ),
    (
        "A missing name or version is the one asked for",
        &[
            ("{}", This(BARE)),
            (r#"{"name":"stronghold"}"#, This(BARE)),
            (r#"{"name":"","version":""}"#, This(BARE)),
            (r#"{"version":null}"#, This(BARE)),
        ],
    ),
    (
        "another name than the one asked for is an error",
        &[
            (r#"{"name":"vault"}"#, Refused("name", "it says `vault`")),
            (r#"{"name":"Stronghold"}"#, Refused("name", "it says `Stronghold`")),
            (r#"{"name":"d8"}"#, Refused("name", "it says `d8`")),
        ],
    ),
    (
        "another version is a warning, the tag counts",
        &[
            (r#"{"version":"v9.0.0"}"#, Warned(BARE, "says its version is `v9.0.0`; the tag counts")),
            (r#"{"version":"latest"}"#, Warned(BARE, "`latest`")),
            (r#"{"version":"1.2.3"}"#, This(BARE)),
        ],
    ),
    (
        "An empty or missing constraint means any version.",
        &[
            (r#"{"requirements":{"kubernetes":{},"deckhouse":{"constraint":""}}}"#, This(BARE)),
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a","constraint":""},{"name":"b"}]}}}"#,
                This(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"mandatory":[{"name":"a"},{"name":"b"}]}}}"#,
                ),
            ),
            (
                r#"{"requirements":{"plugins":{"conditional":[{"name":"a","constraint":null}]}}}"#,
                This(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"plugins":{"conditional":[{"name":"a"}]}}}"#,
                ),
            ),
        ],
    ),
    (
        "`modules` or `plugins` given as a flat list is an error that says they must be objects with `mandatory`/`conditional`",
        &[
            (
                r#"{"requirements":{"modules":[{"name":"a","constraint":">=1"}]}}"#,
                Refused("requirements.modules", "expected an object with `mandatory`, `conditional`, `anyOf` and"),
            ),
            (
                r#"{"requirements":{"plugins":[]}}"#,
                Refused("requirements.plugins", "expected an object with `mandatory` and `conditional`"),
            ),
        ],
    ),
    (
        "anyOf/noneOf groups have at least one member and distinct names",
        &[
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[]}]}}}"#,
                Refused("requirements.modules.anyOf[0].modules", "a group has at least one module"),
            ),
            (
                r#"{"requirements":{"modules":{"noneOf":[{"name":"g"}]}}}"#,
                Refused("requirements.modules.noneOf[0].modules", "a group has at least one module"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]},{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                Refused("requirements.modules.anyOf[1].name", "another group is named `g`"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]}],"noneOf":[{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                This(
                    r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"anyOf":[{"name":"g","modules":[{"name":"a"}]}],"noneOf":[{"name":"g","modules":[{"name":"b"}]}]}}}"#,
                ),
            ),
        ],
    ),
    (
        "one without a name gets a positional one (`group 1`)",
        &[(
            r#"{"requirements":{"modules":{"noneOf":[{"modules":[{"name":"a"}]},{"name":"","modules":[{"name":"b"}]}]}}}"#,
            This(
                r#"{"name":"stronghold","version":"v1.2.3","requirements":{"modules":{"noneOf":[{"name":"group 1","modules":[{"name":"a"}]},{"name":"group 2","modules":[{"name":"b"}]}]}}}"#,
            ),
        )],
    ),
    (
        "a module may not stand in contradictory buckets",
        &[
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a"}],"conditional":[{"name":"a"}]}}}"#,
                Refused("requirements.modules", "module `a` stands in mandatory and in conditional"),
            ),
            (
                r#"{"requirements":{"modules":{"mandatory":[{"name":"a"}],"noneOf":[{"modules":[{"name":"a","constraint":"<1"}]}]}}}"#,
                Refused("requirements.modules", "module `a` stands in mandatory and in noneOf"),
            ),
            (
                r#"{"requirements":{"modules":{"anyOf":[{"modules":[{"name":"b"},{"name":"a"}]}],"noneOf":[{"modules":[{"name":"a"}]}]}}}"#,
                Refused("requirements.modules", "module `a` stands in anyOf and in noneOf"),
            ),
        ],
    ),
    (
        "A contract that is present and malformed is an error that names the field, never \"no contract\".",
        &[
            ("", Refused(".", "")),
            ("null", Refused(".", "null")),
            ("{", Refused(".", "")),
            (r#"{"env":"KUBECONFIG"}"#, Refused("env", "expected a sequence")),
            (r#"{"name":"stronghold","name":"stronghold"}"#, Refused(".", "duplicate field `name`")),
        ],
    ),
];

#[test]
fn what_a_contract_says() {
    for (sentence, cases) in SENTENCES {
        for (json, expected) in *cases {
            let read = read(json);
            let said = format!("{sentence}\n{json}\n{read:?}");
            match (read, expected) {
                (Ok((contract, warnings)), This(expected)) => {
                    assert_eq!((contract.to_json().as_str(), warnings.len()), (*expected, 0), "{said}");
                }
                (Ok((contract, warnings)), Warned(expected, words)) => {
                    assert_eq!(contract.to_json(), *expected, "{said}");
                    assert!(warnings.len() == 1 && warnings[0].to_string().contains(words), "{said}");
                }
                (Err(error), Refused(field, words)) => {
                    assert_eq!(error.field(), Some(*field), "{said}");
                    assert!(error.to_string().contains(words), "{said}");
                }
                _ => panic!("{said}"),
            }
        }
    }
}

/// The same in every form that a contract has: the annotation, the file of generation 1, the cache on disk.
#[test]
fn every_form_says_the_same() {
    for (json, expected) in SENTENCES.iter().flat_map(|(_, cases)| *cases) {
        let field = |result: Result<Contract, ContractError>| {
            result.map(|contract| contract.to_json()).map_err(|error| error.field().map(str::to_owned))
        };
        let of_json = field(read(json).map(|read| read.0));
        let annotation = general_purpose::STANDARD.encode(json);
        assert_eq!(field(Contract::from_annotation(&annotation, &component(), &tag()).map(|read| read.0)), of_json);
        let of_yaml = field(Contract::from_yaml(json, &component(), &tag()).map(|read| read.0));
        assert_eq!(of_yaml, of_json, "{json}");
        if let This(_) = expected
            && let Ok(json) = of_json
        {
            assert_eq!(field(Contract::from_cache(json.as_bytes(), &component())), Ok(json));
        }
    }
}

/// "at most 1 MiB", of all forms.
#[test]
fn at_most_one_mebibyte() {
    let of_size = |size: usize| format!(r#"{{"description":"{}"}}"#, "a".repeat(size - r#"{"description":""}"#.len()));
    for (size, fits) in [(MAX_CONTRACT, true), (MAX_CONTRACT + 1, false)] {
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

/// "No contract at all is legal: name and version only, nothing to enforce."
#[test]
fn no_contract_at_all_is_legal() {
    let bare = Contract::bare(&component(), &tag());
    assert_eq!(bare.to_json(), BARE);
    assert!(bare.requirements.is_empty() && !bare.requirements.concern_cluster());
}

/// `cache/contracts/<name>.json` as the Go d8 writes it: indented, what is empty is there or null, a newline
/// at the end.
#[test]
fn what_the_go_d8_keeps_on_disk() {
    let theirs = r#"{
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
    let contract = Contract::from_cache(theirs.as_bytes(), &component()).unwrap();
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
