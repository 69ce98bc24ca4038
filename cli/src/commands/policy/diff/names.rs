//! Lists of names in the text of `d8 policy diff`.

/// How many hosts are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostNames {
    /// The first few.
    Few,
    /// All of them.
    All,
}

/// Most names of hosts, or versions, in a list that is cut.
const SHOWN: usize = 5;

/// Returns the number of hosts and their names: `7 hosts: a, b, c, d, e and 2 more`.
pub(super) fn hosts(names: &[&str], shown: HostNames) -> String {
    format!("{}: {}", count(names.len()), abbreviated(names, shown))
}

pub(super) fn count(hosts: usize) -> String {
    if hosts == 1 { "1 host".to_owned() } else { format!("{hosts} hosts") }
}

/// Returns the first of some names, and the number of the others.
pub(super) fn abbreviated(names: &[&str], shown: HostNames) -> String {
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) if shown == HostNames::Few => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
