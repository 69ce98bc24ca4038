//! The files of a version directory.

use std::path::Path;

use d8_crds::records::contract::Contract;

use super::layout::{CONTRACT, RECEIPT};
use crate::{disk, error::StoreError, receipt::Receipt};

/// Contract and receipt beside the executable, and all of it on the disk.
pub(crate) fn complete(dir: &Path, contract: Option<&Contract>, receipt: &Receipt) -> Result<(), StoreError> {
    if let Some(contract) = contract {
        let path = dir.join(CONTRACT);
        disk::write_new(&path, contract.to_json().as_bytes(), disk::PLAIN).map_err(StoreError::io("write", path))?;
    }
    let path = dir.join(RECEIPT);
    let json = serde_json::to_vec_pretty(receipt).map_err(|error| StoreError::io("write", &path)(error.into()))?;
    disk::write_new(&path, &json, disk::PLAIN).map_err(StoreError::io("write", path))?;
    disk::sync_dir(dir).map_err(StoreError::io("write", dir))
}
