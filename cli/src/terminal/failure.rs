//! How a command fails: exit code, category, causes, and what to do about it.

use std::{error::Error, fmt, io::IsTerminal as _};

use d8_crds::{decisions::verdict::Class, values::text::printable};
pub(crate) use d8_rpp::Advice;

/// Exit codes, part of the contract with scripts (`docs/cli.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Code {
    /// The command failed.
    Failed = 1,
    /// It was typed wrong.
    Usage = 2,
    /// A policy refuses or holds it.
    Refused = 3,
    /// Requirements are not met.
    Requirements = 4,
    /// The proxy or the cluster could not be reached, or refused the identity.
    Unreachable = 5,
    /// Ctrl-C or SIGTERM ended it (128 + SIGINT, as shells have it).
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

/// One failure, ready to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What the process exits with.
    pub(crate) code: Code,
    what: String,
    causes: Vec<String>,
    advice: Vec<Advice>,
    /// The proxy answered, and has nothing of that name.
    pub(crate) nothing_there: bool,
}

impl Failure {
    pub(crate) fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), causes: Vec::new(), advice: Vec::new(), nothing_there: false }
    }

    /// Ctrl-C or SIGTERM.
    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted; nothing was changed but what is reported above as done")
    }

    /// Adds the chain of errors below `what`, outermost first. A cause that only repeats what stands
    /// above it is left out.
    pub(crate) fn caused_by(mut self, error: &dyn Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            let said = self.causes.last().unwrap_or(&self.what);
            if !said.ends_with(&text) {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// Adds the chain of what is below an error whose own words are told already.
    fn caused_below(self, error: &dyn Error) -> Self {
        match error.source() {
            Some(source) => self.caused_by(source),
            None => self,
        }
    }

    /// Adds one line to the chain of causes.
    pub(crate) fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds a cause and what to do about it.
    pub(crate) fn advise(self, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        self.with(Advice { cause: cause.into(), fix: fix.into() })
    }

    /// The same, ready made.
    pub(crate) fn with(mut self, advice: Advice) -> Self {
        self.advice.push(advice);
        self
    }

    /// The same, several.
    pub(crate) fn with_all(mut self, advice: impl IntoIterator<Item = Advice>) -> Self {
        self.advice.extend(advice);
        self
    }

    /// Puts a headline above it that names what failed, unless it is named already.
    pub(crate) fn about(mut self, subject: &str, headline: impl FnOnce() -> String) -> Self {
        if !self.what.contains(subject) {
            self.causes.insert(0, std::mem::replace(&mut self.what, headline()));
        }
        self
    }

    /// Names the way to go on without the cluster's word.
    pub(crate) fn or_skip_checks(self, name: &dyn fmt::Display) -> Self {
        if self.code != Code::Unreachable {
            return self;
        }
        self.advise(
            format!("{name} demands something of the cluster, which cannot be checked now"),
            "at your own risk: --skip-cluster-checks, or D8_PLUGINS_SKIP_CLUSTER_CHECKS=1",
        )
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> &[Advice] {
        &self.advice
    }

    /// The first line, for tables.
    pub(crate) fn headline(&self) -> String {
        match self.causes.first() {
            Some(cause) => format!("{}: {cause}", self.what),
            None => self.what.clone(),
        }
    }

    /// Writes it to stderr.
    pub(crate) fn show(&self) {
        let red = colour(std::io::stderr().is_terminal());
        let (on, off) = if red { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
        // Nothing is left to tell if stderr is gone.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!("{on}error:{off} {self}\n"));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.what))?;
        for cause in &self.causes {
            write!(f, "\n  {}", printable(cause))?;
        }
        for advice in &self.advice {
            write!(f, "\ncause: {}\nfix:   {}", printable(&advice.cause), printable(&advice.fix))?;
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
        let failure = Self::new(code, error.to_string()).caused_below(&error).with_all(error.advice());
        Self { nothing_there: kind == d8_rpp::ErrorKind::NotFound, ..failure }
    }
}

impl From<d8_agent::StoreError> for Failure {
    fn from(error: d8_agent::StoreError) -> Self {
        if let d8_agent::StoreError::Proxy(error) = error {
            return error.into();
        }
        Self::new(Code::Failed, error.to_string()).caused_below(&error).with_all(error.advice())
    }
}

/// Whether to colour, `NO_COLOR` over `CLICOLOR_FORCE` and `FORCE_COLOR` over the terminal.
pub(crate) fn colour(terminal: bool) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    colour_decided(set("NO_COLOR"), set("CLICOLOR_FORCE") || set("FORCE_COLOR"), terminal)
}

fn colour_decided(never: bool, always: bool, terminal: bool) -> bool {
    !never && (always || terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_category_causes_advice() {
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
    fn colours() {
        for (never, always, terminal, want) in [
            (false, false, true, true),
            (false, false, false, false),
            (false, true, false, true),
            (true, true, true, false),
        ] {
            assert_eq!(colour_decided(never, always, terminal), want, "{never} {always} {terminal}");
        }
    }
}
