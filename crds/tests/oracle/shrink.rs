//! Makes a case smaller while it stays interesting: one part after another is left out.

use serde_json::Value;

/// The smallest case that `stays` still holds for and that no single omission makes smaller.
pub(crate) fn shrink(mut case: Value, stays: &dyn Fn(&Value) -> bool) -> Value {
    loop {
        let mut smaller = false;
        for path in paths(&case) {
            let Some(candidate) = without(&case, &path) else { continue };
            if stays(&candidate) {
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

/// Every part that may be left out, the largest first.
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

/// The case without one part; a part that a case must have is made null, empty or kept.
fn without(case: &Value, path: &str) -> Option<Value> {
    // Without these an object is another kind of broken, which is not what is being looked for.
    const KEPT: [&str; 21] = [
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
            // Only whole records, specs and statuses of which much can be left out.
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
