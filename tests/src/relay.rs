//! A TCP relay between clients and one server, whose traffic a test slows or cuts.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::{Error, Result};

/// How often a connection without traffic looks whether it was cut.
const CHECK: Duration = Duration::from_millis(100);

/// What happens to the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It passes.
    Open,
    /// Each connection passes about this many bytes per second.
    Slow(u32),
    /// Connections are closed, new ones at once.
    Cut,
}

/// A running relay. It ends with this process.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where the relay listens: `127.0.0.1:<port>`.
    pub address: String,
    traffic: Arc<Mutex<Traffic>>,
}

impl Relay {
    /// Starts a relay to `server`, `host:port`.
    pub fn to(server: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("a free port"))?;
        let address = listener.local_addr().map_err(Error::io("a free port"))?.to_string();
        let relay = Self { address, traffic: Arc::new(Mutex::new(Traffic::Open)) };
        let (clients, server) = (relay.clone(), server.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (relay, server) = (clients.clone(), server.clone());
                thread::spawn(move || relay.forward(&near, &server));
            }
        });
        Ok(relay)
    }

    /// Changes what happens to the traffic, also of connections that are open.
    pub fn set(&self, traffic: Traffic) {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner) = traffic;
    }

    fn traffic(&self) -> Traffic {
        *self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, near: &TcpStream, server: &str) -> Option<()> {
        if self.traffic() == Traffic::Cut {
            return None;
        }
        let far = TcpStream::connect(server).ok()?;
        thread::scope(|scope| {
            scope.spawn(|| self.copy(near, &far));
            self.copy(&far, near);
        });
        Some(())
    }

    /// Copies one direction until it ends or is cut.
    fn copy(&self, mut from: &TcpStream, mut to: &TcpStream) -> Option<()> {
        from.set_read_timeout(Some(CHECK)).ok()?;
        let mut buffer = [0; 16 * 1024];
        loop {
            let traffic = self.traffic();
            // A slow connection passes a part ten times a second.
            let part = match traffic {
                Traffic::Slow(rate) => usize::try_from(rate / 10).unwrap_or_default().clamp(1, buffer.len()),
                Traffic::Open | Traffic::Cut => buffer.len(),
            };
            let read = match from.read(&mut buffer[..part]) {
                _ if traffic == Traffic::Cut => None,
                Ok(0) => {
                    let _ = to.shutdown(Shutdown::Write);
                    return Some(());
                }
                Ok(read) => Some(read),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => Some(0),
                Err(_) => None,
            };
            let written = read.and_then(|read| to.write_all(&buffer[..read]).ok());
            if written.is_none() {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return None;
            }
            if matches!(traffic, Traffic::Slow(_)) {
                thread::sleep(CHECK);
            }
        }
    }
}
