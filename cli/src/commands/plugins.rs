//! `d8 plugins …`, a file a command. What changes something goes through `planning`, `execute` and `change`.

pub(crate) mod change;
pub(crate) mod execute;
pub(crate) mod install;
pub(crate) mod list;
pub(crate) mod remove;
pub(crate) mod update;
pub(crate) mod why;

use d8_crds::values::name::PluginName;

use crate::terminal::failure::{Code, Failure};

/// The names typed; `None` for `all`, which stands alone.
fn targets(words: &[String]) -> Result<Option<Vec<PluginName>>, Failure> {
    if words.iter().any(|word| word == "all") {
        return match words {
            [_] => Ok(None),
            _ => Err(Failure::new(Code::Usage, "`all` stands alone")
                .advise("names were given with it", "leave one of them out")),
        };
    }
    let mut names = Vec::new();
    for word in words {
        let name = word
            .parse()
            .map_err(|error: d8_crds::values::name::NameError| Failure::new(Code::Usage, error.to_string()))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed() {
        let typed = |words: &[&str]| targets(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>());
        assert!(typed(&["all"]).unwrap().is_none());
        assert_eq!(typed(&["b", "a", "b"]).unwrap().unwrap().len(), 2);
        for bad in [&["all", "a"][..], &["../x"], &["a", ""]] {
            assert_eq!(typed(bad).unwrap_err().code, Code::Usage, "{bad:?}");
        }
    }
}
