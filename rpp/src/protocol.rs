//! What the client and the server of the proxy agree on: image names, the paths of the routes, the
//! generations of the protocol, and the Kubernetes objects of the proxy.

pub mod cluster;
pub(crate) mod generation;
pub mod image;
