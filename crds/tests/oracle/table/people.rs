//! Cases for policies with subjects (rule 21).

use super::Row;

const EVE: &str = "{'user':'eve','groups':['dev']}";
const BOB: &str = "{'user':'bob','groups':['dev','contractors']}";

/// Rows as in `ROWS`. `/policies/+` adds a policy for contractors.
pub(super) const ROWS: &[Row] = &[
    Row("a policy with subjects does not speak for the agent", &[("/policies/+", CONTRACTORS_PAUSED)], "Eligible"),
    Row(
        "a person in a group",
        &[("/policies/+", CONTRACTORS_PAUSED), ("/intent", "'U'"), ("/person", BOB)],
        "Held Paused",
    ),
    Row(
        "a person by name",
        &[("S/subjects", "{'users':['eve']}"), ("S/paused", "true"), ("/intent", "'X'"), ("/person", EVE)],
        "Held Paused",
    ),
    Row(
        "a user's name is no group",
        &[
            ("S/subjects", "{'groups':['eve'],'users':['dev']}"),
            ("S/paused", "true"),
            ("/intent", "'X'"),
            ("/person", EVE),
        ],
        "Eligible",
    ),
    Row(
        "a person whom it does not name",
        &[("/policies/+", CONTRACTORS_PAUSED), ("/intent", "'U'"), ("/person", EVE)],
        "Eligible",
    ),
    Row(
        "a person who is not known: no hold",
        &[("/policies/+", CONTRACTORS_PAUSED), ("/intent", "'U'"), ("/person", "null")],
        "Eligible",
    ),
    Row(
        "a person who is not known: Deny",
        &[("/policies/+", CONTRACTORS_DENIED), ("/intent", "'U'"), ("/person", "null")],
        "Forbidden Denied !run",
    ),
    Row(
        "a person who is not known: block",
        &[
            ("S/subjects", "{'groups':['contractors']}"),
            ("R/block", "['1.3.2']"),
            ("R/versions", "'<1'"),
            ("/intent", "'U'"),
            ("/person", "null"),
        ],
        "Eligible !run",
    ),
    Row(
        "a person who is not known leaves a blocked version under paused",
        &[
            (
                "/policies/+",
                "{'metadata':{'name':'c'},'spec':{'hostSelector':{},'subjects':{'groups':['contractors']},'rules':[{'plugins':['*'],'block':['1.3.2']}]}}",
            ),
            ("S/paused", "true"),
            ("/intent", "'U'"),
            ("/person", "null"),
        ],
        "Eligible !run",
    ),
    Row(
        "R of a person",
        &[("/policies/+", CONTRACTORS_DENIED), ("/intent", "'R'"), ("/person", BOB)],
        "Forbidden Denied !run",
    ),
    Row("R of the agent", &[("/policies/+", CONTRACTORS_DENIED), ("/intent", "'R'")], "Eligible"),
    Row("runs of the agent", &[("/policies/+", CONTRACTORS_DENIED)], "Eligible"),
    Row(
        "governs those whom it names",
        &[("S/subjects", "{'groups':['contractors']}"), ("/intent", "'U'"), ("/version", "'v2.0.0'"), ("/person", BOB)],
        "Held MajorStays",
    ),
    Row(
        "governs nothing if the person is not known",
        &[
            ("S/subjects", "{'groups':['contractors']}"),
            ("/intent", "'U'"),
            ("/version", "'v2.0.0'"),
            ("/person", "null"),
        ],
        "Eligible",
    ),
    Row("governs nothing for the agent", &[("S/subjects", "{'groups':['contractors']}")], "Held NotGoverned"),
    Row(
        "brings no default if the person is not known",
        &[
            ("S/subjects", "{'groups':['contractors']}"),
            ("S/defaults/channel", "'Stable'"),
            ("/intent", "'X'"),
            ("/version", "'v1.4.0-rc.1'"),
            ("/person", "null"),
        ],
        "Eligible",
    ),
    Row(
        "a default of a policy with subjects",
        &[
            ("S/subjects", "{'groups':['contractors']}"),
            ("S/defaults/channel", "'Stable'"),
            ("/intent", "'X'"),
            ("/version", "'v1.4.0-rc.1'"),
            ("/person", BOB),
        ],
        "Forbidden ChannelNotPermitted",
    ),
    Row(
        "invalid, for a person whom it names",
        &[("S/subjects", "{'groups':['contractors']}"), ("S/windows", "[]"), ("/intent", "'U'"), ("/person", BOB)],
        "Held InvalidPolicy",
    ),
    Row(
        "invalid, for a person who is not known",
        &[("S/subjects", "{'groups':['contractors']}"), ("S/windows", "[]"), ("/intent", "'U'"), ("/person", "null")],
        "Eligible",
    ),
    Row(
        "undecodable, for a person whom it does not name",
        &[("S/subjects", "{'groups':['contractors']}"), ("S/later", "1"), ("/intent", "'R'"), ("/person", EVE)],
        "Eligible",
    ),
    Row(
        "undecodable, for a person who is not known",
        &[("S/subjects", "{'groups':['contractors']}"), ("S/later", "1"), ("/intent", "'R'"), ("/person", "null")],
        "Held InvalidPolicy",
    ),
];

const CONTRACTORS_PAUSED: &str =
    "{'metadata':{'name':'c'},'spec':{'hostSelector':{},'subjects':{'groups':['contractors']},'paused':true}}";
const CONTRACTORS_DENIED: &str = "{'metadata':{'name':'c'},'spec':{'hostSelector':{},'subjects':{'groups':['contractors']},\
                                  'defaults':{'access':'Deny'}}}";
