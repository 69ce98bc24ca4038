//! The shipped binaries against a real control plane: the operator with the chart's `ServiceAccount`, and `d8` as
//! ordinary users.
//!
//! Tests share one lab and run in parallel. Each test publishes plugins with its own names and has its own
//! workstation. A policy here names only the plugins of its test, because it applies to every workstation. A test
//! that pauses everything, requires a plugin or stops a server starts its own lab.

mod agent_config;
mod agent_own_d8;
mod agent_ticks;
mod clocks;
mod connections;
mod cookbook;
mod damaged_installs;
mod download_access;
mod file_systems;
mod fleet;
mod host_identities;
mod hostile_images;
mod image_formats;
mod input;
mod install;
mod kubeconfigs;
mod managed_hosts;
mod offline;
mod operator_pin;
mod planted_files;
mod plugin_dependencies;
mod policy;
mod policy_check;
mod policy_commands;
mod policy_edits;
mod policy_unaware;
mod prereleases;
mod proxy_faults;
mod proxy_trust;
mod repair;
mod required;
mod restored_copies;
mod self_update;
mod self_update_concurrency;
mod self_update_paths;
mod standard_streams;
mod subjects;
mod terminal;
mod time_gates;
mod unknown_requirements;
mod viewer_role;
mod without_operator;
