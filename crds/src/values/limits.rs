//! How much fits into a record. The API server refuses more, so whoever writes a record trims to these
//! first. Texts are counted in characters by the schema, lists in entries.

/// A name that is a DNS label.
pub const NAME: u64 = 63;
/// A component's name in a host's report: a plugin that cannot have a record may run there.
pub const COMPONENT: u64 = 128;
/// A version or tag.
pub const VERSION: u64 = 128;
/// A constraint.
pub const CONSTRAINT: u64 = 256;
/// `sha256:` and 64 digits.
pub const DIGEST: u64 = 71;
/// `<os>-<arch>`.
pub const PLATFORM: u64 = 33;
/// A duration.
pub const DURATION: u64 = 32;
/// A user's name.
pub const IDENTITY: u64 = 512;
/// A reason: one word of the list in `docs/policies.md`.
pub const REASON: u64 = 64;
/// A sentence for people.
pub const SENTENCE: u64 = 1024;
/// Anything else that is one word.
pub const WORD: u64 = 128;

/// `CliRelease.status.versions`.
pub const VERSIONS: u64 = 250;
/// `CliRelease.status.versions[].reasons`.
pub const REASONS: u64 = 8;
/// Each of those reasons.
pub const REASON_SENTENCE: u64 = 256;
/// `CliRelease.status.versions[].artifacts`, `CliRelease.spec.platforms`.
pub const PLATFORMS: u64 = 32;
/// What a contract lists: variables, flags.
pub const CONTRACT_LIST: u64 = 128;
/// A contract's description.
pub const DESCRIPTION: u64 = 1024;
/// Modules or plugins in one list of requirements.
pub const REQUIREMENTS: u64 = 256;
/// Groups of modules in `anyOf` or `noneOf`.
pub const GROUPS: u64 = 64;

/// `PluginPolicy.spec.rules`.
pub const RULES: u64 = 128;
/// Plugins that one rule names.
pub const RULE_PLUGINS: u64 = 64;
/// Versions in one `block`, `expedite` or `pins`.
pub const RULE_VERSIONS: u64 = 64;
/// Each of those versions, shorter than others for the sake of the rules' cost.
pub const RULE_VERSION: u64 = 64;
/// `message` of a rule.
pub const MESSAGE: u64 = 512;
/// `PluginPolicy.spec.windows`.
pub const WINDOWS: u64 = 32;
/// `rollout.maxFailed`.
pub const MAX_FAILED: u64 = 100_000;
/// Expressions in a label selector.
pub const EXPRESSIONS: u64 = 16;
/// Values in one of those expressions.
pub const EXPRESSION_VALUES: u64 = 32;
/// `components` of a policy's or a host's status.
pub const COMPONENTS: u64 = 1024;
/// Versions whose wave a policy's status shows, a component.
pub const WAVES: u64 = 32;
/// Policies that a host names in its status.
pub const POLICIES: u64 = 256;
/// Conditions of any record.
pub const CONDITIONS: u64 = 16;
