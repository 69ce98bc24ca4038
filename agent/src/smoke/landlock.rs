//! Landlock: what an executable may do with files, other processes and the network, without any rights or namespaces.

use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    Scope, path_beneath_rules,
};

use super::view::DEVICES;

/// The newest version of the interface that is used. An older kernel restricts less.
const NEWEST: ABI = ABI::V10;

/// Restricts this process, and what it starts, to write below these directories only, to signal and trace only
/// processes that it started, and to connect to nothing. A kernel without Landlock restricts nothing.
pub(super) fn restrict(writable: &[Option<&Path>]) {
    let _ = try_restrict(writable);
}

fn try_restrict(writable: &[Option<&Path>]) -> Result<(), RulesetError> {
    let devices = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(devices, AccessFs::WriteFile | AccessFs::IoctlDev))?
        .add_rules(path_beneath_rules(writable.iter().flatten(), files()))?
        .restrict_self()
        .map(|_| ())
}

/// Returns all operations on files and directories, without devices.
fn files() -> BitFlags<AccessFs> {
    AccessFs::from_all(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock)
}
