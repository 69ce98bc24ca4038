use d8_crds::{
    decisions::verdict::NextVersion,
    records::host::ComponentState::{self, Held, UpToDate},
};

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn component(
    active: Option<&str>,
    state: Option<ComponentState>,
    target: &str,
    next: Option<(&str, &str)>,
) -> FleetComponent {
    FleetComponent {
        name: "tool".to_owned(),
        active: active.map(str::to_owned),
        state,
        reason: (state == Some(Held)).then(|| "NotInWave".to_owned()),
        message: None,
        until: None,
        since: None,
        target: target.parse().ok(),
        next: next.map(|(version, at)| NextVersion { version: version.parse().unwrap(), at: at.parse().unwrap() }),
    }
}

#[test]
fn cells_of_the_matrix() {
    let now = at("2026-11-22T12:00:00Z");
    for (active, state, target, next, expected) in [
        (Some("v1.0.0"), Some(UpToDate), "v1.0.0", None, "v1.0.0"),
        (
            Some("v1.0.0"),
            Some(Held),
            "v1.1.0",
            Some(("v1.1.0", "2026-11-23T00:00:00Z")),
            "v1.0.0 -> v1.1.0, Held (NotInWave), next 2026-11-23T00:00:00Z",
        ),
        (
            Some("v1.0.0"),
            Some(UpToDate),
            "v1.1.0",
            Some(("v1.1.0", "2026-11-22T12:00:00Z")),
            "v1.0.0 -> v1.1.0, next now",
        ),
        (
            Some("v1.0.0"),
            Some(Held),
            "v1.2.0",
            Some(("v1.1.0", "2026-11-22T12:00:00Z")),
            "v1.0.0 -> v1.2.0, Held (NotInWave), next v1.1.0 now",
        ),
        (None, None, "v1.1.0", None, "none -> v1.1.0, Unreported"),
        (Some("\u{1b}[31m"), Some(UpToDate), "", None, "\\u{1b}[31m"),
    ] {
        assert_eq!(matrix_cell(&component(active, state, target, next), now), expected);
    }
}

#[test]
fn totals_in_words() {
    let one = HostTotals { hosts: 1, up_to_date: 1, ..HostTotals::default() };
    let many = HostTotals { hosts: 9, up_to_date: 5, held: 3, failed: 1, silent: 2, ..HostTotals::default() };
    for (counts, expected) in [
        (HostTotals::default(), "0 hosts"),
        (one, "1 host: 1 up to date"),
        (many, "9 hosts: 5 up to date, 3 held, 1 failed; 2 silent for more than 6h"),
    ] {
        assert_eq!(totals(&counts), expected);
    }
}

#[test]
fn shares_and_long_cells() {
    assert_eq!([0.0, 0.999, 1.0].map(percent), ["0%", "99%", "100%"]);
    let items = |count: usize| (0..count).map(|item| item.to_string());
    assert_eq!([cell(items(4)), cell(items(6))], ["0, 1, 2, 3", "0, 1, 2, 3, and 2 more"]);
}
