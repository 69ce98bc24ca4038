//! Cases for canaries, and for waves that halt or wait for evidence.

use super::Row;

const HALTED: &str = "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-20T09:00:00Z',\
                      'state':'Halted','haltedAt':'2026-11-21T09:00:00Z'}]}]";
const HALTED_WITHOUT_SINCE: &str = "[{'name':'stronghold','waves':[{'version':'v1.3.3','state':'Halted',\
                                    'haltedAt':'2026-11-21T09:00:00Z'}]}]";
const AWAITING: &str =
    "[{'name':'stronghold','waves':[{'version':'v1.3.3','state':'AwaitingEvidence','succeeded':1}]}]";
const WAVES: &str = "/policies/0/status/components";
const RESUME: &str = "/policies/0/metadata/annotations";
/// The only canaries are other hosts.
const EVIDENCE: &str =
    "{'over':'1m','canarySelector':{'matchLabels':{'role':'ci'}},'requireSucceeded':{'hosts':3,'for':'1h'}}";

/// Rows as in `ROWS`.
pub(super) const ROWS: &[Row] = &[
    Row("rule 7: canaryPercent above the bucket", &[("S/rollout", "{'over':'720h','canaryPercent':29}")], "Eligible"),
    Row(
        "rule 7: canaryPercent below the bucket",
        &[("S/rollout", "{'over':'720h','canaryPercent':28}")],
        "Held NotInWave 2026-11-29T19:07:40Z",
    ),
    Row(
        "rule 7: canaryPercent does not skip minAge",
        &[("S/rollout", "{'over':'720h','canaryPercent':29}"), ("R/minAge", "'72h'")],
        "Held Soaking 2026-11-24T09:00:00Z",
    ),
    Row(
        "rule 7: canaryPercent does not skip a halt",
        &[("S/rollout", "{'over':'720h','canaryPercent':29}"), (WAVES, HALTED)],
        "Held WaveHalted",
    ),
    Row(
        "rule 7: a new root is no canary",
        &[("S/rollout", "{'over':'720h','canaryPercent':50}"), ("/host/newRoot", "true")],
        "Held NotInWave 2026-12-21T09:00:00Z",
    ),
    Row(
        "rule 7: canaryPercent, 0",
        &[("S/rollout", "{'over':'720h','canaryPercent':0}"), ("/intent", "'X'")],
        "Held InvalidPolicy",
    ),
    Row(
        "rule 7: canaryPercent, 51",
        &[("S/rollout", "{'over':'720h','canaryPercent':51}"), ("/intent", "'X'")],
        "Held InvalidPolicy",
    ),
    Row("rule 7: a wave without evidence", &[("S/rollout", EVIDENCE)], "Held AwaitingEvidence"),
    Row("rule 7: a wave without evidence, U", &[("S/rollout", EVIDENCE), ("/intent", "'U'")], "Held AwaitingEvidence"),
    Row("rule 7: a wave without evidence, X", &[("S/rollout", EVIDENCE), ("/intent", "'X'")], "Eligible"),
    Row(
        "rule 7: a wave without evidence, in status",
        &[("S/rollout", EVIDENCE), (WAVES, AWAITING)],
        "Held AwaitingEvidence",
    ),
    Row(
        "rule 7: a missing since decides, not state",
        &[("S/rollout", EVIDENCE), (WAVES, "[{'name':'stronghold','waves':[{'version':'v1.3.3','state':'Running'}]}]")],
        "Held AwaitingEvidence",
    ),
    Row(
        "rule 7: a wave with evidence",
        &[
            ("S/rollout", EVIDENCE),
            ("/host/newRoot", "true"),
            (
                WAVES,
                "[{'name':'stronghold','waves':[{'version':'v1.3.3','since':'2026-11-22T08:59:30Z','state':'Running'}]}]",
            ),
        ],
        "Held NotInWave 2026-11-22T09:00:30Z",
    ),
    Row("rule 7: no requireSucceeded, no since", &[("S/rollout/over", "'1m'"), (WAVES, AWAITING)], "Eligible"),
    Row(
        "rule 7: a wave without evidence, and no end of the hold",
        &[("S/rollout", EVIDENCE), ("R/minAge", "'72h'")],
        "Held AwaitingEvidence Soaking",
    ),
    Row("rule 7: canaries wait for no evidence", &[("S/rollout", EVIDENCE), ("/host/labels/role", "'ci'")], "Eligible"),
    Row(
        "rule 7: canaries by percentage wait for no evidence",
        &[("S/rollout", "{'over':'1m','canaryPercent':29,'requireSucceeded':{'hosts':3,'for':'1h'}}")],
        "Eligible",
    ),
    Row("rule 7: expedite waits for no evidence", &[("S/rollout", EVIDENCE), ("R/expedite", "['1.3.3']")], "Eligible"),
    Row(
        "rule 7: a change to an older version waits for no evidence",
        &[("S/rollout", EVIDENCE), ("/active", "'v1.4.0'")],
        "Eligible",
    ),
    Row(
        "rule 7: a wave without evidence needs a record",
        &[("S/rollout", EVIDENCE), ("/release", "null")],
        "Held AwaitingEvidence NoRecord",
    ),
    Row(
        "rule 7: a wave without evidence needs a record that is not stale",
        &[("S/rollout", EVIDENCE), ("/release/status/lastSyncTime", "'2026-11-21T08:59:59Z'")],
        "Held AwaitingEvidence RecordStale",
    ),
    Row(
        "rule 7: a halted wave without since",
        &[("S/rollout", EVIDENCE), (WAVES, HALTED_WITHOUT_SINCE)],
        "Held AwaitingEvidence WaveHalted",
    ),
    Row(
        "rule 7: a resumed wave without since",
        &[
            ("S/rollout", EVIDENCE),
            (WAVES, HALTED_WITHOUT_SINCE),
            (RESUME, "{'cli.deckhouse.io/resume':'stronghold/v1.3.3@2026-11-21T09:00:00Z'}"),
        ],
        "Held AwaitingEvidence",
    ),
    Row(
        "rule 7: requireSucceeded without canaries",
        &[("S/rollout", "{'over':'1m','requireSucceeded':{'hosts':3,'for':'1h'}}"), ("/intent", "'X'")],
        "Held InvalidPolicy",
    ),
    Row("rule 9: a halt without a rollout, A", &[(WAVES, HALTED)], "Held WaveHalted"),
    Row("rule 9: a halt without a rollout, U", &[(WAVES, HALTED), ("/intent", "'U'")], "Held WaveHalted"),
    Row("rule 9: a halt without a rollout, X", &[(WAVES, HALTED), ("/intent", "'X'")], "Eligible"),
    Row("rule 9: a halt, expedited", &[(WAVES, HALTED), ("R/expedite", "['1.3.3']")], "Held WaveHalted"),
    Row(
        "rule 9: a halt binds a change to an older version",
        &[(WAVES, HALTED), ("/active", "'v1.4.0'")],
        "Held WaveHalted",
    ),
    Row(
        "rule 9: one of several in the annotation, by value",
        &[
            (WAVES, HALTED),
            (
                RESUME,
                "{'cli.deckhouse.io/resume':'d8/v1.0.0@2026-11-21T09:00:00Z,stronghold/1.3.3@2026-11-21T09:00:00Z'}",
            ),
        ],
        "Eligible",
    ),
    Row(
        "rule 9: the annotation names another component",
        &[(WAVES, HALTED), (RESUME, "{'cli.deckhouse.io/resume':'d8/v1.3.3@2026-11-21T09:00:00Z'}")],
        "Held WaveHalted",
    ),
    Row(
        "rule 9: the annotation names no component",
        &[(WAVES, HALTED), (RESUME, "{'cli.deckhouse.io/resume':'v1.3.3@2026-11-21T09:00:00Z'}")],
        "Held WaveHalted",
    ),
    Row(
        "rule 9: the annotation names another version",
        &[(WAVES, HALTED), (RESUME, "{'cli.deckhouse.io/resume':'stronghold/v1.3.2@2026-11-21T09:00:00Z'}")],
        "Held WaveHalted",
    ),
    Row(
        "rule 9: the annotation names an earlier halt",
        &[(WAVES, HALTED), (RESUME, "{'cli.deckhouse.io/resume':'stronghold/v1.3.3@2026-11-21T08:59:59Z'}")],
        "Held WaveHalted",
    ),
    Row(
        "rule 9: since of a resumed wave counts as written",
        &[
            ("S/rollout/over", "'48h'"),
            ("/host/newRoot", "true"),
            (WAVES, HALTED),
            (RESUME, "{'cli.deckhouse.io/resume':'stronghold/v1.3.3@2026-11-21T09:00:00Z'}"),
        ],
        "Held NotInWave 2026-11-23T09:00:00Z",
    ),
];
