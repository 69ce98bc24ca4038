//! Failures of commands: exit code, causes and advice.

use std::{error::Error, fmt, io::IsTerminal as _};

use d8_crds::{
    decisions::verdict::Class,
    values::name::PluginName,
    values::text::{printable_line, without_type_names},
};
pub(crate) use d8_rpp::Advice;

/// Exit codes. Scripts rely on them (`docs/plugins.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// The command failed in a way that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A policy refuses or holds the change.
    Refused = 3,
    /// Requirements are not met.
    Requirements = 4,
    /// The proxy or the cluster is unreachable or rejected the credentials.
    Unreachable = 5,
    /// Ctrl-C or SIGTERM: 128 + SIGINT, as in shells.
    Interrupted = 130,
}

impl From<Class> for Code {
    fn from(class: Class) -> Self {
        match class {
            Class::Unfit => Self::Requirements,
            Class::Forbidden | Class::Held => Self::Refused,
            Class::Eligible => Self::Failed,
        }
    }
}

/// A failure of a command.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Exit code of the process.
    pub(crate) code: Code,
    /// The proxy answered that the name is not published.
    pub(crate) not_found: bool,
    /// The kubeconfig, its identity or the trust in its server is at fault, so the cluster was not asked.
    is_access_fault: bool,
    /// The stable kind of the error that caused it, one word in CamelCase; `None`: it has none.
    kind: Option<&'static str>,
    /// The plugin whose version failed, where several change together.
    about: Option<PluginName>,
    headline: String,
    causes: Vec<String>,
    advice: Vec<Advice>,
}

impl Failure {
    pub(crate) fn new(code: Code, headline: impl Into<String>) -> Self {
        let headline = without_type_names(&headline.into()).into_owned();
        Self {
            code,
            not_found: false,
            is_access_fault: false,
            kind: None,
            about: None,
            headline,
            causes: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// Returns the failure of a command that Ctrl-C or SIGTERM ended.
    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted; only the changes reported above were made")
    }

    /// Adds an error and its sources, outermost first. Skips a cause that repeats the end of the one before it.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = without_type_names(&error.to_string()).into_owned();
            let previous = self.causes.last().unwrap_or(&self.headline);
            if !previous.ends_with(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds the sources of an error whose own text is the headline.
    fn caused_by_source_of(self, error: &dyn Error) -> Self {
        match error.source() {
            Some(source) => self.caused_by(source),
            None => self,
        }
    }

    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(without_type_names(&cause.into()).into_owned());
        self
    }

    /// Adds a probable cause and how to fix it.
    pub(crate) fn advise(self, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        self.with_advice([Advice { cause: cause.into(), fix: fix.into() }])
    }

    pub(crate) fn with_advice(mut self, advice: impl IntoIterator<Item = Advice>) -> Self {
        self.advice.extend(advice);
        self
    }

    /// Makes `headline` the headline, and the old headline the first cause, unless that names `subject` already.
    pub(crate) fn under(mut self, subject: &str, headline: impl FnOnce() -> String) -> Self {
        if !self.headline.contains(subject) {
            self.causes.insert(0, std::mem::replace(&mut self.headline, headline()));
        }
        self
    }

    /// Marks a failure that ends only when the kubeconfig or its identity is corrected.
    pub(crate) fn by_access(self) -> Self {
        Self { is_access_fault: true, ..self }
    }

    /// Advises `command`, which skips the cluster checks, if the cluster is unreachable. If the kubeconfig is at fault,
    /// the plugin would fail at the same place.
    pub(crate) fn advise_skipping_checks(self, name: &dyn fmt::Display, command: &str) -> Self {
        if self.code != Code::Unreachable || self.is_access_fault {
            return self;
        }
        self.advise(
            format!("{name} has cluster requirements, and the cluster cannot be checked now"),
            format!("skip the checks at your own risk: `{command}`, or set `D8_PLUGINS_SKIP_CLUSTER_CHECKS=1`"),
        )
    }

    /// Sets the plugin that the failure is about.
    pub(crate) fn about(self, plugin: &PluginName) -> Self {
        Self { about: Some(plugin.clone()), ..self }
    }

    /// Returns whether the failure is about a plugin.
    pub(crate) fn is_about(&self, plugin: &PluginName) -> bool {
        self.about.as_ref() == Some(plugin)
    }

    /// Sets the kind of a failure that no error of a library caused.
    pub(crate) fn of_kind(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Returns the stable kind of the error that caused it: one word in CamelCase.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind.unwrap_or(match self.code {
            Code::Unreachable => "Unreachable",
            Code::Refused => "Refused",
            _ => "Failed",
        })
    }

    pub(crate) fn advice(&self) -> &[Advice] {
        &self.advice
    }

    /// Returns the headline and the first cause, on one line.
    pub(crate) fn summary(&self) -> String {
        match self.causes.first() {
            Some(cause) => format!("{}: {cause}", self.headline),
            None => self.headline.clone(),
        }
    }

    /// Prints the failure to stderr.
    pub(crate) fn print(&self) {
        let red = colour_enabled(std::io::stderr().is_terminal());
        let (on, off) = if red { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
        // If stderr is closed, there is nowhere to report that.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!("{on}error:{off} {self}\n"));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable_line(&self.headline))?;
        for cause in &self.causes {
            write!(f, "\n  {}", printable_line(cause))?;
        }
        for advice in &self.advice {
            write!(f, "\ncause: {}\nfix:   {}", printable_line(&advice.cause), printable_line(&advice.fix))?;
        }
        Ok(())
    }
}

impl From<d8_rpp::Error> for Failure {
    fn from(error: d8_rpp::Error) -> Self {
        let kind = error.kind();
        let code = match kind {
            d8_rpp::ErrorKind::Usage => Code::Usage,
            kind if kind.is_reach() => Code::Unreachable,
            _ => Code::Failed,
        };
        let failure = Self::new(code, error.to_string()).caused_by_source_of(&error).with_advice(error.advice());
        Self {
            not_found: kind == d8_rpp::ErrorKind::NotFound,
            is_access_fault: error.is_access_fault(),
            kind: Some(kind.as_str()),
            ..failure
        }
    }
}

impl From<d8_agent::StoreError> for Failure {
    fn from(error: d8_agent::StoreError) -> Self {
        if let d8_agent::StoreError::Proxy(error) = error {
            return error.into();
        }
        let failure = Self::new(Code::Failed, error.to_string()).caused_by_source_of(&error);
        Self { kind: Some(error.kind().as_str()), ..failure.with_advice(error.advice()) }
    }
}

/// Returns whether to use colour: `NO_COLOR` overrides `CLICOLOR_FORCE` and `FORCE_COLOR`, which override `terminal`.
pub(crate) fn colour_enabled(terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    resolve_colour(set("NO_COLOR"), set("CLICOLOR_FORCE") || set("FORCE_COLOR"), terminal)
}

fn resolve_colour(never: bool, always: bool, terminal: bool) -> bool {
    !never && (always || terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_headline_causes_and_advice() {
        let inner = std::io::Error::other("connection \u{1b}[31mrefused");
        let failure = Failure::new(Code::Unreachable, "the proxy could not be reached")
            .caused_by(&inner)
            .advise("its pods are down", "kubectl -n d8-cloud-instance-manager get pods");
        assert_eq!(failure.code as u8, 5);
        let text = failure.to_string();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "the proxy could not be reached");
        assert!(lines[1].starts_with("  connection"), "{lines:?}");
        assert_eq!(lines[2], "cause: its pods are down");
        assert_eq!(lines[3], "fix:   kubectl -n d8-cloud-instance-manager get pods");
    }

    #[test]
    fn colour_precedence() {
        for (never, always, terminal, want) in [
            (false, false, true, true),
            (false, false, false, false),
            (false, true, false, true),
            (true, true, true, false),
        ] {
            assert_eq!(resolve_colour(never, always, terminal), want, "{never} {always} {terminal}");
        }
    }
}
