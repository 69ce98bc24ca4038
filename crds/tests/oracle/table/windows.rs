//! Cases for windows that bind people, and for blackouts.

use super::Row;

const SATURDAY: &str = "[{'days':['Sat'],'start':'02:00','duration':'3h'}]";
const TODAY: &str = "[{'from':'2026-11-22T00:00','to':'2026-11-23T00:00','reason':'Audit'}]";
/// More than 400 days.
const LONG: &str = "[{'from':'2026-11-22T00:00','to':'2028-01-01T00:00','reason':'Audit'}]";

/// Rows as in `ROWS`.
pub(super) const ROWS: &[Row] = &[
    Row(
        "windowsFor: Everyone, U",
        &[("S/windows", SATURDAY), ("S/windowsFor", "'Everyone'"), ("/intent", "'U'")],
        "Held OutsideWindow 2026-11-28T02:00:00Z",
    ),
    Row(
        "windowsFor: Everyone, X",
        &[("S/windows", SATURDAY), ("S/windowsFor", "'Everyone'"), ("/intent", "'X'")],
        "Held OutsideWindow 2026-11-28T02:00:00Z",
    ),
    Row(
        "windowsFor: Everyone, R",
        &[("S/windows", SATURDAY), ("S/windowsFor", "'Everyone'"), ("/intent", "'R'")],
        "Eligible",
    ),
    Row(
        "windowsFor: Agent, U",
        &[("S/windows", SATURDAY), ("S/windowsFor", "'Agent'"), ("/intent", "'U'")],
        "Eligible",
    ),
    Row(
        "windowsFor is for the windows of its own policy",
        &[
            ("S/windows", SATURDAY),
            ("/intent", "'U'"),
            ("/policies/+", "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'windowsFor':'Everyone'}}"),
        ],
        "Eligible",
    ),
    Row(
        "a person waits for the windows that bind people, and no others",
        &[
            ("S/windows", SATURDAY),
            ("/intent", "'U'"),
            (
                "/policies/+",
                "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'windowsFor':'Everyone',\
                 'windows':[{'days':['Tue'],'start':'02:00','duration':'3h'}]}}",
            ),
        ],
        "Held OutsideWindow 2026-11-24T02:00:00Z",
    ),
    Row(
        "rule 2: a person leaves a blocked version, windowsFor: Everyone",
        &[
            ("S/windows", SATURDAY),
            ("S/blackouts", TODAY),
            ("S/windowsFor", "'Everyone'"),
            ("/intent", "'U'"),
            ("R/block", "['1.3.2']"),
        ],
        "Eligible !run",
    ),
    Row("windowsFor: another value", &[("S/windowsFor", "'Nobody'"), ("/intent", "'R'")], "Held InvalidPolicy"),
    Row("rule 10: a blackout", &[("S/blackouts", TODAY)], "Held Blackout 2026-11-23T00:00:00Z"),
    Row("rule 10: a blackout, U", &[("S/blackouts", TODAY), ("/intent", "'U'")], "Eligible"),
    Row(
        "rule 10: a blackout, windowsFor: Everyone, X",
        &[("S/blackouts", TODAY), ("S/windowsFor", "'Everyone'"), ("/intent", "'X'")],
        "Held Blackout 2026-11-23T00:00:00Z",
    ),
    Row(
        "rule 10: a blackout, R",
        &[("S/blackouts", TODAY), ("S/windowsFor", "'Everyone'"), ("/intent", "'R'")],
        "Eligible",
    ),
    Row(
        "rule 10: a blackout, and no window is open",
        &[("S/blackouts", TODAY), ("S/windows", SATURDAY)],
        "Held Blackout OutsideWindow 2026-11-28T02:00:00Z",
    ),
    Row(
        "rule 10: a blackout in an open window",
        &[("S/blackouts", TODAY), ("S/windows", "[{'start':'08:00','duration':'2h'}]")],
        "Held Blackout 2026-11-23T08:00:00Z",
    ),
    Row(
        "rule 10: a blackout over the next window",
        &[
            ("S/blackouts", "[{'from':'2026-11-27T00:00','to':'2026-11-29T00:00','reason':'a'}]"),
            ("S/windows", SATURDAY),
        ],
        "Held OutsideWindow 2026-12-05T02:00:00Z",
    ),
    Row(
        "rule 10: a blackout of one policy, a window of another",
        &[
            ("S/windows", SATURDAY),
            (
                "/policies/+",
                "{'metadata':{'name':'q'},'spec':{'hostSelector':{},'blackouts':[{'from':'2026-11-28T00:00','to':'2026-11-28T04:00','reason':'a'}]}}",
            ),
        ],
        "Held OutsideWindow 2026-11-28T04:00:00Z",
    ),
    Row(
        "rule 10: WindowsNeverMeet counts blackouts",
        &[("S/blackouts", LONG), ("S/windows", SATURDAY)],
        "Held Blackout WindowsNeverMeet",
    ),
    Row("rule 10: a blackout of more than 400 days", &[("S/blackouts", LONG)], "Held Blackout WindowsNeverMeet"),
    Row(
        "rule 10: a later blackout over all windows",
        &[
            ("S/blackouts", "[{'from':'2026-11-28T00:00','to':'2028-06-01T00:00','reason':'a'}]"),
            ("S/windows", SATURDAY),
        ],
        "Held WindowsNeverMeet",
    ),
    Row(
        "rule 10: the start of a blackout, in its zone",
        &[(
            "S/blackouts",
            "[{'from':'2026-11-22T10:00','to':'2026-11-22T11:00','timeZone':'Europe/Berlin','reason':'a'}]",
        )],
        "Held Blackout 2026-11-22T10:00:00Z",
    ),
    Row(
        "rule 10: the end of a blackout, in its zone",
        &[(
            "S/blackouts",
            "[{'from':'2026-11-22T09:00','to':'2026-11-22T10:00','timeZone':'Europe/Berlin','reason':'a'}]",
        )],
        "Eligible",
    ),
    Row("rule 10: no blackouts", &[("S/blackouts", "[]")], "Eligible"),
    Row(
        "rule 10: a blackout with an unknown zone",
        &[
            ("S/blackouts", "[{'from':'2026-11-22T09:00','to':'2026-11-22T10:00','timeZone':'Mars','reason':'a'}]"),
            ("/intent", "'U'"),
        ],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 10: a blackout without a reason",
        &[("S/blackouts", "[{'from':'2026-11-22T09:00','to':'2026-11-22T10:00'}]"), ("/intent", "'R'")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 6: expedite lifts windows, not blackouts",
        &[("S/blackouts", TODAY), ("S/windows", SATURDAY), ("R/expedite", "['1.3.3']")],
        "Held Blackout 2026-11-23T00:00:00Z",
    ),
    Row(
        "rule 1: the first install of what is required waits for the end of a blackout",
        &[("S/blackouts", TODAY), ("R/access", "'Require'"), ("/active", "null")],
        "Held Blackout 2026-11-23T00:00:00Z",
    ),
];
