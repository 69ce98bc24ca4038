//! What policies select this machine by: the name and the labels of a managed host, or those of a workstation; and what
//! its owner forbids.

use std::{collections::BTreeMap, path::Path};

use d8_agent::{
    agent_config::{AgentConfig, AgentConfigError},
    enrolled_host::{EnrolledHost, EnrolledHostError, EnrolledHostState},
    host_id,
};
use d8_crds::decisions::verdict;

use super::Context;
use crate::terminal::failure::{Code, Failure};

/// This machine, as policies select it.
pub(super) struct Machine {
    /// The name of the managed host, or the random id in a root; `None` if no root has one yet. A host without an id
    /// comes last in waves.
    pub(super) id: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// An admin enrolled it.
    pub(super) is_managed: bool,
    pub(super) config: AgentConfig,
    /// Why it is not known whether an admin enrolled the machine, and as which host, or what its owner forbids.
    unreadable: Option<Failure>,
}

impl Context {
    /// Returns this machine. Reads the identity of a managed host and its configuration, which only root can write, and
    /// nothing that a user sets.
    pub(super) fn machine(&self) -> &Machine {
        self.machine.get_or_init(|| {
            let (config, config_failure) = match AgentConfig::read(&self.config_file) {
                Ok(config) => (config, None),
                Err(error) => (AgentConfig::default(), Some(config_failure(&self.config_file, &error))),
            };
            match EnrolledHostState::at(&self.state_dir).read() {
                Ok(Some(EnrolledHost { name, labels })) => {
                    let id = Some(name.into());
                    Machine { id, labels, is_managed: true, config, unreadable: config_failure }
                }
                Ok(None) => Machine { config, unreadable: config_failure, ..self.workstation() },
                Err(error) => {
                    let unreadable = Some(identity_failure(&self.state_dir, &error));
                    // The copies in the home directory of a user do not count either.
                    Machine { config, unreadable, is_managed: true, ..self.workstation() }
                }
            }
        })
    }

    fn workstation(&self) -> Machine {
        let (stores, _) = self.roots().for_reading();
        let id = stores.iter().find_map(|store| host_id::read(store.root()));
        let labels = verdict::workstation_labels(&self.platform);
        Machine { id, labels, is_managed: false, config: AgentConfig::default(), unreadable: None }
    }

    /// Fails where policies are about to be evaluated and it is not known which host this is, or what its owner forbids.
    ///
    /// # Errors
    /// The identity of the managed host, or its configuration, cannot be used: exit 3.
    pub(super) fn check_machine(&self) -> Result<(), Failure> {
        self.machine().unreadable.clone().map_or(Ok(()), Err)
    }
}

fn identity_failure(state_dir: &Path, error: &EnrolledHostError) -> Failure {
    Failure::new(Code::Refused, "it is not known which managed host this machine is").caused_by(error).advise(
        format!("a file in {} is damaged, or others than root can change it", state_dir.display()),
        "join again, with a file of `d8 host rotate NAME`: `d8 agent join FILE`",
    )
}

fn config_failure(file: &Path, error: &AgentConfigError) -> Failure {
    let failure =
        Failure::new(Code::Refused, format!("the configuration of this host, {}, cannot be used", file.display()));
    let failure = failure.caused_by(error);
    match error {
        AgentConfigError::Untrusted(_) => failure.advise(
            "others than root can change it",
            format!("as root: `chown root {0} && chmod 644 {0}`", file.display()),
        ),
        AgentConfigError::Io(_) => failure,
        _ => failure
            .advise("its rules bind every d8 on this machine, so none of them is skipped", "correct the file as root"),
    }
}
