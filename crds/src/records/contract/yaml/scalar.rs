//! The types of plain scalars in YAML 1.1 (<https://yaml.org/type/>) and in common readers of YAML 1.2. A
//! scalar that one of them does not read as a string is not a string here.

use serde_json::Value;

pub(super) const NULL: &str = "nothing";
const BOOLEAN: &str = "a boolean";
pub(super) const NUMBER: &str = "a number";
const TIME: &str = "a time";

/// Returns the kind of a plain scalar, or `None` if it is a string.
pub(super) fn kind(scalar: &str) -> Option<&'static str> {
    match scalar {
        "" | "~" | "null" | "Null" | "NULL" => Some(NULL),
        "y" | "Y" | "yes" | "Yes" | "YES" | "n" | "N" | "no" | "No" | "NO" | "true" | "True" | "TRUE" | "false"
        | "False" | "FALSE" | "on" | "On" | "ON" | "off" | "Off" | "OFF" => Some(BOOLEAN),
        _ if is_number(scalar) => Some(NUMBER),
        _ if is_time(scalar) => Some(TIME),
        _ => None,
    }
}

/// Returns a JSON value that is not a string, and null for an empty scalar.
pub(super) fn json_value(kind: &str) -> Value {
    if kind == NULL { Value::Null } else { Value::Bool(false) }
}

fn is_number(scalar: &str) -> bool {
    let unsigned = scalar.strip_prefix(['+', '-']).unwrap_or(scalar);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let prefixed = |prefix: &str, radix: u32| {
        unsigned.strip_prefix(prefix).is_some_and(|digits| {
            digits.chars().all(|c| c == '_' || c.is_digit(radix)) && digits.chars().any(|c| c != '_')
        })
    };
    prefixed("0x", 16) || prefixed("0b", 2) || prefixed("0o", 8) || is_sexagesimal(unsigned) || is_decimal(unsigned)
}

/// Returns whether a scalar is a decimal or octal number: `12`, `1_000`, `010`, `1.10`, `.5`, `1e3`. YAML
/// readers differ in which of these forms they read as numbers.
fn is_decimal(scalar: &str) -> bool {
    let (mantissa, exponent) = match scalar.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (scalar, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit())
    });
    let has_a_digit = mantissa.bytes().any(|b| b.is_ascii_digit());
    has_a_digit && !scalar.starts_with('_') && digits(whole) && digits(fraction) && exponent_is_one
}

/// Returns whether a scalar is a number in base 60: `12:30`, `1:30:00.5`.
fn is_sexagesimal(scalar: &str) -> bool {
    let mut parts = scalar.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<_> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let sixty = |part: &str| matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    let last = last.split_once('.').map_or(*last, |(whole, _)| whole);
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_')
        && middle.iter().all(|part| sixty(part))
        && sixty(last)
}

/// Returns whether a scalar is a date, alone or with a time.
fn is_time(scalar: &str) -> bool {
    let date_ends = scalar.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(scalar.len());
    let (date, rest) = scalar.split_at(date_ends);
    let parts: Vec<_> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    year.len() == 4
        && (1..=2).contains(&month.len())
        && (1..=2).contains(&day.len())
        && (rest.is_empty()
            || rest.starts_with(['T', 't', ' ', '\t'])
                && rest[1..].trim_start().starts_with(|c: char| c.is_ascii_digit())
                && rest.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_a_kind() {
        for (scalars, expected) in [
            ("~ null Null NULL", Some(NULL)),
            ("y Y yes Yes YES n N no No NO true True TRUE false False FALSE on On ON off Off OFF", Some(BOOLEAN)),
            ("0 7 -1 +1 12 010 08 1_000 0x1F 0b101 0o17 -0x_f 0x1 0b1 0o7 18446744073709551616", Some(NUMBER)),
            ("1.10 1. .5 -1.5 1_0.0_1 1e3 1.5e+3 1E-3 .inf -.INF +.Inf .NaN", Some(NUMBER)),
            ("12:30 1:30:00 190:20:30.15 -1:59", Some(NUMBER)),
            ("2026-11-22 2026-1-2 2026-11-22T09:00:00Z 2026-11-22t9:00:00.5+1", Some(TIME)),
            ("yEs nO oFF NuLL nULL tRUE -y +no ~1.2 v1 1.2.3 1.x 1.2-rc.1 ^1 =1.2 -", None),
            ("stronghold 0xg 0x 0b2 0o8 1e 1e+ 1ex e3 _1 1_a . .. + +. --1 ++1", None),
            ("1:60 1:2x :1 1: a:30 12:345 1:-1", None),
            ("2026-11 20261122 2026-11-22x 2026-11-22T 12026-1-1 2026-123-1 2026--1", None),
            ("infinity inf nan NaN ١٢ １", None),
        ] {
            for scalar in scalars.split(' ') {
                let expected = if scalar == "20261122" { Some(NUMBER) } else { expected };
                assert_eq!(kind(scalar), expected, "{scalar}");
            }
        }
        assert_eq!(kind(""), Some(NULL));
        assert_eq!(kind("2026-11-22 09:00:00"), Some(TIME));
        assert_eq!(kind("2026-11-22 was a Sunday: rain"), None);
    }
}
