//! Random entries of `block`: full versions, and ranges whose limits are near the versions of a case.

use super::{Random, Scenario, VERSIONS, rules::listed};

const OPERATORS: [&str; 16] = ["", "", "=", "!=", "<", "<", "<=", "=<", ">", ">", ">=", "=>", "~", "~>", "^", "^"];

/// Returns the entries of a rule.
pub(super) fn entries(d: &mut Random, scenario: &Scenario) -> Vec<String> {
    let count = if d.percent(60) { 1 } else { 2 };
    (0..count).map(|_| if d.percent(40) { listed(d, scenario) } else { range(d, scenario) }).collect()
}

/// Up to two alternatives.
fn range(d: &mut Random, scenario: &Scenario) -> String {
    let first = alternative(d, scenario);
    if d.percent(15) { format!("{first} || {}", alternative(d, scenario)) } else { first }
}

fn alternative(d: &mut Random, scenario: &Scenario) -> String {
    if d.percent(3) {
        return d.pick(&["*", "x", "X", ">=1.3.3-rc.1 <1.3.3", ">=1.2 <1.2.7"]).to_owned();
    }
    if d.percent(12) {
        return format!("{} - {}", operand(d, scenario), operand(d, scenario));
    }
    let first = comparator(d, scenario);
    if d.percent(65) {
        return first;
    }
    format!("{first}{}{}", d.pick(&[" ", " ", ",", ", "]), comparator(d, scenario))
}

fn comparator(d: &mut Random, scenario: &Scenario) -> String {
    let operator = d.pick(&OPERATORS);
    let blank = if !operator.is_empty() && d.percent(10) { " " } else { "" };
    format!("{operator}{blank}{}", operand(d, scenario))
}

/// A version near one of the case: with fewer numbers, with a wildcard, one patch above, or with another suffix.
fn operand(d: &mut Random, scenario: &Scenario) -> String {
    let version = if d.percent(50) { scenario.version } else { d.pick(&VERSIONS) };
    let version = version.trim_start_matches('v');
    let mut numbers: Vec<String> =
        version.split('-').next().unwrap_or_default().split('.').map(str::to_owned).collect();
    let v = if d.percent(15) { "v" } else { "" };
    match d.below(20) {
        0..=4 => return format!("{v}{version}"),
        5..=8 => {}
        9 => d.pick(&["1", "4", "10"]).clone_into(&mut numbers[2]),
        10 | 11 => numbers[2].push_str(d.pick(&["-rc.1", "-rc.2", "-rc.10", "-alpha", "-0", "-main"])),
        12..=16 => drop(numbers.pop()),
        _ => numbers.truncate(1),
    }
    if numbers.len() < 3 && d.percent(30) {
        numbers.push(d.pick(&["x", "X", "*"]).to_owned());
    }
    format!("{v}{}", numbers.join("."))
}
