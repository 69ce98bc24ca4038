//! Requests to the planner, for `install` and `update`.

use d8_crds::{
    decisions::{plan::Request, verdict::HostPolicies},
    records::policy::MajorUpdates,
    values::name::{Component, PluginName},
};

use crate::{
    args::value,
    context::Context,
    installed,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// Returns the request for the newest version: within the installed major version, unless policies let it cross.
pub(in crate::commands) fn newest(
    context: &Context,
    policies: &HostPolicies<'_>,
    name: &PluginName,
) -> Result<Request, Failure> {
    let active = installed::find(context, name)?.and_then(|plugin| plugin.version());
    let component = Component::Plugin(name.clone());
    let guidance = policies.guidance(&component, active.as_ref());
    Ok(if guidance.major_updates == MajorUpdates::Cross { Request::NewestOfAll } else { Request::Newest })
}

/// Warns if cluster requirements are waived.
pub(in crate::commands) fn warn_if_waived(context: &Context) {
    if context.skips_cluster_checks() {
        output::warn("Kubernetes, Deckhouse and module requirements are not checked (--skip-cluster-checks)");
    }
}

/// Parses names of plugins; `None` for `all`.
///
/// # Errors
/// A name is invalid, or `all` was given together with names.
pub(in crate::commands) fn parse_names(words: &[String]) -> Result<Option<Vec<PluginName>>, Failure> {
    if words.iter().any(|word| word == "all") {
        return match words {
            [_] => Ok(None),
            _ => Err(Failure::new(Code::Usage, "`all` cannot be combined with names")
                .advise("`all` already includes every installed plugin", "use either `all` or names")),
        };
    }
    let mut names = Vec::new();
    for word in words {
        if let Some((name, version)) = value::name_and_version(word) {
            return Err(Failure::new(Code::Usage, format!("{word:?} is not the name of a plugin")).advise(
                "a version is named when it is installed",
                format!("`d8 plugins install {name} --version {version}`"),
            ));
        }
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
    fn names_or_all() {
        let parse = |words: &[&str]| parse_names(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert!(parse(&["all"]).unwrap().is_none());
        assert_eq!(parse(&["b", "a", "b"]).unwrap().unwrap().len(), 2);
        let failure = parse(&["a@v1.0.0"]).unwrap_err().to_string();
        assert!(failure.contains("`d8 plugins install a --version v1.0.0`"), "{failure}");
        for invalid in [&["all", "a"][..], &["../x"], &["a", ""]] {
            assert_eq!(parse(invalid).unwrap_err().code, Code::Usage, "{invalid:?}");
        }
    }
}
