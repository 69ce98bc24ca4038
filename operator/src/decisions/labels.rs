//! Labels of the objects that this operator creates.

use std::collections::BTreeMap;

/// Name under which this operator owns fields, and value of label [`MANAGED_BY`].
pub(crate) const MANAGER: &str = "d8-operator";
/// Label of every object that this operator creates.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Label that names the component of an object.
pub(crate) const COMPONENT: &str = "cli.deckhouse.io/component";
/// Label that names the policy of an object.
pub(crate) const POLICY: &str = "cli.deckhouse.io/policy";

/// Returns the labels of an object that belongs to a component or to a policy: `key` is [`COMPONENT`] or
/// [`POLICY`], `owner` its name.
pub(crate) fn labels(key: &str, owner: &str) -> BTreeMap<String, String> {
    [(MANAGED_BY, MANAGER), (key, owner)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}
