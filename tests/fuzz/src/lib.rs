//! Fuzz targets.
//!
//! A target takes any bytes and gives them to one reader or decision of the project. It panics if that code
//! panics, contradicts itself or returns a message that is not printable. `make fuzz` runs the targets with
//! libFuzzer. The seeds in `seeds/<target>/`, which include past findings, run with all other tests.
#![warn(missing_docs)]

mod bytes;
mod contract;
mod input;
mod kubeconfig;
mod plan;
mod policy;
mod store;
mod text;

/// A fuzz target with its name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Name of the target and of its directory of seeds.
    pub name: &'static str,
    /// Runs the target with any bytes.
    pub run: fn(&[u8]),
}

/// The fuzz targets, each with a directory of seeds.
pub const TARGETS: &[Target] = &[
    Target { name: "version", run: text::version },
    Target { name: "constraint", run: text::constraint },
    Target { name: "words", run: text::short_texts },
    Target { name: "tags", run: text::tags },
    Target { name: "contract_json", run: contract::json },
    Target { name: "contract_yaml", run: contract::yaml },
    Target { name: "contract_annotation", run: contract::annotation },
    Target { name: "requirements", run: contract::requirements },
    Target { name: "policy", run: policy::policy },
    Target { name: "window", run: policy::window },
    Target { name: "plan", run: plan::plan },
    Target { name: "layer", run: bytes::layer },
    Target { name: "discovery", run: bytes::discovery },
    Target { name: "store", run: store::store },
    Target { name: "kubeconfig", run: kubeconfig::kubeconfig },
    Target { name: "certificates", run: kubeconfig::certificates },
    Target { name: "token", run: kubeconfig::token },
    Target { name: "no_proxy", run: kubeconfig::no_proxy },
];

/// Returns the target with a name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
