//! The judgement, gate by gate in the order of the page's table.

use std::collections::BTreeSet;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    clock::{self, HOUR, SECOND},
    read::{self, Bad, Entry, Says},
    windows::{self, Merged},
};

/// Everything that applies.
#[derive(Default)]
struct Verdict {
    forbidden: BTreeSet<&'static str>,
    unfit: BTreeSet<&'static str>,
    held: BTreeSet<&'static str>,
    /// The holds' ends; none: no end is known.
    ends: Vec<Option<i128>>,
}

impl Verdict {
    fn hold(&mut self, reason: &'static str, end: Option<i128>) {
        self.held.insert(reason);
        self.ends.push(end);
    }
}

/// Answers a case in the form of the `verdicts` example.
#[allow(clippy::too_many_lines, reason = "one step after another, as the page has them")]
pub(crate) fn answer(case: &Value) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("not a text: {value}"));
    let version_of = |value: &Value| Version::parse(&text(value)?).map_err(|e| e.to_string());
    let instant_of = |value: &Value| clock::instant(&text(value)?).ok_or_else(|| format!("not an instant: {value}"));
    let component = text(&case["component"])?;
    let version = version_of(&case["version"])?;
    let active = if case["active"].is_null() { None } else { Some(version_of(&case["active"])?) };
    let intent = text(&case["intent"])?;
    let now = instant_of(&case["now"])?;
    let confirmed = instant_of(&case["confirmed"])?;
    let host_id = text(&case["host"]["id"])?;
    let new_root = case["host"]["newRoot"].as_bool().unwrap_or(false);

    // The table's columns.
    let (a, u, x, r) = (intent == "A", intent == "U", intent == "X", intent == "R");
    if !(a || u || x || r) {
        return Err(format!("not an intent: {intent}"));
    }
    let is_d8 = component == "d8";
    let is_active = active.as_ref() == Some(&version);
    let down = active.as_ref().is_some_and(|active| version < *active);

    let matching = read::policies(case, &component, &version);
    let mut says: Vec<&Says> = Vec::new();
    for policy in &matching {
        if let Ok(said) = &policy.says {
            says.push(said);
        }
    }

    // Rule 15: "A name that is no DNS label (`my_plugin`) can't have a record".
    let is_label = is_dns_label(&component);
    let release = &case["release"];
    let entry = if is_label { read::entry(release, &version) } else { None };
    let active_entry = match &active {
        Some(active) if is_label => read::entry(release, active),
        _ => None,
    };

    let mut verdict = Verdict::default();

    // ---- The gates that forbid: access, versions, block, pins, a set channel.
    for reason in forbidding(&says, &component, &version, entry.as_ref()) {
        // "Deny, block | x | x | x | x", "versions, pins, signature, a *set* channel | x | x | x | -"
        if !r || reason == "Denied" || reason == "Blocked" {
            verdict.forbidden.insert(reason);
        }
    }

    // Rule 2: is this a way off a version that is forbidden, or even blocked?
    let mut leaves_forbidden = false;
    let mut leaves_blocked = false;
    if let Some(active) = &active
        && !is_active
    {
        let against = forbidding(&says, &component, active, active_entry.as_ref());
        leaves_forbidden = !against.is_empty();
        leaves_blocked = against.contains("Blocked");
    }

    // ---- Requirements: "x | x | x | -"; taken as met where the record says Fits, and where there is no
    // record to say otherwise.
    if !r
        && let Some(entry) = &entry
        && entry.fit != "Fits"
    {
        // Rule 15: "`fit: Unknown` is `Held{RequirementsUnknown}`".
        if entry.fit == "Unknown" {
            verdict.hold("RequirementsUnknown", None);
        } else {
            verdict.unfit.insert("Unfit");
        }
    }

    // ---- What holds because the policies themselves are not known.
    // Rule 13: "No matching policy: the agent changes nothing (`NotGoverned`)".
    let governed = !matching.is_empty();
    if !governed && a {
        verdict.hold("NotGoverned", None);
    }
    for policy in &matching {
        match policy.says {
            // Rule 14: "acts as paused", which binds A, U and X.
            Err(Bad::Invalid) if !r => verdict.hold("InvalidPolicy", None),
            // Rule 14: "holds everything there but `d8 cli update`".
            Err(Bad::Undecodable) if !(is_d8 && (u || x)) => verdict.hold("InvalidPolicy", None),
            _ => {}
        }
    }
    // "view of the policies older than 10 min | x | - | - | -"
    if a && now - confirmed > 600 * SECOND {
        verdict.hold("PolicyStale", None);
    }

    // ---- A pre-release where nobody set a channel: "A and U: a pre-release is `Held{PreRelease}`; X may
    // name one". Rule 13: it holds where no policy matches, too.
    let channel_is_set = says.iter().any(|said| said.channel.is_some());
    if (a || u) && !channel_is_set && is_prerelease(&component, &version) {
        verdict.hold("PreRelease", None);
    }

    // ---- "paused | x | x | x | -". Said of the host, whatever its plugins are called; rule 14's
    // invalid policy acts as that.
    if !r && says.iter().any(|said| said.paused) {
        verdict.hold("Paused", None);
    }

    // Rule 13: "the CLI is free but for requirements and pre-releases". Rule 15: "only access, versions,
    // block and channel bind it". For both, no other gate is left.
    if !governed || !is_label {
        return Ok(show(&verdict, &says, &component, active.as_ref()));
    }

    // ---- "movedTags: Refuse (a hold …) | x | x | x | -"; stricter; nobody speaks: Refuse.
    let mut moved_tags_refuse = false;
    let mut moved_tags_soak = false;
    for said in &says {
        moved_tags_refuse |= said.moved_tags.as_deref() == Some("Refuse");
        moved_tags_soak |= said.moved_tags.as_deref() == Some("Soak");
    }
    // Rule 6: "A pin binds a version to a digest and acknowledges a moved tag".
    let mut pinned = false;
    let mut acknowledged = false;
    for said in &says {
        for (of, digest) in &said.pins {
            if *of == version {
                pinned = true;
                acknowledged |= entry.as_ref().is_some_and(|entry| entry.digests.contains(digest));
            }
        }
    }
    let refuses_moved = moved_tags_refuse || !moved_tags_soak;
    if !r && refuses_moved && !acknowledged && entry.as_ref().is_some_and(|entry| entry.moved) {
        verdict.hold("TagMoved", None);
    }

    // ---- updates: Frozen > Manual > Auto, nobody speaks: Manual.
    let mut updates = "";
    for said in &says {
        match said.updates.as_deref() {
            Some("Frozen") => updates = "Frozen",
            Some("Manual") if updates != "Frozen" => updates = "Manual",
            Some("Auto") if updates.is_empty() => updates = "Auto",
            _ => {}
        }
    }
    if updates.is_empty() {
        updates = "Manual";
    }
    // "Frozen (not a first install, not the active version itself) | x | x | x | -"; rule 2: leaving a
    // blocked one ignores it.
    if !r && updates == "Frozen" && active.is_some() && !is_active && !leaves_blocked {
        verdict.hold("Frozen", None);
    }
    // "Manual (not the first install of what is required) | x | - | - | -"; rule 2 again.
    let required = access(&says) == "Require";
    if a && updates == "Manual" && !(active.is_none() && required) && !leaves_blocked {
        verdict.hold("Manual", None);
    }

    // ---- "majorUpdates: Stay | x | x | - | -"; Stay > Cross, nobody speaks: Stay.
    let mut stay = false;
    let mut cross = false;
    for said in &says {
        stay |= said.major_updates.as_deref() == Some("Stay");
        cross |= said.major_updates.as_deref() == Some("Cross");
    }
    // Rule 2: leaving a forbidden version, "every gate but `majorUpdates`".
    // Rule 11: "Major = the first number, 0 included".
    let other_major = active.as_ref().is_some_and(|active| active.major() != version.major());
    if (a || u) && (stay || !cross) && other_major && !leaves_forbidden {
        verdict.hold("MajorStays", None);
    }

    // ---- minAge, record, wave. Rule 19: "A version once active here … needs no record: minAge, record age
    // and wave don't bind X."
    let once_active = x && is_active;
    let mut needs_times = false;
    for said in &says {
        // Rule 6: "`expedite: [v]` lifts minAge, wave and window of its own policy for v, not a halted wave".
        let expedited = said.expedite.contains(&version);
        // Rule 7: "Canaries skip their policy's minAge and wave, not windows and not a halt."
        let canary = said.rollout.as_ref().is_some_and(|rollout| rollout.canary);
        let min_age = said.min_age.unwrap_or(0);

        // "minAge … | x | x | x | -"
        if !r && !once_active && !expedited && !canary && min_age > 0 {
            needs_times = true;
            if let Some(first_seen) = entry.as_ref().and_then(|entry| entry.first_seen)
                && now < first_seen + min_age
            {
                verdict.hold("Soaking", Some(first_seen + min_age));
            }
        }

        // "wave, halted wave | x | x | note | -"
        let Some(rollout) = &said.rollout else { continue };
        if !(a || u) {
            continue;
        }
        // Rule 8: "`PolicyNotObserved` for A and U".
        if rollout.unobserved {
            verdict.hold("PolicyNotObserved", None);
        }
        if rollout.halted {
            verdict.hold("WaveHalted", None);
        }
        // Rule 7: "A move down takes no wave."
        if expedited || canary || down {
            continue;
        }
        needs_times = true;
        let Some(first_seen) = entry.as_ref().and_then(|entry| entry.first_seen) else { continue };
        // "t0 = max(firstSeen + minAge, waves[v].since) … (missing: firstSeen + minAge alone), minAge being
        // this policy's own"
        let mut t0 = first_seen + min_age;
        if let Some(since) = rollout.since {
            t0 = t0.max(since);
        }
        // bucket = share / 2^53
        let share = if new_root { 1 << 53 } else { first_53_bits(&host_id, &component, &version) };
        // "permitted iff canary, f >= 1, or bucket < f": f = (now - t0) / over, without dividing.
        let passed = now - t0;
        let whole = 1_i128 << 53;
        let permitted = passed >= rollout.over || share * rollout.over < passed * whole;
        if !permitted {
            // The first nanosecond at which it is.
            let opens = if share == whole { rollout.over } else { share * rollout.over / whole + 1 };
            verdict.hold("NotInWave", Some(t0 + opens));
        }
    }

    // ---- "no or stale record while a time gate needs one | x | x | x | -"; rule 15: "`NoRecord` for A, U, X
    // if a time or integrity gate needs one".
    let needs_digests = !r && (pinned || moved_tags_refuse);
    let has_times = entry.as_ref().is_some_and(|entry| entry.first_seen.is_some());
    if !once_active && ((needs_times && !has_times) || (needs_digests && entry.is_none())) {
        verdict.hold("NoRecord", None);
    }
    // Older than 24 h: the age at which the record's own Ready turns False.
    let synced = release["status"]["lastSyncTime"].as_str().and_then(clock::instant);
    if needs_times && has_times && synced.is_none_or(|synced| now - synced > 24 * HOUR) {
        verdict.hold("RecordStale", None);
    }

    // ---- "window | x | - | - | -"; rule 2: leaving a blocked one ignores it.
    if a && !leaves_blocked {
        let mut of_policies = Vec::new();
        for said in &says {
            if let Some(windows) = &said.windows
                && !said.expedite.contains(&version)
            {
                of_policies.push(windows.clone());
            }
        }
        match windows::merged(&of_policies, now) {
            Merged::Open => {}
            Merged::Opens(second) => verdict.hold("OutsideWindow", Some(i128::from(second) * SECOND)),
            Merged::Never => verdict.hold("WindowsNeverMeet", None),
        }
    }

    Ok(show(&verdict, &says, &component, active.as_ref()))
}

/// What forbids a version, whatever the intent.
fn forbidding(says: &[&Says], component: &str, version: &Version, entry: Option<&Entry>) -> BTreeSet<&'static str> {
    let mut out = BTreeSet::new();
    // "Deny in any matching policy wins"; d8 has no access gate, and nothing was read for it.
    if access(says) == "Deny" {
        out.insert("Denied");
    }
    let mut stable = false;
    for said in says {
        // "block | union"
        if said.block.contains(version) {
            out.insert("Blocked");
        }
        // "versions, pins | all must hold"
        if let Some(versions) = &said.versions
            && !permits(versions, said.channel.as_deref() == Some("Prerelease"), version)
        {
            out.insert("VersionNotPermitted");
        }
        for (of, digest) in &said.pins {
            // Without a record there is nothing to compare with: NoRecord says so.
            if of == version && entry.is_some_and(|entry| !entry.digests.contains(digest)) {
                out.insert("NotPinned");
            }
        }
        // "channel | Stable > Prerelease"
        stable |= said.channel.as_deref() == Some("Stable");
    }
    if stable && is_prerelease(component, version) {
        out.insert("ChannelNotPermitted");
    }
    out
}

/// "access | Deny > Require > Allow | Allow"
fn access(says: &[&Says]) -> &'static str {
    let mut out = "Allow";
    for said in says {
        match said.access.as_deref() {
            Some("Deny") => out = "Deny",
            Some("Require") if out != "Deny" => out = "Require",
            _ => {}
        }
    }
    out
}

/// What counts as a pre-release: for d8 every suffix, for a plugin those of `behaviour.md`.
fn is_prerelease(component: &str, version: &Version) -> bool {
    if component == "d8" {
        return !version.pre().is_empty();
    }
    let first = version.pre().split('.').next().unwrap_or_default().to_lowercase();
    ["alpha", "beta", "rc", "pre", "preview", "snapshot"].iter().any(|mark| first.starts_with(mark))
}

/// Whether a policy's constraint permits a version. Rule 11: "under channel Prerelease, ranges and ordering
/// see v without its pre-release suffix, exact comparators see it whole".
fn permits(constraint: &str, under_prerelease: bool, version: &Version) -> bool {
    let holds = |text: &str, version: &Version| Constraint::parse(text).is_ok_and(|c| c.matches(version));
    if !under_prerelease || constraint.is_empty() {
        return holds(constraint, version);
    }
    let bare = version.release();
    for alternative in constraint.split("||") {
        let mut all = true;
        if alternative.contains(" - ") {
            // A hyphen range is a range.
            all = holds(alternative.trim(), &bare);
        } else {
            for comparator in comparators(alternative) {
                let operand = comparator.trim_start_matches(['=', '!', '<', '>', '~', '^']);
                let operator = &comparator[..comparator.len() - operand.len()];
                // `=`, `!=` or none before a full version: exact. `=1.2` means 1.2.x, a range.
                let numbers = operand.split(['-', '+']).next().unwrap_or_default();
                let full = numbers.split('.').count() == 3 && !numbers.contains(['x', 'X', '*']);
                let exact = full && ["", "=", "!="].contains(&operator);
                all &= holds(&comparator, if exact { version } else { &bare });
            }
        }
        if all {
            return true;
        }
    }
    false
}

/// The comparators between commas and blanks, each with the operator that blanks parted from it.
fn comparators(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in text.split([',', ' ']).filter(|word| !word.is_empty()) {
        match out.last_mut() {
            Some(last) if last.chars().all(|c| "=!<>~^".contains(c)) => last.push_str(word),
            _ => out.push(word.to_owned()),
        }
    }
    out
}

/// "first 53 bits of SHA-256(host id NUL component NUL version)"
fn first_53_bits(host: &str, component: &str, version: &Version) -> i128 {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(host.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(component.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(version.to_string().as_bytes());
    let hash = Sha256::digest(&bytes);
    let mut bits = 0_i128;
    for bit in 0..53 {
        let byte = hash[bit / 8];
        bits = bits * 2 + i128::from((byte >> (7 - bit % 8)) & 1);
    }
    bits
}

/// Lower-case letters, digits and `-` between them, at most 63.
fn is_dns_label(name: &str) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    fits && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-')
}

/// The answer as JSON.
fn show(verdict: &Verdict, says: &[&Says], component: &str, active: Option<&Version>) -> Value {
    // "the verdict is the strongest of Forbidden > Unfit > Held"
    let name = if !verdict.forbidden.is_empty() {
        "Forbidden"
    } else if !verdict.unfit.is_empty() {
        "Unfit"
    } else if !verdict.held.is_empty() {
        "Held"
    } else {
        "Eligible"
    };
    let mut reasons: BTreeSet<&str> = BTreeSet::new();
    reasons.extend(&verdict.forbidden);
    reasons.extend(&verdict.unfit);
    reasons.extend(&verdict.held);
    // "`until` is the latest of the holds' ends, absent if one of them has none", of `Held{reason, until?}`.
    let mut until = None;
    if name == "Held" && verdict.ends.iter().all(Option::is_some) {
        until = verdict.ends.iter().flatten().max().copied();
    }
    // "Of a policy's gates only Deny and `block` refuse a run"; rule 16: "no policy refuses running" d8.
    let denied = access(says) == "Deny";
    let mut blocked = false;
    if let Some(active) = active {
        for said in says {
            blocked |= said.block.contains(active);
        }
    }
    let run_allowed = component == "d8" || !(denied || blocked);
    json!({
        "verdict": name,
        "reasons": reasons,
        "until": until.map(clock::show),
        "runAllowed": run_allowed,
    })
}
