//! Gates that rule a version out: access, block, versions, a set channel.

use super::View;
use crate::{
    policy::Access,
    release::Channel,
    verdict::reason::{Reason, ReasonCode},
};

/// `access: Deny` in any matching policy.
pub(super) fn access(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches {
        let Some(said) = speech.access().filter(|said| said.value == Access::Deny) else { continue };
        let name = view.case.component;
        let step = if view.case.active.is_some() {
            format!("remove it with `d8 plugins remove {name}`, or ask for another rule")
        } else {
            "ask for another rule, or for a policy that leaves this host out".to_owned()
        };
        reasons.push(speech.reason(
            ReasonCode::Denied,
            said.origin,
            "access",
            &format!("{name} is denied on this host; {step}"),
        ));
    }
}

/// `block`: the union of all.
pub(super) fn block(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches {
        let Some((origin, rule)) = speech.rule() else { continue };
        if !rule.block.contains(view.case.version) {
            continue;
        }
        let step = if view.case.active == Some(view.case.version) {
            format!("leave it with `{}`", view.update())
        } else {
            format!("see `{}` for another version", view.why())
        };
        let what = format!("{} is blocked; {step}", view.subject());
        reasons.push(speech.reason(ReasonCode::Blocked, origin, "block", &what));
    }
}

/// `versions`: every policy's must hold.
pub(super) fn versions(view: &View<'_>, reasons: &mut Vec<Reason>) {
    for speech in view.speeches {
        let Some((origin, rule)) = speech.rule() else { continue };
        let Some(versions) = &rule.versions else { continue };
        if versions.matches(view.case.version) || super::hold::is_unread_range(view, speech) {
            continue;
        }
        let what = format!(
            "{} is outside `{}`; see `{}` for the versions inside, or ask for a wider range",
            view.subject(),
            crate::text::printable(versions.as_str()),
            view.why()
        );
        reasons.push(speech.reason(ReasonCode::VersionNotPermitted, origin, "versions", &what));
    }
}

/// A channel that policies set; Stable wins.
pub(super) fn channel(view: &View<'_>, reasons: &mut Vec<Reason>) {
    if !view.is_pre_release() {
        return;
    }
    for speech in view.speeches {
        let Some(said) = speech.setting(|s| s.channel).filter(|said| said.value == Channel::Stable) else { continue };
        let what = format!(
            "{} is a pre-release and the channel is Stable; see `{}` for a release",
            view.subject(),
            view.why()
        );
        reasons.push(speech.reason(ReasonCode::ChannelNotPermitted, said.origin, "channel", &what));
    }
}
