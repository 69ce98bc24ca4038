//! What both ledgers have in common: the data of a ConfigMap, and the error for data that cannot be read.

use std::collections::BTreeMap;

use d8_crds::values::text::without_type_names;

/// The data of a ConfigMap.
pub(crate) type Data = BTreeMap<String, String>;

/// State that must survive the loss of a status. Each ledger has its own ConfigMap.
pub(crate) trait Ledger: Sized + PartialEq {
    /// Prefix of the ConfigMap's name; the name of the ledger's owner follows.
    const NAME_PREFIX: &'static str;
    /// Label that names the owner.
    const OWNER_LABEL: &'static str;
    /// Where the operator takes the times from if the ConfigMap is deleted.
    const FALLBACK: &'static str;

    /// Reads the data of the ConfigMap; no data at all is a new ledger.
    fn from_data(data: &Data) -> Result<Self, LedgerError>;

    /// Returns the data of the ConfigMap.
    fn to_data(&self) -> Data;
}

/// Why a ledger cannot be read. Its times cannot be made up, so nothing is evaluated without it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {key:?} is not readable: {why}")]
pub(crate) struct LedgerError {
    key: String,
    why: String,
}

impl LedgerError {
    /// Makes the error for one key.
    pub(crate) fn new(key: &str, why: &dyn ToString) -> Self {
        Self { key: key.to_owned(), why: without_type_names(&why.to_string()).into_owned() }
    }
}
