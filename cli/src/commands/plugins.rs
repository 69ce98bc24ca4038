//! `d8 plugins …`. Commands that change plugins create requests ([`request`]), plan and apply them ([`execute`],
//! [`transaction`], [`repair`]) and report the results ([`report`]).

pub(super) mod execute;
pub(crate) mod install;
pub(crate) mod list;
mod newer_major;
pub(super) mod options;
pub(crate) mod remove;
pub(super) mod repair;
pub(super) mod report;
pub(super) mod request;
pub(super) mod transaction;
pub(crate) mod update;
pub(crate) mod why;

use crate::terminal::failure::{Code, Failure};

/// Returns the failure of `d8 plugins search`, which other package managers have.
pub(crate) fn search(words: &[String]) -> Failure {
    let name = words.first().map_or("NAME", String::as_str);
    Failure::new(Code::Usage, "d8 has no `plugins search`; the records of the cluster list the known plugins")
        .advise("the records have the names", "list them: `kubectl get clireleases`")
        .advise("the versions of one plugin", format!("`d8 plugins why {name}`"))
}
