//! Writes statuses by server-side apply: a status contains exactly what this operator sends.

use std::fmt::Debug;

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::decisions::labels::MANAGER;

/// Applies a whole status. Takes over fields that someone else wrote.
pub(crate) async fn status<K, S>(api: &Api<K>, name: &str, status: &S) -> Result<K, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let mut status = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    drop_nulls(&mut status);
    let object = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "status": status,
    });
    api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await
}

/// Removes nulls: applying a null owns the field, leaving it out gives it up.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_removed_at_every_depth() {
        let mut value = json!({"a": null, "b": [{"c": null, "d": 1}], "e": {"f": {"g": null}}});
        drop_nulls(&mut value);
        assert_eq!(value, json!({"b": [{"d": 1}], "e": {"f": {}}}));
    }
}
