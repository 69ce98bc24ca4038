//! Cases for ranges in `block`, for people who leave a blocked version, and for unknown fields.

use super::Row;

/// Rows as in `ROWS`. In changes, `/policies/+` adds a policy.
pub(super) const MORE_ROWS: &[Row] = &[
    Row(
        "rule 6: a range has no channel",
        &[("/intent", "'R'"), ("/version", "'v1.4.0-rc.1'"), ("R/block", "['=1.4.0']"), ("R/channel", "'Prerelease'")],
        "Eligible",
    ),
    Row(
        "rule 6: an entry that is neither a version nor a range",
        &[("/intent", "'U'"), ("R/block", "['newest']")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 6: block by layer of a version in a range",
        &[
            ("R/block", "['<1.3.3']"),
            ("/release/status/versions/1/artifacts", "[{'platform':'linux-amd64','layer':'sha256:c'}]"),
            ("/host/platform", "'linux-amd64'"),
        ],
        "Forbidden Blocked !run",
    ),
    Row(
        "rule 6: block by layer, of no version in the range",
        &[
            ("R/block", "['<1.3.2']"),
            ("/release/status/versions/1/artifacts", "[{'platform':'linux-amd64','layer':'sha256:c'}]"),
            ("/host/platform", "'linux-amd64'"),
        ],
        "Eligible",
    ),
    Row(
        "rules 2 and 3: away from a blocked version under paused, U",
        &[("/intent", "'U'"), ("R/block", "['<1.3.3']"), ("S/paused", "true")],
        "Eligible !run",
    ),
    Row(
        "rules 2 and 3: away from a blocked version under paused, X",
        &[("/intent", "'X'"), ("R/block", "['<1.3.3']"), ("S/paused", "true")],
        "Eligible !run",
    ),
    Row(
        "rules 2 and 3: the agent waits under paused",
        &[("/intent", "'A'"), ("R/block", "['<1.3.3']"), ("S/paused", "true")],
        "Held Paused !run",
    ),
    Row(
        "rule 2: Manual does not hold the agent, also under paused",
        &[("/intent", "'A'"), ("R/block", "['<1.3.3']"), ("S/defaults/updates", "'Manual'"), ("S/paused", "true")],
        "Held Paused !run",
    ),
    Row(
        "rule 2: not to another blocked version",
        &[("/intent", "'U'"), ("R/block", "['<1.3.3']"), ("/version", "'v1.3.0'"), ("S/paused", "true")],
        "Forbidden Blocked !run",
    ),
    Row(
        "rules 2 and 3: paused, away from a version that is forbidden only",
        &[("/intent", "'U'"), ("R/versions", "'>=1.3.3'"), ("S/paused", "true")],
        "Held Paused",
    ),
    Row(
        "rules 2 and 3: paused, and the active version itself",
        &[("/intent", "'U'"), ("/version", "'v1.3.2'"), ("S/paused", "true"), ("R/block", "['1.3.2']")],
        "Forbidden Blocked Paused !run",
    ),
    Row(
        "rules 2 and 3: paused, away from a blocked version of d8",
        &[("/intent", "'U'"), ("/component", "'d8'"), ("S/cli/block", "['<1.3.3']"), ("S/paused", "true")],
        "Eligible",
    ),
    Row(
        "rule 2: away from a blocked version under an invalid policy, U",
        &[
            ("/intent", "'U'"),
            ("R/block", "['<1.3.3']"),
            ("/policies/+", "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'windows':[]}}"),
        ],
        "Eligible !run",
    ),
    Row(
        "rule 2: away from a blocked version under an invalid policy, X",
        &[
            ("/intent", "'X'"),
            ("R/block", "['<1.3.3']"),
            ("/policies/+", "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'windows':[]}}"),
        ],
        "Eligible !run",
    ),
    Row(
        "rule 2: away from a blocked version under an invalid policy, A",
        &[
            ("/intent", "'A'"),
            ("R/block", "['<1.3.3']"),
            ("/policies/+", "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'windows':[]}}"),
        ],
        "Held InvalidPolicy !run",
    ),
    Row(
        "rule 2: away from a blocked version under an undecodable policy",
        &[
            ("/intent", "'U'"),
            ("R/block", "['<1.3.3']"),
            ("/policies/+", "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'paused':'no'}}"),
        ],
        "Held InvalidPolicy !run",
    ),
    Row("rule 14: an unknown field, S/later", &[("S/later", "'x'"), ("/intent", "'R'")], "Held InvalidPolicy"),
    Row(
        "rule 14: an unknown field, S/hostSelector/later",
        &[("S/hostSelector/later", "'x'"), ("/intent", "'R'")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 14: an unknown field, S/defaults/versions",
        &[("S/defaults/versions", "'x'"), ("/intent", "'R'")],
        "Held InvalidPolicy",
    ),
    Row("rule 14: an unknown field, R/later", &[("R/later", "'x'"), ("/intent", "'R'")], "Held InvalidPolicy"),
    Row(
        "rule 14: an unknown field, S/cli/access",
        &[("S/cli/access", "'x'"), ("/intent", "'R'")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 14: an unknown field, S/integrity/later",
        &[("S/integrity/later", "'x'"), ("/intent", "'R'")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 14: an unknown field, d8 itself",
        &[("S/later", "'x'"), ("/intent", "'U'"), ("/component", "'d8'")],
        "Eligible",
    ),
];

/// Rule 6: an entry of `block`, versions that it covers, and versions that it does not cover.
pub(super) const ENTRIES: &[(&str, &str, &str)] = &[
    ("<1.4", "1.4.0-rc.1 1.3.9", "1.4.0"),
    (">=1.2 <1.2.7", "1.2.0 1.2.7-rc.1", "1.2.0-rc.1 1.2.7"),
    ("1.3.x", "1.3.0-rc.1 1.3.0", "1.4.0-rc.1 1.2.9"),
    ("1.3", "1.3.0-rc.1 1.3.9", "1.4.0-rc.1"),
    ("~1.3", "1.3.0-rc.1 1.3.9", "1.4.0-rc.1"),
    ("^1.3", "1.3.0-rc.1 1.9.0", "2.0.0-rc.1 1.2.9"),
    ("!=1.3", "1.4.0-rc.1 1.2.9", "1.3.0-rc.1 1.3.0"),
    ("<=1.3", "1.3.9 1.3.0-rc.1 1.4.0-rc.1", "1.4.0"),
    (">1.3", "1.4.0", "1.4.0-rc.1 1.3.9"),
    ("~1.3.2", "1.3.2 1.3.3-rc.1", "1.3.2-rc.1 1.4.0-rc.1"),
    ("^1.3.2", "1.3.2 1.4.0-rc.1", "1.3.2-rc.1 2.0.0-rc.1"),
    ("=1.3.1", "1.3.1", "1.3.1-rc.1"),
    ("1.3.1", "1.3.1", "1.3.1-rc.1"),
    ("!=1.3.1", "1.3.1-rc.1 1.3.2", "1.3.1"),
    ("^0.3", "0.3.9", "0.4.0-rc.1 0.4.0"),
    ("^0.0.3", "0.0.3", "0.0.4 0.0.4-rc.1"),
    ("1.2 - 1.4", "1.2.0 1.4.9 1.5.0-rc.1", "1.2.0-rc.1"),
    ("*", "0.0.1-rc.1", ""),
    ("=>1.3.2, =<1.3.3", "1.3.3", "1.3.4"),
    ("~> 1.2 || 2.X", "1.2.9 2.0.0-rc.1", "1.3.0"),
];
