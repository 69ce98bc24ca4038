//! The people to whom a policy applies, and what of the policy counts for a person who is not known.

use std::collections::BTreeSet;

use super::{CheckedPolicy, CheckedRule, Settings};
use crate::{
    decisions::person::{Person, UserInfo},
    records::policy::{Access, Subjects},
    values::{field_error::FieldErrors, limits},
};

/// The people to whom a policy applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CheckedSubjects {
    /// The policy has no `subjects`, or they cannot be decoded: everyone, and the agent.
    #[default]
    Everyone,
    /// Members of the groups, and the users.
    Named {
        /// Names of groups.
        groups: BTreeSet<String>,
        /// Names of users.
        users: BTreeSet<String>,
    },
}

/// How much of a policy applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The policy as a whole.
    Whole,
    /// Only Deny and `block`, because the person is not known.
    Restrictions,
    /// Nothing.
    Nothing,
}

impl CheckedSubjects {
    /// Parses `spec.subjects`. Adds everything that is wrong with it to `errors`; what is valid still names people.
    pub(super) fn parse(subjects: Option<&Subjects>, errors: &mut FieldErrors) -> Self {
        let Some(Subjects { groups, users }) = subjects else { return Self::Everyone };
        if groups.is_empty() && users.is_empty() {
            errors.add("spec.subjects", "must name at least one group or user");
        }
        for (list, names) in [("groups", groups), ("users", users)] {
            let field = format!("spec.subjects.{list}");
            errors.check_length(&field, names.len(), limits::SUBJECTS);
            for (i, name) in names.iter().enumerate() {
                errors.ok(&format!("{field}[{i}]"), check_name(name));
            }
        }
        let set = |names: &[String]| names.iter().cloned().collect();
        Self::Named { groups: set(groups), users: set(users) }
    }

    /// Parses the subjects of a spec that cannot be decoded as a whole. If they cannot be decoded either, they may name
    /// anyone.
    pub(crate) fn from_json(spec: Option<&serde_json::Value>) -> Self {
        let Some(subjects) = spec.and_then(|spec| spec.get("subjects")).filter(|subjects| !subjects.is_null()) else {
            return Self::Everyone;
        };
        let mut unknown_fields = false;
        let decoded = serde_ignored::deserialize(subjects, |_| unknown_fields = true);
        match decoded {
            Ok(subjects) if !unknown_fields => Self::parse(Some(&subjects), &mut FieldErrors::default()),
            _ => Self::Everyone,
        }
    }

    /// Returns how much of a valid policy applies to what this person does. The agent's own work is the act of
    /// nobody.
    pub fn reach(&self, person: Person<'_>) -> Reach {
        match (self, person) {
            (Self::Everyone, _) => Reach::Whole,
            (_, Person::Nobody) => Reach::Nothing,
            (_, Person::Unknown) => Reach::Restrictions,
            (Self::Named { groups, users }, Person::Known(UserInfo { username, groups: of_person })) => {
                let named = users.contains(username) || !groups.is_disjoint(of_person);
                if named { Reach::Whole } else { Reach::Nothing }
            }
        }
    }

    /// Returns the names as a policy writes them; `None`: everyone.
    pub fn to_record(&self) -> Option<Subjects> {
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect();
        match self {
            Self::Named { groups, users } => Some(Subjects { groups: list(groups), users: list(users) }),
            Self::Everyone => None,
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("must not be empty".to_owned())
    } else if name.chars().nth(limits::SUBJECT).is_some() {
        Err(format!("is longer than {} characters", limits::SUBJECT))
    } else if name.contains(char::is_control) {
        Err("must be one line without control characters".to_owned())
    } else {
        Ok(())
    }
}

impl CheckedPolicy {
    /// Returns the policy with nothing but Deny and `block`, and their messages.
    #[must_use]
    pub fn restrictions(&self) -> Self {
        let is_denied = self.defaults.access == Some(Access::Deny);
        Self {
            name: self.name.clone(),
            selector: self.selector.clone(),
            subjects: self.subjects.clone(),
            defaults: only_access(is_denied.then_some(Access::Deny)),
            rules: self.rules.iter().map(|rule| rule.restrictions(is_denied)).collect(),
            names: self.names.clone(),
            prefixes: self.prefixes.clone(),
            cli: self.cli.as_ref().map(|rule| rule.restrictions(false)),
            ..Self::default()
        }
    }
}

impl CheckedRule {
    /// Returns the rule with nothing but Deny and `block`, and their message. `is_denied`: the plugins are denied by
    /// the defaults of the policy. A rule that allows or requires them is then an exception.
    fn restrictions(&self, is_denied: bool) -> Self {
        let access = match self.settings.access {
            Some(Access::Deny) => Some(Access::Deny),
            Some(Access::Allow | Access::Require) if is_denied => Some(Access::Allow),
            _ => None,
        };
        Self {
            plugins: self.plugins.clone(),
            settings: only_access(access),
            block: self.block.clone(),
            message: self.message.clone(),
            ..Self::default()
        }
    }
}

fn only_access(access: Option<Access>) -> Settings {
    Settings { access, ..Settings::default() }
}
