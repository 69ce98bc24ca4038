//! Why a kubeconfig gives no access, without its secrets.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use d8_crds::values::text::printable;

use crate::error::Advice;

/// Why a kubeconfig cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubeconfigError {
    /// No file was found, and the process does not run in a Pod.
    #[error("no kubeconfig found{}", Listed(listed))]
    Missing {
        /// The files that `KUBECONFIG` names. None of them exists.
        listed: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("kubeconfig {}: {why}", printable(&path.display().to_string()))]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it, and in which field.
        why: String,
    },
    /// No file sets a current context, and none was given.
    #[error("the kubeconfig sets no current context")]
    NoCurrentContext,
    /// The context does not exist.
    #[error("the kubeconfig has no context {name:?}{}", Read(files))]
    NoContext {
        /// Name of the context.
        name: String,
        /// The files that were read.
        files: Vec<PathBuf>,
    },
    /// The cluster of the context cannot be used.
    #[error("cluster {name:?} in the kubeconfig{}: {why}", InFile(file))]
    Cluster {
        /// Name of the cluster.
        name: String,
        /// The file that has the cluster, or the context that names it. Empty: the kubeconfig is in no file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The user of the context cannot be used.
    #[error("user {name:?} in the kubeconfig{}: {why}", InFile(file))]
    User {
        /// Name of the user.
        name: String,
        /// The file that has the user. Empty: the kubeconfig is in no file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The credential of the user of the context cannot be sent.
    #[error("user {name:?} in the kubeconfig{}: {error}", InFile(file))]
    Credential {
        /// Name of the user.
        name: String,
        /// The file that has the user. Empty: the kubeconfig is in no file.
        file: PathBuf,
        /// What is wrong with it.
        error: CredentialError,
    },
    /// The credentials of the Pod cannot be read.
    #[error("credentials of the Pod: {0}")]
    Pod(String),
}

/// A path in a message.
struct ShownPath<'a>(&'a Path);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.0.display().to_string()))
    }
}

/// ` /home/me/config`, or nothing.
struct InFile<'a>(&'a Path);

impl fmt::Display for InFile<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() { Ok(()) } else { write!(f, " {}", ShownPath(self.0)) }
    }
}

/// ` (read: a, b)`, or nothing.
struct Read<'a>(&'a [PathBuf]);

impl fmt::Display for Read<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (read: {})", joined(self.0)) }
    }
}

/// `: KUBECONFIG names a, which does not exist`, or nothing.
struct Listed<'a>(&'a [PathBuf]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => Ok(()),
            [one] => write!(f, ": KUBECONFIG names {}, which does not exist", ShownPath(one)),
            several => write!(f, ": KUBECONFIG names {}, and none of them exists", joined(several)),
        }
    }
}

fn joined(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| ShownPath(path).to_string()).collect::<Vec<_>>().join(", ")
}

impl KubeconfigError {
    pub(crate) fn advice(&self) -> Advice {
        let (cause, fix) = match self {
            Self::Missing { listed } if !listed.is_empty() => (
                "files in `KUBECONFIG` that do not exist are ignored, and there is no other",
                "correct the variable: `export KUBECONFIG=FILE`; or remove it for ~/.kube/config: `unset KUBECONFIG`"
                    .to_owned(),
            ),
            Self::Missing { .. } => (
                "neither `--kubeconfig` nor `KUBECONFIG` names an existing file, and there is no ~/.kube/config",
                "set `KUBECONFIG`: `export KUBECONFIG=FILE`".to_owned(),
            ),
            Self::File { path, .. } => (
                "the file is missing, unreadable, or not a kubeconfig",
                format!("check it: `kubectl --kubeconfig {} config view`", printable(&path.display().to_string())),
            ),
            Self::NoCurrentContext | Self::NoContext { .. } => (
                "no context selects the cluster and the user",
                "choose one of `kubectl config get-contexts`, and pass `--context NAME` or set `current-context`"
                    .to_owned(),
            ),
            Self::Cluster { .. } | Self::User { .. } => (
                "a field of the cluster or of the user is wrong",
                "check them: `kubectl config view --minify`".to_owned(),
            ),
            Self::Credential { error, .. } => return error.advice(),
            Self::Pod(_) => (
                "the process runs in a Pod without a usable ServiceAccount",
                "set `automountServiceAccountToken: true` in the Pod".to_owned(),
            ),
        };
        Advice { cause: cause.to_owned(), fix }
    }
}

/// Why a user's credentials cannot be sent. Never contains a credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct CredentialError {
    why: String,
    /// What to do, if it is known.
    advice: Option<Box<Advice>>,
    /// The last words of a plugin.
    #[source]
    output: Option<PluginOutput>,
}

/// The last lines that a credential plugin wrote to stderr, as one printable line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it wrote: {0}")]
pub struct PluginOutput(String);

impl CredentialError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), advice: None, output: None }
    }

    /// Adds how to install a missing plugin, as the kubeconfig says.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        if hint.is_empty() { self } else { self.with_fix("the kubeconfig says how to install the plugin", hint) }
    }

    pub(crate) fn with_fix(mut self, cause: impl Into<String>, fix: impl Into<String>) -> Self {
        self.advice = Some(Box::new(Advice { cause: cause.into(), fix: fix.into() }));
        self
    }

    pub(crate) fn with_output(mut self, lines: String) -> Self {
        self.output = Some(lines).filter(|lines| !lines.is_empty()).map(PluginOutput);
        self
    }

    pub(crate) fn advice(&self) -> Advice {
        self.advice.as_deref().cloned().unwrap_or_else(|| Advice {
            cause: "the user in the kubeconfig has no usable token".to_owned(),
            fix: "log in again, or check the user: `kubectl auth whoami`".to_owned(),
        })
    }
}
