//! What policies select this machine by: the name and the labels of a managed host, or those of a workstation.

use std::collections::BTreeMap;

use d8_agent::{
    enrolled_host::{EnrolledHost, EnrolledHostState},
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
    /// Why it is not known whether an admin enrolled the machine, and as which host.
    unreadable: Option<Failure>,
}

impl Context {
    /// Returns this machine. Reads the identity of a managed host, which only root can write, and nothing that a user
    /// sets.
    pub(super) fn machine(&self) -> &Machine {
        self.machine.get_or_init(|| match EnrolledHostState::at(&self.state_dir).read() {
            Ok(Some(EnrolledHost { name, labels })) => Machine { id: Some(name.into()), labels, unreadable: None },
            Ok(None) => self.workstation(None),
            Err(error) => {
                let headline = "it is not known which managed host this machine is";
                let failure = Failure::new(Code::Refused, headline).caused_by(&error).advise(
                    format!("a file in {} is damaged, or others than root can change it", self.state_dir.display()),
                    "join again, with a file of `d8 host rotate NAME`: `d8 agent join FILE`",
                );
                self.workstation(Some(failure))
            }
        })
    }

    fn workstation(&self, unreadable: Option<Failure>) -> Machine {
        let (stores, _) = self.roots().for_reading();
        let id = stores.iter().find_map(|store| host_id::read(store.root()));
        Machine { id, labels: verdict::workstation_labels(&self.platform), unreadable }
    }

    /// Fails where policies are about to be evaluated and it is not known which host this is: other policies may apply
    /// to a managed host.
    ///
    /// # Errors
    /// The identity of the managed host cannot be read: exit 3.
    pub(super) fn check_machine(&self) -> Result<(), Failure> {
        self.machine().unreadable.clone().map_or(Ok(()), Err)
    }
}
