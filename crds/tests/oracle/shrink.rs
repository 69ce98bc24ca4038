//! Shrinks a case: removes one part after another while a condition holds.

use serde_json::Value;

/// Removes parts of a case while `condition` holds, until no part can be removed.
pub(crate) fn shrink(mut case: Value, condition: &dyn Fn(&Value) -> bool) -> Value {
    loop {
        let mut smaller = false;
        for path in paths(&case) {
            let Some(candidate) = without(&case, &path) else { continue };
            if condition(&candidate) {
                case = candidate;
                smaller = true;
                break;
            }
        }
        if !smaller {
            return case;
        }
    }
}

/// The pointers of all parts, the largest part first.
fn paths(case: &Value) -> Vec<String> {
    let mut out = Vec::new();
    collect(case, String::new(), &mut out);
    out.sort_by_key(|path| std::cmp::Reverse(case.pointer(path).map_or(0, |part| part.to_string().len())));
    out
}

fn collect(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                collect(field, format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                collect(item, format!("{at}/{number}"), out);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        out.push(at);
    }
}

/// Returns the case without one part. `None`: a case needs this part.
fn without(case: &Value, path: &str) -> Option<Value> {
    // Without these fields, an object is invalid, which is another difference.
    const KEPT: [&str; 27] = [
        "component",
        "version",
        "intent",
        "now",
        "confirmed",
        "host",
        "id",
        "labels",
        "newRoot",
        "hostSelector",
        "plugins",
        "start",
        "duration",
        "over",
        "digest",
        "fit",
        "since",
        "state",
        "until",
        "from",
        "to",
        "reason",
        "hosts",
        "for",
        "name",
        "key",
        "operator",
    ];
    let mut out = case.clone();
    let (parent, last) = path.rsplit_once('/')?;
    let top = parent.is_empty();
    if top && (last == "active" || last == "release") {
        if out[last].is_null() {
            return None;
        }
        out[last] = Value::Null;
        return Some(out);
    }
    if KEPT.contains(&last) || (top && last == "policies") || ["apiVersion", "kind", "metadata"].contains(&last) {
        return None;
    }
    match out.pointer_mut(parent)? {
        Value::Object(fields) => {
            // A spec is required. Its fields are removed one by one.
            if last == "spec" {
                return None;
            }
            fields.remove(&last.replace("~1", "/").replace("~0", "~"))?;
        }
        Value::Array(items) => {
            items.remove(last.parse().ok()?);
        }
        _ => return None,
    }
    Some(out)
}
