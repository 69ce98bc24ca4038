//! Gates that rule a version out: access, block, versions, pins, a set channel, the host's minimum.

use std::cell::LazyCell;

use super::{
    View,
    record::{self, Pinned},
};
use crate::{
    decisions::verdict::reason::{Reason, ReasonCode},
    records::policy::Access,
    values::channel::Channel,
};

/// `access: Deny` in any matching policy.
pub(super) fn access(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let name = view.case.component;
    let what = LazyCell::new(|| {
        let step = if view.case.active.is_some() {
            format!("remove it with `d8 plugins remove {name}`, or ask for another rule")
        } else {
            "ask for another rule, or for a policy that leaves this host out".to_owned()
        };
        format!("{name} is denied on this host; {step}")
    });
    for speech in view.speeches {
        let Some(said) = speech.access().filter(|said| said.value == Access::Deny) else { continue };
        reasons.push(speech.reason(ReasonCode::Denied, said.origin, "access", &what));
    }
    if view.local_rules.is_some_and(|local_rules| local_rules.denies(name)) {
        let what = format!("{name} is refused; ask the owner of this host");
        reasons.push(View::local_reason(ReasonCode::Denied, "refuse", &what));
    }
}

/// `block`: the union of all.
pub(super) fn block(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let what = LazyCell::new(|| format!("{} is blocked; {}", view.subject(), other_version(view)));
    for speech in view.speeches {
        let Some((origin, rule)) = speech.rule() else { continue };
        if !rule.block.contains(view.case.version) {
            continue;
        }
        reasons.push(speech.reason(ReasonCode::Blocked, origin, "block", &what));
    }
    if view.local_rules.is_some_and(|local_rules| local_rules.blocks(view.case.component, view.case.version)) {
        let what = format!("{} is refused; {}", view.subject(), other_version(view));
        reasons.push(View::local_reason(ReasonCode::Blocked, "refuse", &what));
    }
}

/// How to come to another version than this one.
fn other_version(view: &View<'_>) -> String {
    if view.case.active == Some(view.case.version) {
        format!("leave it with `{}`", view.update())
    } else {
        format!("see `{}` for another version", view.why())
    }
}

/// `versions`: every policy's must hold, each read under its own channel, or one policy's channel would
/// widen the range of another.
pub(super) fn versions(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let names = LazyCell::new(|| (view.subject(), view.why()));
    for speech in view.speeches {
        let Some((origin, rule)) = speech.rule() else { continue };
        let Some(versions) = &rule.versions else { continue };
        let channel = speech.setting(|s| s.channel).map_or(Channel::Stable, |said| said.value);
        if versions.permits(view.case.version, channel) {
            continue;
        }
        let ((subject, why), versions) = (&*names, crate::values::text::printable(versions.as_str()));
        let what =
            format!("{subject} is outside `{versions}`; see `{why}` for the versions inside, or ask for a wider range");
        reasons.push(speech.reason(ReasonCode::VersionNotPermitted, origin, "versions", &what));
    }
}

/// The lowest version that the host's owner takes.
pub(super) fn minimum(view: &View<'_>, reasons: &mut Vec<Reason>) {
    let below = view.local_rules.and_then(|local_rules| local_rules.below(view.case.component, view.case.version));
    if let Some(minimum) = below {
        let what = format!("{} is below {minimum}; {}", view.subject(), other_version(view));
        reasons.push(View::local_reason(ReasonCode::VersionNotPermitted, "minimumVersions", &what));
    }
}

/// `pins` of this version; a pin says nothing of other versions.
pub(super) fn pins(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for (speech, origin, pin) in record::pins(view) {
        if record::pinned(view, pin) != Pinned::No {
            continue;
        }
        let what = format!(
            "{} is pinned to {} and is published with other bytes; check them with its publisher, then have an admin \
             pin the new digest, or see `{}` for another version",
            view.subject(),
            pin.digest.short(),
            view.why()
        );
        reasons.push(speech.reason(ReasonCode::NotPinned, origin, "pins", &what));
    }
}

/// A channel that policies set; Stable wins.
pub(super) fn channel(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.is_pre_release() {
        return;
    }
    let what = LazyCell::new(|| {
        let why = view.why();
        format!("{} is a pre-release and the channel is Stable; see `{why}` for a release", view.subject())
    });
    for speech in view.speeches {
        let Some(said) = speech.setting(|s| s.channel).filter(|said| said.value == Channel::Stable) else { continue };
        reasons.push(speech.reason(ReasonCode::ChannelNotPermitted, said.origin, "channel", &what));
    }
}
