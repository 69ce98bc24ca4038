//! Cases for emergencies, and for what `expedite` does not lift.

use super::Row;

const SATURDAY: &str = "[{'days':['Sat'],'start':'02:00','duration':'3h'}]";
const TODAY: &str = "[{'from':'2026-11-22T00:00','to':'2026-11-23T00:00','reason':'Audit'}]";
const EMERGENCY: &str = "{'metadata':{'name':'e'},'spec':{'hostSelector':{},'emergency':{'until':'2026-11-23T00:00:00Z'},\
                         'rules':[{'plugins':['*'],'expedite':['1.3.3'],'message':'CVE'}],'cli':{'expedite':['v1.3.3']}}}";
const HALTED: &str = "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-20T09:00:00Z',\
                      'state':'Halted','haltedAt':'2026-11-21T09:00:00Z'}]}]";
const WAVES: &str = "/policies/0/status/components";
/// The only canaries are other hosts.
const EVIDENCE: &str =
    "{'over':'1m','canarySelector':{'matchLabels':{'role':'ci'}},'requireSucceeded':{'hosts':3,'for':'1h'}}";

/// Rows as in `ROWS`.
pub(super) const ROWS: &[Row] = &[
    Row(
        "rule 6: expedite and a moved tag",
        &[
            ("R/minAge", "'72h'"),
            ("R/expedite", "['1.3.3']"),
            ("S/rollout/over", "'720h'"),
            ("S/integrity/movedTags", "'Soak'"),
            ("/release/status/versions/0/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}"),
        ],
        "Held Soaking 2026-11-24T09:00:00Z",
    ),
    Row(
        "rule 6: expedite and a moved tag that a pin acknowledges",
        &[
            ("R/minAge", "'72h'"),
            ("R/expedite", "['1.3.3']"),
            ("S/integrity/movedTags", "'Soak'"),
            ("R/pins", "[{'version':'1.3.3','digest':'#'}]"),
            ("/release/status/versions/0/digest", "'#'"),
            ("/release/status/versions/0/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}"),
        ],
        "Eligible",
    ),
    Row("rule 6: an emergency lifts minAge", &[("R/minAge", "'72h'"), ("/policies/+", EMERGENCY)], "Eligible"),
    Row(
        "rule 6: an emergency lifts minAge, without a record",
        &[("R/minAge", "'72h'"), ("/policies/+", EMERGENCY), ("/release", "null"), ("/intent", "'X'")],
        "Eligible",
    ),
    Row("rule 6: an emergency lifts waves", &[("S/rollout/over", "'720h'"), ("/policies/+", EMERGENCY)], "Eligible"),
    Row(
        "rule 6: an emergency lifts waves that wait for evidence",
        &[("S/rollout", EVIDENCE), ("/policies/+", EMERGENCY)],
        "Eligible",
    ),
    Row("rule 6: an emergency lifts windows", &[("S/windows", SATURDAY), ("/policies/+", EMERGENCY)], "Eligible"),
    Row(
        "rule 6: an emergency lifts Manual",
        &[("S/defaults/updates", "'Manual'"), ("/policies/+", EMERGENCY)],
        "Eligible",
    ),
    Row(
        "rule 6: an emergency lifts Manual by default",
        &[("S/defaults", "{}"), ("/policies/+", EMERGENCY)],
        "Eligible",
    ),
    Row(
        "rule 6: an emergency of d8",
        &[("/component", "'d8'"), ("S/defaults/updates", "'Manual'"), ("/policies/+", EMERGENCY)],
        "Eligible",
    ),
    Row(
        "rule 6: an emergency for another version",
        &[("/version", "'v1.3.4'"), ("S/defaults/updates", "'Manual'"), ("/policies/+", EMERGENCY)],
        "Held Manual",
    ),
    Row(
        "rule 6: the end of an emergency",
        &[
            ("S/defaults/updates", "'Manual'"),
            ("/policies/+", EMERGENCY),
            ("/now", "'2026-11-23T00:00:00Z'"),
            ("/confirmed", "'2026-11-23T00:00:00Z'"),
        ],
        "Held Manual",
    ),
    Row(
        "rule 6: the last second of an emergency",
        &[
            ("S/defaults/updates", "'Manual'"),
            ("/policies/+", EMERGENCY),
            ("/now", "'2026-11-22T23:59:59Z'"),
            ("/confirmed", "'2026-11-22T23:59:59Z'"),
        ],
        "Eligible",
    ),
    Row(
        "rule 6: an emergency lifts no blackout",
        &[("S/blackouts", TODAY), ("S/windows", SATURDAY), ("/policies/+", EMERGENCY)],
        "Held Blackout 2026-11-23T00:00:00Z",
    ),
    Row("rule 6: an emergency and paused", &[("S/paused", "true"), ("/policies/+", EMERGENCY)], "Held Paused"),
    Row("rule 6: an emergency and Frozen", &[("R/updates", "'Frozen'"), ("/policies/+", EMERGENCY)], "Held Frozen"),
    Row(
        "rule 6: an emergency and Deny",
        &[("S/rules", "[{'plugins':['stronghold'],'access':'Deny'}]"), ("/policies/+", EMERGENCY)],
        "Forbidden Denied !run",
    ),
    Row("rule 6: an emergency and block", &[("R/block", "['1.3.3']"), ("/policies/+", EMERGENCY)], "Forbidden Blocked"),
    Row(
        "rule 6: an emergency and versions",
        &[("R/versions", "'<1.3.3'"), ("/policies/+", EMERGENCY)],
        "Forbidden VersionNotPermitted",
    ),
    Row(
        "rule 6: an emergency and pins",
        &[("R/pins", "[{'version':'v1.3.3','digest':'#'}]"), ("/policies/+", EMERGENCY)],
        "Forbidden NotPinned",
    ),
    Row(
        "rule 6: an emergency and rule 8",
        &[("S/rollout/over", "'720h'"), ("/policies/0/metadata/generation", "2"), ("/policies/+", EMERGENCY)],
        "Held PolicyNotObserved",
    ),
    Row("rule 6: an emergency and a halt", &[(WAVES, HALTED), ("/policies/+", EMERGENCY)], "Held WaveHalted"),
    Row(
        "rule 6: an emergency and majorUpdates",
        &[("/active", "'v0.9.0'"), ("/policies/+", EMERGENCY)],
        "Held MajorStays",
    ),
    Row(
        "rule 6: an emergency and a moved tag",
        &[
            ("R/minAge", "'72h'"),
            ("S/integrity/movedTags", "'Soak'"),
            ("/release/status/versions/0/moved", "{'from':'x','at':'2026-11-21T09:00:00Z'}"),
            ("/policies/+", EMERGENCY),
        ],
        "Held Soaking 2026-11-24T09:00:00Z",
    ),
    Row("rule 6: an emergency alone, A", &[("/policies", "[]"), ("/policies/+", EMERGENCY)], "Held NotGoverned"),
    Row(
        "rule 6: an emergency alone, U",
        &[("/policies", "[]"), ("/policies/+", EMERGENCY), ("/intent", "'U'"), ("/version", "'v2.0.0'")],
        "Eligible",
    ),
    Row(
        "rule 6: the first rule of an emergency answers alone",
        &[
            ("S/defaults/updates", "'Manual'"),
            (
                "/policies/+",
                "{'metadata':{'name':'e'},'spec':{'hostSelector':{},'emergency':{'until':'2026-11-23T00:00:00Z'},'rules':[{'plugins':['str*']},{'plugins':['*'],'expedite':['v1.3.3']}]}}",
            ),
        ],
        "Held Manual",
    ),
    Row(
        "rule 6: an emergency that says more is invalid",
        &[("S/emergency", "{'until':'2026-11-23T00:00:00Z'}"), ("/intent", "'U'")],
        "Held InvalidPolicy",
    ),
];
