//! The evaluation of a case, gate by gate in the order of the table in `docs/policies.md`.

use std::collections::BTreeSet;

use d8_crds::values::{constraint::Constraint, version::Version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    clock::{self, HOUR, SECOND},
    read::{self, Defect, Entry, Settings},
    windows::{self, Merged},
};

/// Every reason that applies, by class.
#[derive(Default)]
struct Verdict {
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
}

/// Evaluates a case. Input and output have the form of the `verdicts` example.
#[allow(clippy::too_many_lines, reason = "one step for each rule, in order")]
pub(crate) fn evaluate(case: &Value) -> Result<Value, String> {
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

    // The columns of the table.
    let (a, u, x, r) = (intent == "A", intent == "U", intent == "X", intent == "R");
    if !(a || u || x || r) {
        return Err(format!("not an intent: {intent}"));
    }
    let is_d8 = component == "d8";
    let is_active = active.as_ref() == Some(&version);
    let down = active.as_ref().is_some_and(|active| version < *active);

    let matching = read::policies(case, &component, &version);
    let mut policies: Vec<&Settings> = Vec::new();
    for policy in &matching {
        if let Ok(settings) = &policy.settings {
            policies.push(settings);
        }
    }

    // Rule 15: a plugin whose name is not a DNS label cannot have a record.
    let is_label = is_dns_label(&component);
    let release = &case["release"];
    let entry = if is_label { read::entry(release, &version) } else { None };
    let active_entry = match &active {
        Some(active) if is_label => read::entry(release, active),
        _ => None,
    };

    let mut verdict = Verdict::default();

    // ---- Gates that forbid: access, versions, block, pins, a set channel.
    for reason in forbidding(&policies, &component, &version, entry.as_ref(), case) {
        // Deny and block bind R, the others do not.
        if !r || reason == "Denied" || reason == "Blocked" {
            verdict.forbidden.insert(reason);
        }
    }

    // Rule 2: is this a change away from a forbidden or blocked version?
    let mut leaves_forbidden = false;
    let mut leaves_blocked = false;
    if let Some(active) = &active
        && !is_active
    {
        let against = forbidding(&policies, &component, active, active_entry.as_ref(), case);
        leaves_forbidden = !against.is_empty();
        leaves_blocked = against.contains("Blocked");
    }

    // ---- Requirements count as met if the record says Fits, and without a record.
    if !r
        && let Some(entry) = &entry
        && entry.fit != "Fits"
    {
        // Rule 15: missing information is a hold.
        if entry.fit == "Unknown" {
            verdict.hold("RequirementsUnknown", None);
        } else {
            verdict.unfit.insert("Unfit");
        }
    }

    // ---- Holds that come from missing or invalid policies.
    // Rule 13: without a policy, the agent changes nothing.
    let governed = !matching.is_empty();
    if !governed && a {
        verdict.hold("NotGoverned", None);
    }
    // Rules 2 and 3: paused does not hold a person who leaves a blocked version, and neither does an invalid policy.
    let person_leaves_blocked = (u || x) && leaves_blocked;
    for policy in &matching {
        match policy.settings {
            // Rule 14: an invalid policy acts as paused.
            Err(Defect::Invalid) if !r && !person_leaves_blocked => verdict.hold("InvalidPolicy", None),
            // Rule 14: an undecodable policy holds every intent, except U and X of d8.
            Err(Defect::Undecodable) if !(is_d8 && (u || x)) => verdict.hold("InvalidPolicy", None),
            _ => {}
        }
    }
    // Policies that were confirmed more than 10 minutes ago.
    if a && now - confirmed > 600 * SECOND {
        verdict.hold("PolicyStale", None);
    }

    // ---- A pre-release, and no policy sets a channel. Rule 13: this gate applies without a policy too.
    let channel_is_set = policies.iter().any(|settings| settings.channel.is_some());
    if (a || u) && !channel_is_set && is_prerelease(&component, &version) {
        verdict.hold("PreRelease", None);
    }

    // ---- paused is for the whole host, so it binds plugins without a record name too.
    if !r && !person_leaves_blocked && policies.iter().any(|settings| settings.paused) {
        verdict.hold("Paused", None);
    }

    // Rule 13: without a policy, only requirements and the pre-release gate bind. Rule 15: a plugin without a
    // record name is bound by access, versions, block and channel. No other gate is left for both.
    if !governed || !is_label {
        return Ok(show(&verdict, &policies, &component, active.as_ref(), case));
    }

    // ---- movedTags. Refuse is the default.
    let mut moved_tags_refuse = false;
    let mut moved_tags_soak = false;
    for settings in &policies {
        moved_tags_refuse |= settings.moved_tags.as_deref() == Some("Refuse");
        moved_tags_soak |= settings.moved_tags.as_deref() == Some("Soak");
    }
    // Rule 6: a pin to the published digest accepts a moved tag.
    let mut pinned = false;
    let mut acknowledged = false;
    for settings in &policies {
        for (of, digest) in &settings.pins {
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

    // ---- updates: Frozen over Manual over Auto. Manual is the default.
    let mut updates = "";
    for settings in &policies {
        match settings.updates.as_deref() {
            Some("Frozen") => updates = "Frozen",
            Some("Manual") if updates != "Frozen" => updates = "Manual",
            Some("Auto") if updates.is_empty() => updates = "Auto",
            _ => {}
        }
    }
    if updates.is_empty() {
        updates = "Manual";
    }
    // Rule 4: not for a first install or the active version itself. Rule 2: not away from a blocked version.
    if !r && updates == "Frozen" && active.is_some() && !is_active && !leaves_blocked {
        verdict.hold("Frozen", None);
    }
    // Rule 1: not for the first install of a required plugin. Rule 2: not away from a blocked version.
    let required = access(&policies) == "Require";
    if a && updates == "Manual" && !(active.is_none() && required) && !leaves_blocked {
        verdict.hold("Manual", None);
    }

    // ---- majorUpdates: Stay over Cross. Stay is the default.
    let mut stay = false;
    let mut cross = false;
    for settings in &policies {
        stay |= settings.major_updates.as_deref() == Some("Stay");
        cross |= settings.major_updates.as_deref() == Some("Cross");
    }
    // Rule 2: not away from a forbidden version. Rule 11: the major version is the first number.
    let other_major = active.as_ref().is_some_and(|active| active.major() != version.major());
    if (a || u) && (stay || !cross) && other_major && !leaves_forbidden {
        verdict.hold("MajorStays", None);
    }

    // ---- minAge, record, wave. Rule 19: they do not bind X for a version that was active before.
    let once_active = x && is_active;
    let mut needs_times = false;
    for settings in &policies {
        // Rule 6: expedite lifts minAge, wave and windows of its own policy, not a halt.
        let expedited = settings.expedite.contains(&version);
        // Rule 7: canaries skip minAge and wave of the policy, not windows or a halt.
        let canary = settings.rollout.as_ref().is_some_and(|rollout| rollout.canary);
        let min_age = settings.min_age.unwrap_or(0);

        if !r && !once_active && !expedited && !canary && min_age > 0 {
            needs_times = true;
            if let Some(first_seen) = entry.as_ref().and_then(|entry| entry.first_seen)
                && now < first_seen + min_age
            {
                verdict.hold("Soaking", Some(first_seen + min_age));
            }
        }

        // Waves and halts bind A and U.
        let Some(rollout) = &settings.rollout else { continue };
        if !(a || u) {
            continue;
        }
        // Rule 8.
        if rollout.unobserved {
            verdict.hold("PolicyNotObserved", None);
        }
        if rollout.halted {
            verdict.hold("WaveHalted", None);
        }
        // Rule 7: a change to an older version waits for no wave.
        if expedited || canary || down {
            continue;
        }
        needs_times = true;
        let Some(first_seen) = entry.as_ref().and_then(|entry| entry.first_seen) else { continue };
        // t0 = max(firstSeen + minAge, since), with this policy's own minAge.
        let mut t0 = first_seen + min_age;
        if let Some(since) = rollout.since {
            t0 = t0.max(since);
        }
        // bucket = share / 2^53
        let share = if new_root { 1 << 53 } else { first_53_bits(&host_id, &component, &version) };
        // Permitted if f >= 1 or bucket < f, where f = (now - t0) / over, without a division.
        let passed = now - t0;
        let whole = 1_i128 << 53;
        let permitted = passed >= rollout.over || share * rollout.over < passed * whole;
        if !permitted {
            // The first nanosecond at which it is permitted.
            let opens = if share == whole { rollout.over } else { share * rollout.over / whole + 1 };
            verdict.hold("NotInWave", Some(t0 + opens));
        }
    }

    // ---- Rule 15: a time or integrity gate needs a record.
    let needs_digests = !r && (pinned || moved_tags_refuse);
    let has_times = entry.as_ref().is_some_and(|entry| entry.first_seen.is_some());
    if !once_active && ((needs_times && !has_times) || (needs_digests && entry.is_none())) {
        verdict.hold("NoRecord", None);
    }
    // A time gate needs a record that is at most 24 h old.
    let synced = release["status"]["lastSyncTime"].as_str().and_then(clock::instant);
    if needs_times && has_times && synced.is_none_or(|synced| now - synced > 24 * HOUR) {
        verdict.hold("RecordStale", None);
    }

    // ---- Windows bind A. Rule 2: not away from a blocked version.
    if a && !leaves_blocked {
        let mut of_policies = Vec::new();
        for settings in &policies {
            if let Some(windows) = &settings.windows
                && !settings.expedite.contains(&version)
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

    Ok(show(&verdict, &policies, &component, active.as_ref(), case))
}

/// The reasons that forbid a version, for any intent.
fn forbidding(
    policies: &[&Settings],
    component: &str,
    version: &Version,
    entry: Option<&Entry>,
    case: &Value,
) -> BTreeSet<&'static str> {
    let mut out = BTreeSet::new();
    // Deny of one policy is enough. For d8 no access is read (rule 16).
    if access(policies) == "Deny" {
        out.insert("Denied");
    }
    let mut stable = false;
    for settings in policies {
        if blocks(settings, component, version, case) {
            out.insert("Blocked");
        }
        if let Some(versions) = &settings.versions
            && !permits(versions, settings.channel.as_deref() == Some("Prerelease"), version)
        {
            out.insert("VersionNotPermitted");
        }
        for (of, digest) in &settings.pins {
            // Without a record there is nothing to compare with: the reason is NoRecord.
            if of == version && entry.is_some_and(|entry| !entry.digests.contains(digest)) {
                out.insert("NotPinned");
            }
        }
        stable |= settings.channel.as_deref() == Some("Stable");
    }
    if stable && is_prerelease(component, version) {
        out.insert("ChannelNotPermitted");
    }
    out
}

/// Rule 6: `block` holds for the versions that its entries cover, and for every version with the same layer as a
/// recorded one of them on the host's platform.
fn blocks(settings: &Settings, component: &str, version: &Version, case: &Value) -> bool {
    let covered = |version: &Version| settings.block.iter().any(|entry| entry.covers(version));
    if covered(version) {
        return true;
    }
    let own = read::layers(case, component, version);
    read::recorded(case).iter().filter(|other| covered(other)).any(|blocked| {
        let layers = read::layers(case, component, blocked);
        !own.is_empty() && own.iter().all(|(platform, layer)| layers.get(platform) == Some(layer))
    })
}

/// The merged access: Deny over Require over Allow. Allow is the default.
fn access(policies: &[&Settings]) -> &'static str {
    let mut out = "Allow";
    for settings in policies {
        match settings.access.as_deref() {
            Some("Deny") => out = "Deny",
            Some("Require") if out != "Deny" => out = "Require",
            _ => {}
        }
    }
    out
}

/// Whether a version is a pre-release: for d8 with every suffix, for a plugin with some.
fn is_prerelease(component: &str, version: &Version) -> bool {
    if component == "d8" {
        return !version.pre().is_empty();
    }
    let first = version.pre().split('.').next().unwrap_or_default().to_lowercase();
    ["alpha", "beta", "rc", "pre", "preview", "snapshot"].iter().any(|mark| first.starts_with(mark))
}

/// Whether the constraint of a policy permits a version. Rule 11: under channel Prerelease, ranges compare a
/// pre-release as its release, and exact comparators compare the whole version.
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

/// The comparators between commas and blanks. A blank may separate an operator from its version.
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

/// Rule 7: the first 53 bits of SHA-256 over host ID, NUL, component, NUL, version.
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

/// Whether a name is a DNS label: at most 63 lower-case letters, digits and `-`, which is not first or last.
fn is_dns_label(name: &str) -> bool {
    let fits = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    fits && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-')
}

/// Writes the answer as JSON.
fn show(verdict: &Verdict, policies: &[&Settings], component: &str, active: Option<&Version>, case: &Value) -> Value {
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
    // Only a hold has an end: the latest end of all holds, if each has one.
    let mut until = None;
    if name == "Held" && verdict.ends.iter().all(Option::is_some) {
        until = verdict.ends.iter().flatten().max().copied();
    }
    // Only Deny and block refuse a run. Rule 16: never a run of d8.
    let denied = access(policies) == "Deny";
    let mut blocked = false;
    if let Some(active) = active {
        for settings in policies {
            blocked |= blocks(settings, component, active, case);
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
