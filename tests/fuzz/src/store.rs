//! A store with arbitrary content in its small files: receipts, contracts, locks, journals, cached policies.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use d8_agent::{SilentReporter, Store, cluster::PolicyCache};
use d8_crds::values::name::PluginName;
use tempfile::TempDir;

use crate::input::{assert_printable, split_at_zeros};

/// The files for the parts of the input, in order.
const FILES: [&str; 8] = [
    "plugins/hello/versions/v1.0.0/receipt.json",
    "plugins/hello/versions/v1.0.0/contract.json",
    "cache/contracts/hello.json",
    "plugins/hello/install.lock",
    "plugins/hello/versions/.history",
    ".staging/0123456789abcdef/journal.json",
    "digests.jsonl",
    "policy/0123456789abcdef.json",
];

fn make_directory(path: &Path) {
    fs::create_dir_all(path).expect("a directory");
}

pub(crate) fn store(data: &[u8]) {
    let memory = Path::new("/dev/shm");
    let directory = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a directory");
    let root = directory.path().join("root");
    let outside = directory.path().join("outside");
    fs::write(&outside, "untouched").expect("a file");
    make_directory(&root.join("plugins/hello/v1"));
    make_directory(&root.join("plugins/hello/versions/v1.0.0"));
    fs::write(root.join("plugins/hello/versions/v1.0.0/hello"), "binary").expect("a file");
    fs::hard_link(root.join("plugins/hello/versions/v1.0.0/hello"), root.join("plugins/hello/v1/hello"))
        .expect("a link");
    fs::set_permissions(root.join("plugins/hello/v1/hello"), fs::Permissions::from_mode(0o755)).expect("a mode");
    symlink(root.join("plugins/hello/v1/hello"), root.join("plugins/hello/current")).expect("a link");
    for (file, content) in FILES.iter().zip(split_at_zeros(data)) {
        if !content.is_empty() {
            let path = root.join(file);
            make_directory(path.parent().expect("a directory"));
            fs::write(path, content).expect("a file");
        }
    }

    let hello: PluginName = "hello".parse().expect("a name");
    let store = Store::at(&root).expect("an empty directory");
    for entry in store.list().expect("a list") {
        assert_eq!(entry.name, hello);
        for damage in &entry.damaged {
            assert_printable(&damage.why);
        }
    }
    if let Err(error) = store.contract(&hello) {
        assert_printable(&error.to_string());
    }
    if let Ok(kept) = PolicyCache::below([root.clone()]).load_all() {
        for kept in &kept {
            kept.policy_set();
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    match runtime.block_on(store.lock(std::slice::from_ref(&hello), Duration::ZERO, &SilentReporter)) {
        Ok(locked) => {
            assert!(locked.names().eq([&hello]));
            drop(locked);
            assert!(!root.join("plugins/hello/install.lock").exists(), "the lock must be released");
        }
        Err(error) => assert_printable(&error.to_string()),
    }
    assert_eq!(fs::read_to_string(&outside).expect("a file"), "untouched");
    assert_eq!(
        fs::read_dir(directory.path()).expect("a directory").count(),
        2,
        "nothing else may be written outside of the root"
    );
}
