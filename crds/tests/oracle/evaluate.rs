//! The evaluation of a case, gate by gate in the order of the table in `docs/policies.md`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::{
    facts::Facts,
    forbid::{access, blocks, forbidding, is_prerelease},
};
use crate::{
    clock::{self, SECOND},
    read::Defect,
};

mod facts;
mod forbid;
mod time;

/// Every reason that applies, by class.
#[derive(Default)]
pub(crate) struct Verdict {
    forbidden: BTreeSet<&'static str>,
    unfit: BTreeSet<&'static str>,
    held: BTreeSet<&'static str>,
    /// The end of each hold. `None`: a hold without a known end.
    ends: Vec<Option<i128>>,
}

impl Verdict {
    fn hold(&mut self, reason: &'static str, end: Option<i128>) {
        self.held.insert(reason);
        self.ends.push(end);
    }

    fn name(&self) -> &'static str {
        if !self.forbidden.is_empty() {
            "Forbidden"
        } else if !self.unfit.is_empty() {
            "Unfit"
        } else if !self.held.is_empty() {
            "Held"
        } else {
            "Eligible"
        }
    }

    /// The ends of the holds, if nothing but time holds the version: none of an eligible one.
    pub(crate) fn ends(&self) -> Option<Vec<i128>> {
        let only_held = self.forbidden.is_empty() && self.unfit.is_empty();
        if only_held { self.ends.iter().copied().collect() } else { None }
    }
}

/// Evaluates a case. Input and output have the form of the `verdicts` example.
pub(crate) fn evaluate(case: &Value) -> Result<Value, String> {
    let facts = Facts::read(case)?;
    Ok(show(&verdict(&facts), &facts))
}

/// The verdict on a case.
pub(crate) fn verdict_of(case: &Value) -> Result<Verdict, String> {
    Ok(verdict(&Facts::read(case)?))
}

fn verdict(facts: &Facts<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let settings = facts.settings();
    let (a, u, x, r) = (facts.a, facts.u, facts.x, facts.r);

    // ---- Gates that forbid. Deny and block bind R, the others do not.
    for reason in forbidding(&settings, &facts.component, &facts.version, facts.entry.as_ref(), facts.case) {
        if !r || reason == "Denied" || reason == "Blocked" {
            verdict.forbidden.insert(reason);
        }
    }

    // ---- Requirements count as met if the record says Fits, and without a record.
    if !r
        && let Some(entry) = &facts.entry
        && entry.fit != "Fits"
    {
        // Rule 15: missing information is a hold.
        if entry.fit == "Unknown" {
            verdict.hold("RequirementsUnknown", None);
        } else {
            verdict.unfit.insert("Unfit");
        }
    }

    // ---- Rule 13: without a policy, the agent changes nothing.
    let governed = facts.policies.iter().any(|policy| policy.governs);
    if !governed && a {
        verdict.hold("NotGoverned", None);
    }
    // Policies that were confirmed more than 10 minutes ago.
    if a && facts.now - facts.confirmed > 600 * SECOND {
        verdict.hold("PolicyStale", None);
    }

    // ---- A pre-release, and no policy sets a channel. Rule 13: this gate applies without a policy too.
    let channel_is_set = settings.iter().any(|settings| settings.channel.is_some());
    if (a || u) && !channel_is_set && is_prerelease(&facts.component, &facts.version) {
        verdict.hold("PreRelease", None);
    }

    let leaves = leaves(facts);
    paused(facts, (u || x) && leaves.blocked, &mut verdict);

    // Rule 13: without a policy, only requirements and the pre-release gate bind. Rule 15: a plugin without a
    // record name is bound by access, versions, block and channel. No other gate is left for both.
    if !governed || !facts.is_label {
        return verdict;
    }

    let needs_digests = moved_tags(facts, &mut verdict);
    updates(facts, &leaves, &mut verdict);
    major_updates(facts, &leaves, &mut verdict);
    let needs_times = time::ages_and_waves(facts, &mut verdict);
    time::records(facts, needs_times, needs_digests, &mut verdict);
    // Rule 2: not away from a blocked version.
    if !leaves.blocked {
        time::windows(facts, &mut verdict);
    }
    verdict
}

/// Whether the case is a change away from a forbidden version, and from a blocked one (rule 2).
struct Leaves {
    forbidden: bool,
    blocked: bool,
}

fn leaves(facts: &Facts<'_>) -> Leaves {
    let against = match &facts.active {
        Some(active) if !facts.is_active() => {
            forbidding(&facts.settings(), &facts.component, active, facts.active_entry.as_ref(), facts.case)
        }
        _ => BTreeSet::new(),
    };
    Leaves { forbidden: !against.is_empty(), blocked: against.contains("Blocked") }
}

/// Holds by policies that cannot be used, and by paused ones. They bind plugins without a record name too.
fn paused(facts: &Facts<'_>, person_leaves_blocked: bool, verdict: &mut Verdict) {
    let is_d8_by_person = facts.component == "d8" && (facts.u || facts.x);
    for policy in &facts.policies {
        match &policy.settings {
            // Rule 14: an undecodable policy holds every intent, except U and X of d8.
            Err(Defect::Undecodable) if !is_d8_by_person => verdict.hold("InvalidPolicy", None),
            // Rules 2 and 3: paused does not hold a person who leaves a blocked version, and neither does an invalid
            // policy, which acts as paused.
            Err(Defect::Invalid) if !facts.r && !person_leaves_blocked => verdict.hold("InvalidPolicy", None),
            Ok(settings) if settings.paused && !facts.r && !person_leaves_blocked => verdict.hold("Paused", None),
            _ => {}
        }
    }
}

/// movedTags. Refuse is the default. Returns whether an integrity gate needs a record.
fn moved_tags(facts: &Facts<'_>, verdict: &mut Verdict) -> bool {
    let settings = facts.settings();
    let has = |value: &str| settings.iter().any(|settings| settings.moved_tags.as_deref() == Some(value));
    let refuses = has("Refuse") || !has("Soak");
    let is_moved = facts.entry.as_ref().is_some_and(|entry| entry.moved);
    // Rule 6: a pin to the published digest accepts a moved tag.
    if !facts.r && refuses && is_moved && !facts.is_acknowledged() {
        verdict.hold("TagMoved", None);
    }
    let pinned = settings.iter().flat_map(|settings| &settings.pins).any(|(of, _)| *of == facts.version);
    !facts.r && (pinned || has("Refuse"))
}

/// updates: Frozen over Manual over Auto. Manual is the default.
fn updates(facts: &Facts<'_>, leaves: &Leaves, verdict: &mut Verdict) {
    let settings = facts.settings();
    let has = |value: &str| settings.iter().any(|settings| settings.updates.as_deref() == Some(value));
    let frozen = has("Frozen");
    let manual = !frozen && (has("Manual") || !has("Auto"));
    // Rule 4: not for a first install or the active version itself. Rule 2: not away from a blocked version.
    if frozen && !facts.r && facts.active.is_some() && !facts.is_active() && !leaves.blocked {
        verdict.hold("Frozen", None);
    }
    // Rule 1: not for the first install of a required plugin. Rule 6: not in an emergency.
    let first_of_required = facts.active.is_none() && access(&settings) == "Require";
    if manual && facts.a && !first_of_required && !leaves.blocked && !facts.is_emergency() {
        verdict.hold("Manual", None);
    }
}

/// majorUpdates: Stay over Cross. Stay is the default.
fn major_updates(facts: &Facts<'_>, leaves: &Leaves, verdict: &mut Verdict) {
    let settings = facts.settings();
    let has = |value: &str| settings.iter().any(|settings| settings.major_updates.as_deref() == Some(value));
    let stay = has("Stay") || !has("Cross");
    // Rule 2: not away from a forbidden version. Rule 11: the major version is the first number.
    let other_major = facts.active.as_ref().is_some_and(|active| active.major() != facts.version.major());
    if stay && (facts.a || facts.u) && other_major && !leaves.forbidden {
        verdict.hold("MajorStays", None);
    }
}

/// Writes the answer as JSON.
fn show(verdict: &Verdict, facts: &Facts<'_>) -> Value {
    let mut reasons: BTreeSet<&str> = BTreeSet::new();
    reasons.extend(&verdict.forbidden);
    reasons.extend(&verdict.unfit);
    reasons.extend(&verdict.held);
    // Only a hold has an end: the latest end of all holds, if each has one.
    let until = verdict.ends().and_then(|ends| ends.into_iter().max());
    // Only Deny and block refuse a run. Rule 16: never a run of d8.
    let settings = facts.settings();
    let denied = access(&settings) == "Deny";
    let blocked = facts
        .active
        .as_ref()
        .is_some_and(|active| settings.iter().any(|settings| blocks(settings, &facts.component, active, facts.case)));
    json!({
        "verdict": verdict.name(),
        "reasons": reasons,
        "until": until.map(clock::show),
        "runAllowed": facts.component == "d8" || !(denied || blocked),
    })
}
