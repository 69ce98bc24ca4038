//! Whom edited policies with `subjects` are for. They hold people only, so that a comparison of managed hosts, which is
//! for the agent, shows nothing of them.

use d8_crds::{
    decisions::{
        person::{Person, UserInfo},
        validation::{CheckedPolicy, Reach},
    },
    records::policy::{PluginPolicy, Subjects},
    values::text::printable,
};
use serde::Serialize;
use serde_json::Value;

/// A policy with `subjects`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PolicyForPeople {
    policy: String,
    groups: Vec<String>,
    users: Vec<String>,
    /// Whether it is for the person who runs the command. Absent: it is not known who that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_caller: Option<bool>,
    #[serde(skip)]
    caller: Option<String>,
}

/// Returns the policies with `subjects` that the edit changes, in their new form, or in the old one if they have no
/// subjects afterwards.
pub(super) fn for_people(live: &[Value], edited: &[Value], caller: Option<&UserInfo>) -> Vec<PolicyForPeople> {
    let is_in = |policy: &&Value, list: &[Value]| list.contains(policy);
    let after = edited.iter().filter(|policy| !is_in(policy, live));
    let before = live.iter().filter(|policy| !is_in(policy, edited));
    let mut found: Vec<PolicyForPeople> = Vec::new();
    for policy in after.chain(before).filter_map(|policy| PolicyForPeople::of(policy, caller)) {
        if found.iter().all(|known| known.policy != policy.policy) {
            found.push(policy);
        }
    }
    found
}

impl PolicyForPeople {
    fn of(policy: &Value, caller: Option<&UserInfo>) -> Option<Self> {
        let policy: PluginPolicy = serde_json::from_value(policy.clone()).ok()?;
        let CheckedPolicy { name, subjects, .. } = CheckedPolicy::new(&policy).ok()?;
        let Subjects { groups, users } = subjects.to_record()?;
        let for_caller = match subjects.reach(Person::from(caller)) {
            Reach::Whole => Some(true),
            Reach::Nothing => Some(false),
            Reach::Restrictions => None,
        };
        let caller = caller.map(|user| printable(&user.username).into_owned());
        Some(Self { policy: name.to_string(), groups, users, for_caller, caller })
    }

    /// Returns the line for people.
    pub(super) fn line(&self) -> String {
        let Self { policy, groups, users, for_caller, caller } = self;
        let list = |one: &str, many: &str, names: &[String]| match names {
            [] => None,
            [name] => Some(format!("{one} {name}")),
            names => Some(format!("{many} {}", names.join(", "))),
        };
        let whom = [list("group", "groups", groups), list("user", "users", users)];
        let whom = whom.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        let you = match (for_caller, caller) {
            (Some(true), Some(caller)) => format!("you ({caller}) are one of them"),
            (Some(false), Some(caller)) => format!("you ({caller}) are none of them, so it changes nothing for you"),
            _ => "it is not known who you are, so that only its Deny and `block` count".to_owned(),
        };
        format!(
            "Policy {policy} is only for people: {whom}. It does not hold agents, so managed hosts show nothing of it. \
             This machine shows what you would see: {you}."
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(name: &str, subjects: &Value) -> Value {
        json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name},
            "spec": {"hostSelector": {}, "subjects": subjects, "paused": true}})
    }

    #[test]
    fn whom_an_edit_is_for() {
        let alice = UserInfo { username: "alice".to_owned(), groups: ["ops".to_owned()].into() };
        let ops = policy("p", &json!({"groups": ["ops"]}));
        let others = policy("p", &json!({"groups": ["ci", "dev"], "users": ["bob"]}));
        let everyone = policy("p", &Value::Null);
        let begin = |whom: &str| {
            format!(
                "Policy p is only for people: {whom}. It does not hold agents, so managed hosts show nothing of it. This \
                 machine shows what you would see: "
            )
        };
        let of_others = begin("groups ci, dev and user bob");
        for (live, edited, caller, expected) in [
            (vec![], vec![&ops], Some(&alice), Some(begin("group ops") + "you (alice) are one of them.")),
            (
                vec![&ops],
                vec![&others],
                Some(&alice),
                Some(of_others.clone() + "you (alice) are none of them, so it changes nothing for you."),
            ),
            (
                vec![],
                vec![&others],
                None,
                Some(of_others + "it is not known who you are, so that only its Deny and `block` count."),
            ),
            (vec![&ops], vec![&everyone], Some(&alice), Some(begin("group ops") + "you (alice) are one of them.")),
            (vec![&ops], vec![], Some(&alice), Some(begin("group ops") + "you (alice) are one of them.")),
            (vec![&ops], vec![&ops], Some(&alice), None),
            (vec![], vec![&everyone], Some(&alice), None),
        ] {
            let owned = |list: Vec<&Value>| list.into_iter().cloned().collect::<Vec<_>>();
            let found = for_people(&owned(live), &owned(edited), caller);
            assert_eq!(found.iter().map(PolicyForPeople::line).next(), expected);
            assert!(found.len() <= 1);
        }
    }
}
