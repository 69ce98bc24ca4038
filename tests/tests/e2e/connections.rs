//! Connections of the shipped binaries: the sockets of the running processes, as the kernel knows them.
// Helpers of the tests panic, as the tests do.
#![allow(clippy::expect_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::process::Stdio;
use std::time::Duration;

use d8_tests::process::wait_for;
use d8_tests::{Lab, Result, tools};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

const LIMIT: Duration = Duration::from_secs(20);
/// Time that a server gives a client for the headers of a request.
const HEADERS: Duration = Duration::from_secs(15);

/// Returns both addresses of each TCP connection of a process, and whether it sends without delay (`TCP_NODELAY`).
fn connections(pid: i32) -> Vec<(SocketAddr, SocketAddr, bool)> {
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).expect("a process");
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process");
    entries
        .flatten()
        .filter(|entry| entry.path().read_link().is_ok_and(|to| to.to_string_lossy().starts_with("socket:")))
        .filter_map(|entry| {
            let number: RawFd = entry.file_name().to_str()?.parse().ok()?;
            // It may be closed already.
            let stream = TcpStream::from(pidfd_getfd(&process, number, PidfdGetfdFlags::empty()).ok()?);
            Some((stream.local_addr().ok()?, stream.peer_addr().ok()?, stream.nodelay().ok()?))
        })
        .collect()
}

fn pid_of(lab: &Lab, server: &str) -> i32 {
    let file = lab.plane().scratch().path().join(format!("{server}.pid"));
    std::fs::read_to_string(file).expect("a server of the lab").trim().parse().expect("a process ID")
}

#[test]
fn the_servers_send_without_delay() -> Result<()> {
    let lab = Lab::shared();
    let api: SocketAddr = lab.plane().url().trim_start_matches("https://").parse().expect("an address");
    let operator = pid_of(lab, "d8-operator");
    let to_api = wait_for("connections of the operator", LIMIT, || {
        let found: Vec<_> = connections(operator).into_iter().filter(|(_, to, _)| *to == api).collect();
        (!found.is_empty()).then_some(found)
    })?;
    assert!(to_api.iter().all(|(.., nodelay)| *nodelay), "{to_api:?}");

    let proxy = pid_of(lab, "d8-rpp");
    let client = TcpStream::connect(lab.proxy().address()).expect("a connection to the proxy");
    let own = client.local_addr().expect("an address");
    let accepted = wait_for("the accepted connection", LIMIT, || {
        connections(proxy).into_iter().find(|(_, from, nodelay)| *from == own && *nodelay)
    });
    accepted.map(drop)
}

#[test]
fn d8_sends_without_delay() -> Result<()> {
    let alice = Lab::shared().new_workstation()?;
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = server.local_addr().expect("an address");
    let kubeconfig = alice.home().join("silent");
    let text = std::fs::read_to_string(alice.kubeconfig()).expect("a kubeconfig");
    let text = text.replace(&Lab::shared().plane().url(), &format!("https://{address}"));
    std::fs::write(&kubeconfig, text).expect("a kubeconfig");
    let mut command = std::process::Command::new(tools::binary("d8")?);
    alice.environment(&mut command);
    let mut d8 = command
        .args(["policy", "get"])
        .env("KUBECONFIG", kubeconfig)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("d8 starts");
    let (mut connection, _) = server.accept().expect("a connection");
    // Then it has set its options, and it waits for the answer to its TLS handshake, which never comes.
    connection.read_exact(&mut [0]).expect("the first byte of the handshake");
    let pid = i32::try_from(d8.id()).expect("a process ID");
    let found: Vec<_> = connections(pid).into_iter().filter(|(_, to, _)| *to == address).collect();
    let _ = d8.kill();
    let _ = d8.wait();
    drop(connection);
    assert!(!found.is_empty() && found.iter().all(|(.., nodelay)| *nodelay), "{found:?}");
    Ok(())
}

/// Clients of the operator's address for probes and metrics cannot make the kubelet restart the operator.
#[test]
fn the_probes_of_the_operator_are_answered_whatever_others_send() {
    let lab = Lab::shared();
    let open = |sent: &str| {
        let mut stream = TcpStream::connect(lab.operator_address()).expect("a connection to the operator");
        stream.write_all(sent.as_bytes()).expect("a part of a request");
        stream
    };
    let slow = [open("GET /healthz HTTP/1.1\r\nHos"), open("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), open("")];
    let probe = |what: &str| {
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(lab.operator_get(path).map(|(code, _)| code), Some(200), "{what}: {path}");
        }
    };
    probe("slow headers");
    for mut stream in slow {
        stream.set_read_timeout(Some(3 * HEADERS)).expect("a timeout");
        let end = stream.read_to_end(&mut Vec::new());
        let is_closed = !matches!(&end, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(is_closed, "the operator does not close the connection: {end:?}");
    }
    let idle: Vec<_> = (0..200).map(|_| open("")).collect();
    probe("idle connections");
    let (_, metrics) = lab.operator_get("/metrics").expect("metrics");
    let open: usize = metrics
        .lines()
        .find_map(|line| line.strip_prefix("d8_operator_connections "))
        .and_then(|count| count.parse().ok())
        .expect("the number of connections");
    assert!(open <= 64, "{open} connections");
    drop(idle);
}
