//! The table of limits: how much fits into a record, a contract and a message.
//!
//! The API server enforces the limits of the records, so a writer trims a record to them first. A limit
//! of a text counts characters and a limit of a list counts entries, if its description names no other unit.

// Texts of the records.

/// DNS subdomain (RFC 1123): longest name of a Kubernetes object and longest prefix of a label key.
pub const DNS_SUBDOMAIN: usize = 253;
/// Name of a Kubernetes object that is a DNS label (RFC 1123).
pub const NAME: usize = 63;
/// Name of a component in the status of a host or a policy. Longer than [`NAME`]: a host may run a
/// plugin whose name cannot be the name of a record.
pub const COMPONENT: usize = PLUGIN_NAME;
/// Key of a label: prefix, `/` and name.
pub const LABEL_KEY: usize = DNS_SUBDOMAIN + 1 + NAME;
/// Time in RFC 3339.
pub const TIMESTAMP: usize = 40;
/// Version or tag of a component.
pub const VERSION: usize = 128;
/// Version constraint in a record or a contract.
pub const CONSTRAINT: usize = 256;
/// Digest: `sha256:` and 64 hex digits.
pub const DIGEST: usize = 71;
/// Platform, `<os>-<arch>` in the names of Go.
pub const PLATFORM: usize = 33;
/// Length of the hash of a machine that reports.
pub const MACHINE: usize = 64;
/// Duration, for example `1h30m`.
pub const DURATION: usize = 32;
/// User name in `CliHost.spec.identity`.
pub const IDENTITY: usize = 512;
/// Reason or type of a condition, one word in CamelCase.
pub const REASON: usize = 64;
/// Message of a condition or a component.
pub const STATUS_MESSAGE: usize = 1024;
/// Any other short text, such as the name of a module or the version of a cluster.
pub const SHORT_TEXT: usize = 128;

// `CliRelease`.

/// Largest value of `spec.history`.
pub const HISTORY: u32 = 50;
/// Entries of `status.versions`, with the versions that are kept beyond `spec.history`.
pub const VERSIONS: usize = 250;
/// Entries of `status.versions[].reasons`. If there are more reasons, the last entry says how many.
pub const FIT_REASONS: usize = 8;
/// Length of each of those reasons.
pub const FIT_REASON: usize = 256;
/// Entries of `status.versions[].artifacts` and of `spec.platforms`.
pub const PLATFORMS: usize = 32;
/// Entries of `status.versions[].leftOut`. Other parts of the image are not listed.
pub const LEFT_OUT: usize = 8;
/// Entries of `status.leftOutTags.tags`. Other tags are only counted.
pub const LEFT_OUT_TAGS: usize = 16;
/// Entries of a contract's `env` or `flags`.
pub const CONTRACT_LIST: usize = 128;
/// Description in a contract.
pub const DESCRIPTION: usize = 1024;
/// Modules or plugins in one list of requirements.
pub const REQUIREMENTS: usize = 256;
/// Groups of modules in `anyOf` or `noneOf`.
pub const GROUPS: usize = 64;

// `PluginPolicy`.

/// Entries of `spec.subjects.groups` and of `spec.subjects.users`.
pub const SUBJECTS: usize = 64;
/// Name of a user or a group.
pub const SUBJECT: usize = IDENTITY;
/// Entries of `spec.rules` of one policy.
pub const RULES: usize = 128;
/// Entries of a rule's `plugins`.
pub const RULE_PLUGINS: usize = 64;
/// Entries of a rule's `block`, `expedite` or `pins`.
pub const RULE_VERSIONS: usize = 64;
/// Length of each of those versions. Shorter than [`VERSION`] because of the cost budget of CEL rules.
pub const RULE_VERSION: usize = 64;
/// Length of a rule's `message`.
pub const RULE_MESSAGE: usize = 512;
/// Entries of `spec.windows` of one policy.
pub const WINDOWS: usize = 32;
/// Entries of `spec.blackouts` of one policy.
pub const BLACKOUTS: usize = 32;
/// Length of a blackout's `reason`.
pub const BLACKOUT_REASON: usize = 512;
/// Largest value of `spec.rollout.maxFailed` and of `spec.rollout.requireSucceeded.hosts`.
pub const MAX_FAILED: u32 = 100_000;
/// Largest value of `spec.rollout.canaryPercent`.
pub const CANARY_PERCENT: u32 = 50;
/// Entries of `matchLabels` and of `matchExpressions` in a label selector.
pub const EXPRESSIONS: usize = 16;
/// Values of one of those expressions.
pub const EXPRESSION_VALUES: usize = 32;
/// Entries of `status.components` of a policy or a host.
pub const COMPONENTS: usize = 1024;
/// Waves of one component in the status of a policy.
pub const WAVES: usize = 32;

// `CliHost` and conditions.

/// Entries of `status.policies` of a host.
pub const POLICIES: usize = 256;
/// Entries of `status.conditions` of any record.
pub const CONDITIONS: usize = 16;

// Contracts and names outside of records.

/// Size of a contract, in bytes of JSON or YAML.
pub const CONTRACT_BYTES: usize = 1 << 20;
/// Name of a module, a group, a variable or a flag in a contract, in bytes.
pub const CONTRACT_NAME: usize = DNS_SUBDOMAIN;
/// Nesting of a contract in YAML. A valid contract needs eight levels.
pub const YAML_DEPTH: usize = 32;
/// Nodes of a contract in YAML. More than [`CONTRACT_BYTES`] of a valid contract can have.
pub const YAML_NODES: usize = 250_000;
/// Events that the aliases of a contract in YAML may repeat: enough for a list that several groups share.
pub const YAML_REPLAYED_EVENTS: usize = 100_000;
/// Name of a plugin, in bytes. The OCI distribution spec allows 255 for the whole name of a repository,
/// and the path of the proxy takes a part of it.
pub const PLUGIN_NAME: usize = 128;
/// Tag, in bytes (OCI distribution spec).
pub const TAG: usize = 128;

// Messages.

/// One line of a message that quotes texts from outside, commands included.
pub const MESSAGE_LINE: usize = 4096;
/// Text from outside that a message quotes.
pub const QUOTED_TEXT: usize = 256;
/// Text from outside in the error that refuses it.
pub const REFUSED_TEXT: usize = 128;
/// Path of a field in an error.
pub const FIELD_PATH: usize = 200;
/// Description of what is wrong with a field.
pub const FIELD_ERROR: usize = 300;
/// Errors that are reported for one record.
pub const FIELD_ERRORS: usize = 100;
/// Hints in one warning about a version constraint.
pub const CONSTRAINT_HINTS: usize = 4;

// Downloads and files, in bytes.

/// Size of a component's tag list.
pub const TAG_LIST_BYTES: usize = 4 << 20;
/// Size of a manifest or an index.
pub const MANIFEST_BYTES: usize = 1 << 20;
/// Platforms of one image.
pub const IMAGE_PLATFORMS: usize = 64;
/// Size of a layer, compressed.
pub const LAYER_BYTES: u64 = 1 << 30;
/// Size of a layer, unpacked.
pub const ARCHIVE_BYTES: u64 = 1 << 30;
/// Size of an executable.
pub const EXECUTABLE_BYTES: u64 = 512 << 20;
/// Size of a receipt, a pinned endpoint or another small file that d8 writes.
pub const RECEIPT_BYTES: u64 = 1 << 20;
/// Size of the configuration of a host, in bytes.
pub const HOST_CONFIG_BYTES: u64 = 64 << 10;
/// Size of the journal of a change to a store.
pub const JOURNAL_BYTES: u64 = 1 << 20;
/// Size of the log of digests in a store: about 300,000 versions.
pub const DIGEST_LOG_BYTES: u64 = 64 << 20;
/// Size of the cached policies of one cluster. The API server stores at most 1.5 MiB of each policy.
pub const POLICY_CACHE_BYTES: u64 = 256 << 20;
/// Size of a file with policies.
pub const POLICY_FILE_BYTES: u64 = 64 << 20;
/// Size of a file with certificates.
pub const CA_FILE_BYTES: u64 = 4 << 20;
/// Size of a file with credentials for a registry.
pub const CREDENTIALS_BYTES: u64 = 1 << 20;
/// Size of `index.json` in an OCI image layout: about 50,000 tags.
pub const LAYOUT_INDEX_BYTES: u64 = 16 << 20;
