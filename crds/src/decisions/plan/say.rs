//! The planner's own reasons in words. Each names what stands in the way and the command that helps.

use std::fmt::Write as _;

use super::dependencies::Dependency;
use crate::{
    decisions::verdict::{Class, Reason, ReasonCode, Required, Verdict},
    values::{name::Component, text::printable_to, version::Version},
};

/// The command that brings in a version.
pub(super) fn install(name: &Component, version: &Version) -> String {
    format!("d8 plugins install {name} --version {version}")
}

/// What dependencies on one plugin come to, as `b >=2, <3`.
pub(super) fn demanded(name: &Component, dependencies: &[Dependency]) -> String {
    let mut text = name.to_string();
    let constraints =
        dependencies.iter().map(|dependency| dependency.constraint.as_str().trim()).filter(|c| !c.is_empty());
    for (i, constraint) in constraints.enumerate() {
        let _ = write!(text, "{}{}", if i == 0 { " " } else { ", " }, printable_to(constraint, 64));
        if text.len() > 512 {
            text.push_str(", …");
            break;
        }
    }
    text
}

/// Where in a chain a sentence is said: what the request is about, then each plugin that the one before
/// needs, with its version.
pub(super) struct Place<'k> {
    pub(super) chain: Vec<(&'k Component, &'k Version)>,
}

impl Place<'_> {
    /// `a v2.0.0 requires plugin b >=3`; of what a dependency requires, `a v2.0.0 needs b v3.0.0, which
    /// requires plugin c`.
    fn requires(&self, target: &Component, dependencies: &[Dependency]) -> String {
        let where_there =
            if dependencies.iter().any(|dependency| dependency.mandatory) { "" } else { " where it is installed" };
        format!("{} requires plugin {}{where_there}", self.subject(), demanded(target, dependencies))
    }

    fn subject(&self) -> String {
        let shown = |(name, version): &(&Component, &Version)| format!("{name} {version}");
        match self.chain.as_slice() {
            [] => String::new(),
            [root] => shown(root),
            [root, .., last] => format!("{} needs {}, which", shown(root), shown(last)),
        }
    }

    /// ` (needed by: a -> b -> c)` where it takes more than one step.
    fn needed_by(&self, target: &Component) -> String {
        if self.chain.len() < 2 {
            return String::new();
        }
        format!(" (needed by: {})", path(self.chain.iter().map(|(name, _)| *name).chain([target])))
    }

    fn unfit(&self, target: &Component, dependencies: &[Dependency], what: &str) -> Reason {
        let message = format!("{}, {what}{}", self.requires(target, dependencies), self.needed_by(target));
        reason(ReasonCode::Unfit, message)
    }

    pub(super) fn unpublished(&self, target: &Component, dependencies: &[Dependency]) -> Reason {
        self.unfit(target, dependencies, &format!("which is not published; see `d8 plugins why {target}`"))
    }

    /// Versions are published, none of them is in range.
    pub(super) fn none_in_range(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        installed: Option<&Version>,
    ) -> Reason {
        let what = match installed {
            Some(version) => format!("{version} is installed, and no published version would do"),
            None => "of which no published version is in range".to_owned(),
        };
        let what = format!("{what}; see `d8 plugins why {target}`");
        self.unfit(target, dependencies, &what)
    }

    /// Only a pre-release is in range.
    pub(super) fn only_pre_release(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        version: &Version,
    ) -> Reason {
        let what = format!("of which only pre-releases are in range; run `{}`", install(target, version));
        self.unfit(target, dependencies, &what)
    }

    /// What is in range is in another major than what is installed.
    pub(super) fn other_major(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        installed: &Version,
        to: u64,
    ) -> Reason {
        let what = format!("{installed} is installed; run `d8 plugins install {target} --use-major {to}`");
        self.unfit(target, dependencies, &what)
    }

    pub(super) fn too_new(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        installed: &Version,
        to: &Version,
    ) -> Reason {
        let what = format!("{installed} is installed, which is too new; run `{}`", install(target, to));
        self.unfit(target, dependencies, &what)
    }

    pub(super) fn unknown_version(&self, target: &Component, dependencies: &[Dependency]) -> Reason {
        let what = format!("whose installed version is not known; reinstall it: `d8 plugins install {target} --force`");
        self.unfit(target, dependencies, &what)
    }

    /// The plan has a version that is out of range.
    pub(super) fn planned(&self, target: &Component, dependencies: &[Dependency], planned: &Version) -> Reason {
        let what = format!("but {planned} is to be installed; see `d8 plugins why {target}`");
        self.unfit(target, dependencies, &what)
    }

    /// No version of the target meets what several changed plugins want.
    pub(super) fn at_odds(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        with: &Component,
        theirs: &[Dependency],
    ) -> Reason {
        let what = format!(
            "and {with}, which comes with it, requires {}; no published version is both; see `d8 plugins why {target}`",
            demanded(target, theirs)
        );
        self.unfit(target, dependencies, &what)
    }

    pub(super) fn cycle(&self, target: &Component) -> Reason {
        let start = self.chain.iter().position(|(name, _)| *name == target).unwrap_or_default();
        let circle = path(self.chain[start..].iter().map(|(name, _)| *name).chain([target]));
        let message = match self.chain.first() {
            Some((root, version)) => format!(
                "{root} {version} leads to a cycle of dependencies, {circle}, of which none can come first; ask the \
                 publisher of {target}"
            ),
            None => String::new(),
        };
        reason(ReasonCode::Unfit, message)
    }

    pub(super) fn too_deep(&self, target: &Component) -> Reason {
        let message = format!(
            "{} requires plugin {target}, more than {} steps away{}; install that first: `d8 plugins install {target}`",
            self.subject(),
            super::MAX_DEPTH,
            self.needed_by(target)
        );
        reason(ReasonCode::Unfit, message)
    }

    /// A policy wants no dependencies brought in.
    pub(super) fn refused_by_policy(&self, target: &Component, dependencies: &[Dependency], policy: &str) -> Reason {
        let message = format!(
            "policy {policy}, missingDependencies: {}, and no dependency is brought in; run `d8 plugins install {target}`",
            self.requires(target, dependencies)
        );
        Reason { policy: Some(policy.to_owned()), ..reason(ReasonCode::DependencyDenied, message) }
    }

    /// What a dependency's own verdict makes of what needs it. A dependency that is forbidden doesn't
    /// forbid that: it would have to leave, too.
    pub(super) fn judged(
        &self,
        target: &Component,
        dependencies: &[Dependency],
        version: &Version,
        verdict: &Verdict,
        required: Option<&Required>,
    ) -> Vec<Reason> {
        let lead = format!("{}, and {target} {version} may not be installed: ", self.requires(target, dependencies));
        let mut tail = self.needed_by(target);
        if let Some(required) = required {
            let _ = write!(tail, "; policy {}, {}.access requires {}", required.policy, required.rule, required.plugin);
        }
        let one = |why: &Reason| Reason {
            code: if why.class() == Class::Forbidden { ReasonCode::DependencyDenied } else { why.code },
            policy: why.policy.clone(),
            rule: why.rule,
            message: format!("{lead}{}{tail}", why.message),
            until: why.until,
        };
        verdict.reasons().iter().map(one).collect()
    }
}

/// An installed plugin speaks against a version.
pub(super) fn objection(
    (name, version): (&Component, &Version),
    by: &Component,
    by_version: Option<&Version>,
    dependencies: &[Dependency],
) -> Reason {
    let by_version = by_version.map(|version| format!(" {version}")).unwrap_or_default();
    let message = format!(
        "{name} {version} is not what plugin {by}{by_version} requires, which is {}; try `d8 plugins update \
         {by}` first",
        demanded(name, dependencies)
    );
    reason(ReasonCode::Unfit, message)
}

pub(super) fn too_many((name, version): (&Component, &Version)) -> Reason {
    let message = format!(
        "{name} {version} needs more than {} other plugins changed; install some of them first, see `d8 plugins \
         contract {name} --version {version}`",
        super::MAX_CHANGES - 1
    );
    reason(ReasonCode::Unfit, message)
}

pub(super) fn too_entangled((name, version): (&Component, &Version)) -> Reason {
    let message = format!(
        "{name} {version} has dependencies that are too entangled to try all their versions; install some of them \
         first, see `d8 plugins contract {name} --version {version}`"
    );
    reason(ReasonCode::Unfit, message)
}

fn reason(code: ReasonCode, message: String) -> Reason {
    Reason { code, policy: None, rule: None, message, until: None }
}

fn path<'n>(names: impl Iterator<Item = &'n Component>) -> String {
    names.map(Component::name).collect::<Vec<_>>().join(" -> ")
}
