//! From staged versions, or versions on disk, to `current`.

use d8_crds::name::PluginName;
use jiff::Timestamp;

use super::{Installed, Locked};
use crate::{
    error::StoreError,
    order::{Change, Kept, Outcome},
    progress::Watch,
};
use d8_crds::name::Tag;

impl Locked {
    /// Makes the changes, in this order: dependencies first. All or none: a failure puts back what was
    /// switched. An install of another tool is adopted first.
    pub async fn switch(
        &mut self,
        changes: Vec<Change>,
        now: Timestamp,
        watch: &dyn Watch,
    ) -> Result<Vec<Outcome>, StoreError> {
        let _ = (changes, now, watch);
        Ok(Vec::new())
    }

    /// Takes over an install of another tool, so that its version is known. `None` if there is nothing to adopt.
    pub async fn adopt(&mut self, name: &PluginName, now: Timestamp) -> Result<Option<Installed>, StoreError> {
        let _ = (name, now);
        Ok(None)
    }

    /// Goes back to the version that was active before.
    pub async fn rollback(
        &mut self,
        name: &PluginName,
        now: Timestamp,
        watch: &dyn Watch,
    ) -> Result<Outcome, StoreError> {
        let _ = (now, watch);
        Err(StoreError::NoPrevious { name: name.clone() })
    }

    /// Takes a plugin away with its versions, cached contract and receipts. `false` if there was none.
    pub fn remove(&mut self, name: &PluginName) -> Result<bool, StoreError> {
        let _ = name;
        Ok(false)
    }

    /// Takes away the versions that need not be kept and says which.
    pub fn prune(&mut self, name: &PluginName, kept: &Kept) -> Result<Vec<Tag>, StoreError> {
        let _ = (name, kept);
        Ok(Vec::new())
    }
}
