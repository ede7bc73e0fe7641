//! Connections to others, each wait with an end.

use rustix::event::{PollFd, Timespec};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Why there is no connection.
#[derive(Debug)]
pub enum Unreached {
    /// The name means nothing.
    Unknown(io::Error),
    /// Nobody takes it.
    Refused(io::Error),
}

/// Connects to the first address of `host` that takes it; each has so long. What is written
/// goes at once.
///
/// # Errors
/// That of the last address.
pub fn connect(host: &str, port: u16, patience: Duration) -> Result<TcpStream, Unreached> {
    let resolved = (host, port).to_socket_addrs().map_err(Unreached::Unknown)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolved {
        let connected = TcpStream::connect_timeout(&address, patience)
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        match connected {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(Unreached::Refused(last))
}

/// What it means that nobody takes a connection; `whom` is who should listen there.
pub fn unreachable(whom: &str, e: &io::Error) -> String {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens there; check that the {whom} runs, and its port")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            "it cannot be reached; check its address, the network and the firewall".into()
        }
        io::ErrorKind::PermissionDenied => {
            "this service may not reach it; allow it in its unit (IPAddressAllow, PrivateNetwork)"
                .into()
        }
        _ => format!("{e}; check its address and the network"),
    }
}

/// Waits until the first of them is ready, any of the others is, or for `patience`; whether
/// the first is.
///
/// # Errors
/// The system's.
pub fn ready(polled: &mut [PollFd<'_>], patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match rustix::event::poll(polled, Some(&patience)) {
        Ok(_) => Ok(!polled[0].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
