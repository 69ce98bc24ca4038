//! What the sentences about one reason have in common: the names of component and version, and times as the
//! reader needs them.

use std::time::Duration;

use jiff::Timestamp;

use super::{Audience, commands};
use crate::{decisions::reason::Subject, values::duration::FormattedDuration};

/// Subject and reader of one sentence.
pub(super) struct Explainer<'a> {
    pub(super) subject: &'a Subject,
    pub(super) audience: Audience<'a>,
}

impl Explainer<'_> {
    /// Returns component and version.
    pub(super) fn version(&self) -> String {
        let name = &self.subject.component;
        match &self.subject.version {
            Some(version) => format!("{name} {version}"),
            None => name.to_string(),
        }
    }

    /// Returns the end of a sentence that names the command that shows all versions: `; run <command> to <purpose>`.
    /// A reader who sees them needs no command.
    pub(super) fn run_why(&self, before: &str, purpose: &str) -> String {
        if self.audience.sees_versions {
            return String::new();
        }
        format!("{before}run `{}` to {purpose}", self.why())
    }

    /// Returns the end of a sentence that names a command for the machine of the reader. About another machine, it says
    /// where to run the command if the versions are beside the text, and else which command shows them.
    pub(super) fn here(&self, command: impl FnOnce() -> String) -> String {
        match self.audience.host {
            None => command(),
            Some(host) if self.audience.sees_versions => format!("{} on {host}", command()),
            Some(_) => format!("; see `{}`", self.why()),
        }
    }

    fn why(&self) -> String {
        commands::why(&self.subject.component, self.audience.host)
    }

    /// Returns the time that a text may count from.
    fn now(&self) -> Option<Timestamp> {
        self.subject.evaluated_at.filter(|_| self.audience.reads_now)
    }

    /// Returns `2026-11-23T12:00:00Z (24h left)`, or the time alone in a record.
    pub(super) fn at(&self, end: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("{end:.0} ({} left)", how_long(now, end)),
            None => format!("{end:.0}"),
        }
    }

    /// `in 24h, at 2026-11-23T12:00:00Z`.
    pub(super) fn when(&self, instant: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("in {}, at {instant:.0}", how_long(now, instant)),
            None => format!("at {instant:.0}"),
        }
    }

    /// `24h ago, at 2026-11-21T12:00:00Z`.
    pub(super) fn since(&self, instant: Timestamp) -> String {
        match self.now() {
            Some(now) => format!("{} ago, at {instant:.0}", how_long(instant, now)),
            None => format!("at {instant:.0}"),
        }
    }
}

/// Returns the time between two instants in whole seconds, from an hour on in whole minutes, rounded up.
fn how_long(from: Timestamp, to: Timestamp) -> FormattedDuration {
    let between = to.duration_since(from).unsigned_abs();
    let seconds = between.as_secs() + u64::from(between.subsec_nanos() > 0);
    let seconds = if seconds < 3600 { seconds } else { seconds.next_multiple_of(60) };
    FormattedDuration(Duration::from_secs(seconds))
}
