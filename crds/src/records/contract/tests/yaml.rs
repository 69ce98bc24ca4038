//! Contracts in YAML, and scalars that YAML does not read as strings.

use proptest::prelude::*;

use super::*;

fn read_yaml(text: &str) -> Result<(Contract, Vec<ContractWarning>), ContractError> {
    Contract::from_yaml(text, &component(), &tag())
}

/// The contract of [`FULL`], as an author writes it in YAML.
const YAML: &str = "
name: stronghold      # not the repository
version: v1.2.3
description: Secrets
env:
- name: KUBECONFIG
flags:
- name: --address
future: {field: [1, off, ~, 1.10, {on: 12:30}]}
requirements:
  kubernetes: {constraint: '>= 1.29'}
  deckhouse:
    constraint: |-
      >= 1.70
  modules:
    mandatory: [{name: stronghold, constraint: \">= 1.0\"}]
    conditional:
    - name: console
    anyOf:
    - name: cni
      description: network
      modules:
      - &cilium {name: cni-cilium}
      - name: cni-flannel
    noneOf:
    - modules:
      - name: old
        constraint: <2
    - modules: [{name: older}]
  plugins:
    mandatory:
    - name: delivery-kit
      constraint: ^1.0
    conditional: [{name: system}]
";

#[test]
fn yaml_and_json_give_the_same_contract() {
    let expected = read(FULL).unwrap();
    assert_eq!(read_yaml(YAML).unwrap(), expected);
    assert_eq!(read_yaml(FULL).unwrap(), expected, "JSON is valid YAML");
    assert_eq!(read_yaml(&expected.0.to_json()).unwrap(), expected);
    let with_markers = format!("\u{feff}%YAML 1.1\n---\n{YAML}...\n");
    assert_eq!(read_yaml(&with_markers).unwrap(), expected, "a directive, document markers and a BOM");
    let warnings = read_yaml("{version: v9.0.0}").unwrap().1;
    assert_eq!(warnings.len(), 1, "another version is a warning in YAML, too");
}

#[test]
fn scalars_that_are_not_strings_are_errors_of_their_field() {
    let constraint = "requirements.kubernetes.constraint";
    let of_kubernetes = |scalar: &str| format!("requirements: {{kubernetes: {{constraint: {scalar}}}}}");
    let mandatory = "requirements: {modules: {mandatory: [{name: a}, {name: no}]}}";
    for (text, field, why) in [
        ("name: off".to_owned(), "name", "YAML reads `off` as a boolean: write it in quotes"),
        ("name: no".to_owned(), "name", "`no` as a boolean"),
        ("name: yes".to_owned(), "name", "`yes` as a boolean"),
        ("name: On".to_owned(), "name", "`On` as a boolean"),
        ("name: y".to_owned(), "name", "`y` as a boolean"),
        ("version: 1.10".to_owned(), "version", "YAML reads `1.10` as a number: write it in quotes"),
        ("version: 1".to_owned(), "version", "`1` as a number"),
        ("version: 1_0.5".to_owned(), "version", "`1_0.5` as a number"),
        ("version: 2026-11-22".to_owned(), "version", "YAML reads `2026-11-22` as a time: write it in quotes"),
        ("description: 010".to_owned(), "description", "`010` as a number"),
        ("description: 0x1F".to_owned(), "description", "`0x1F` as a number"),
        ("description: 1:30".to_owned(), "description", "`1:30` as a number"),
        ("description: .inf".to_owned(), "description", "`.inf` as a number"),
        ("description: 340282366920938463463374607431768211456".to_owned(), "description", "as a number"),
        ("description: !!int '7'".to_owned(), "description", "YAML reads `'7'` as a number"),
        ("env: [{name: ON}]".to_owned(), "env[0].name", "`ON` as a boolean"),
        ("flags: [{name: -1}]".to_owned(), "flags[0].name", "`-1` as a number"),
        (of_kubernetes("1.29"), constraint, "YAML reads `1.29` as a number: write it in quotes"),
        (of_kubernetes("off"), constraint, "`off` as a boolean"),
        (mandatory.to_owned(), "requirements.modules.mandatory[1].name", "`no` as a boolean"),
        ("a: &off off\nname: *off".to_owned(), "name", "`off` as a boolean"),
        ("a: &all {name: 010}\n<<: *all".to_owned(), "name", "`010` as a number"),
        (
            "requirements: {modules: off}".to_owned(),
            "requirements.modules",
            "YAML reads `off` as a boolean, expected an object with `mandatory`",
        ),
        ("env: 1:30".to_owned(), "env", "YAML reads `1:30` as a number, expected a sequence"),
        ("off".to_owned(), ".", "YAML reads `off` as a boolean, expected an object"),
    ] {
        let error = read_yaml(&text).expect_err(&text);
        assert_eq!(error.field(), Some(field), "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn strings_are_read_as_written() {
    for (written, expected) in [
        ("'off'", "off"),
        ("\"1.10\"", "1.10"),
        ("|-\n  010", "010"),
        (">-\n  1:30", "1:30"),
        ("!!str 1.10", "1.10"),
        ("&anchor '1.10'", "1.10"),
        ("yEs", "yEs"),
        ("nO", "nO"),
        ("1.2.3", "1.2.3"),
        ("v1", "v1"),
        ("12:30 o'clock", "12:30 o'clock"),
        ("on time", "on time"),
        ("1:60", "1:60"),
        ("a\n  b", "a b"),
        ("~1.2", "~1.2"),
        ("", ""),
        ("~", ""),
        ("null", ""),
        ("Хранилище", "Хранилище"),
    ] {
        let text = format!("name: stronghold\ndescription: {written}\n");
        let (contract, _) = read_yaml(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(contract.description, expected, "{written}");
    }
}

#[test]
fn documents_that_are_not_contracts_are_refused() {
    let large = format!("description: {}", "a".repeat(limits::CONTRACT_BYTES));
    assert_eq!(read_yaml(&large).unwrap_err().kind(), "too-large");
    for (text, why) in [
        ("", "expected an object"),
        ("# nothing\n", "expected an object"),
        ("--- \n", "expected an object"),
        ("- name: stronghold", "invalid type: sequence, expected an object"),
        ("stronghold", "expected an object"),
        ("name: [", "line 1, column 7"),
        ("name: 'stronghold", "line 1, column 7"),
        ("name: stronghold\nname: stronghold", "duplicate mapping key `name` is not allowed here at line 2, column 1"),
        ("x: {a: 1, 'a': 2}", "duplicate mapping key `a`"),
        ("x: {1: a, 0x1: b}", "duplicate mapping key `0x1`"),
        ("? [a]\n: b", "expected string scalar"),
        ("name: stronghold\n---\nname: stronghold", ""),
        ("name: *nothing", "line 1, column 7"),
        ("requirements: {kubernetes: {constraint: >=1.29}}", "line 1, column 41"),
    ] {
        let error = read_yaml(text).expect_err(text);
        assert_eq!(error.kind(), "malformed", "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
}

#[test]
fn aliases_and_nesting_are_bounded() {
    let laughs =
        ('b'..='z').zip('a'..).fold("a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, (name, before)| {
            format!("{text}{name}: &{name} [{}]\n", format!("*{before}, ").repeat(9))
        });
    let deep = format!("x: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let block = (0..5000).fold(String::new(), |text, depth| format!("{text}{}a:\n", " ".repeat(depth % 200)));
    let cycle = "x: &a [*a]";
    let merges = format!("a: &a {{name: stronghold}}\nx: {{{}}}", "<<: *a, ".repeat(20_000));
    for text in [laughs.as_str(), &deep, &block, cycle, &merges] {
        let error = read_yaml(text).expect_err(&text[..text.len().min(60)]);
        assert_eq!(error.kind(), "malformed", "{error}");
    }
}

#[test]
fn a_large_contract_is_read() {
    let members = "      - name: module-#\n        constraint: '>=1.0'\n";
    let members: Vec<_> = (0..10_000).map(|i| members.replace('#', &i.to_string())).collect();
    let members = members.concat();
    let text = format!("requirements:\n  modules:\n    anyOf:\n    - name: g\n      modules:\n{members}");
    assert!(text.len() < limits::CONTRACT_BYTES);
    assert_eq!(read_yaml(&text).unwrap().0.requirements.modules.any_of[0].modules.len(), 10_000);
}

#[test]
fn errors_are_printable() {
    for text in [
        "name: \"\\x1b[2J\"",
        "name: \u{1b}[2J",
        "\u{1b}[2J: x\n\u{1b}[2J: x",
        "\"\\x1b\": 1\n\"\\x1b\": 2",
        "name: *\u{202e}x",
        "requirements: {kubernetes: {constraint: \"\\x9b\\u202e\"}}",
        "name: !<\u{1b}> x",
    ] {
        let error = read_yaml(text).expect_err(text).to_string();
        assert_eq!(error, printable_to(&error, 1000), "{text:?}");
        assert!(error.len() < 600);
    }
}

proptest! {
    #[test]
    fn never_panics(text in "(?s:.{0,200})|[a-z0-9&*!|>'\"%@`#,\\[\\]{}: \\n.-]{0,80}", cut in 0..YAML.len(), with in any::<char>()) {
        let _ = read_yaml(&text);
        let mut broken = YAML.to_owned();
        if broken.is_char_boundary(cut) {
            broken.insert(cut, with);
        }
        if let Err(error) = read_yaml(&broken) {
            let error = error.to_string();
            prop_assert_eq!(printable_to(&error, 1000), error.as_str());
        }
    }

    /// A description is read unchanged, or refused with an error of its field.
    #[test]
    fn scalars_are_not_changed(scalar in "[a-z0-9_.:+~-]{1,12}") {
        match read_yaml(&format!("description: {scalar}")) {
            Ok((contract, _)) => prop_assert!(contract.description == scalar || scalar == "~" || scalar == "null"),
            Err(error) => prop_assert!(error.field() == Some("description") || error.field() == Some(".")),
        }
    }
}
