//! A server with a certificate of another CA that is announced as the proxy, and records what it receives.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Pair, Result, listener};

/// The server. It ends with this process.
pub struct ForeignProxy {
    address: String,
    connections: Arc<AtomicUsize>,
    received: Arc<Mutex<Vec<u8>>>,
}

impl ForeignProxy {
    /// Starts it on a free port of 127.0.0.1.
    pub fn start(pair: &Pair, name: &str) -> Result<Self> {
        let (connections, received) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counter, buffer) = (connections.clone(), received.clone());
        let address = listener::listen_with(pair, name, move |mut stream| {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut bytes = [0; 4096];
            // The first read makes the handshake. It fails if the client refuses the certificate.
            let count = stream.get_mut().read(&mut bytes).ok()?;
            buffer.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..count]);
            Some(())
        })?;
        Ok(Self { address, connections, received })
    }

    /// Returns the address of the server: `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What clients sent over TLS so far.
    pub fn received(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}
