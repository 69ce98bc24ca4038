//! A forward proxy that tunnels every connection to one server, whatever the client asks for. It speaks HTTP CONNECT
//! and SOCKS 5.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::listener::head;
use crate::{Error, Result};

/// A running proxy. It ends with this process.
#[derive(Debug)]
pub struct Tunnel {
    /// Where the proxy listens: `127.0.0.1:<port>`.
    pub address: String,
    targets: Arc<Mutex<Vec<String>>>,
}

impl Tunnel {
    /// Starts a proxy whose connections all lead to `server`, `host:port`.
    pub fn to(server: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("a free port"))?;
        let address = listener.local_addr().map_err(Error::io("a free port"))?.to_string();
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let (log, server) = (Arc::clone(&targets), server.to_owned());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (log, server) = (Arc::clone(&log), server.clone());
                thread::spawn(move || {
                    let target = accept(&near)?;
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(target);
                    forward(near, TcpStream::connect(server).ok()?)
                });
            }
        });
        Ok(Self { address, targets })
    }

    /// Returns the `host:port` of each tunnel since the last call.
    pub fn take_targets(&self) -> Vec<String> {
        std::mem::take(&mut *self.targets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads and answers the request for a tunnel. Returns its target.
fn accept(near: &TcpStream) -> Option<String> {
    let mut first = [0];
    near.peek(&mut first).ok()?;
    if first == [5] { accept_socks(near) } else { accept_connect(near) }
}

fn accept_connect(mut near: &TcpStream) -> Option<String> {
    // A client sends nothing more before the answer.
    let head = head(&mut BufReader::with_capacity(1, near))?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    Some(target)
}

/// RFC 1928, without authentication.
fn accept_socks(mut near: &TcpStream) -> Option<String> {
    let methods = read(near, 2)?[1];
    read(near, methods.into())?;
    near.write_all(&[5, 0]).ok()?;
    let host = match read(near, 4)?[3] {
        1 => read(near, 4)?.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        3 => {
            let length = read(near, 1)?[0];
            String::from_utf8(read(near, length.into())?).ok()?
        }
        _ => return None,
    };
    let port = read(near, 2)?;
    near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    Some(format!("{host}:{}", u16::from_be_bytes([port[0], port[1]])))
}

fn read(mut from: &TcpStream, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).ok().map(|()| bytes)
}

/// Copies both directions until both are closed.
fn forward(near: TcpStream, far: TcpStream) -> Option<()> {
    let (mut back, mut forth) = (far.try_clone().ok()?, near.try_clone().ok()?);
    let (mut near, mut far) = (near, far);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut near);
        let _ = near.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut forth, &mut far);
    let _ = far.shutdown(Shutdown::Write);
    back.join().ok()
}
