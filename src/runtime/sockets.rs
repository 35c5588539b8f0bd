//! Binds every socket of the program: those that systemd hands over, else new ones, with errors that say what to do.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use listenfd::ListenFd;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::info;

use super::filter::refuse_non_queries;

/// Connections that may wait to be accepted; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Receive and send buffer of a UDP socket in octets: about a tenth of a second of queries at full load. The kernel cuts it to
/// net.core.rmem_max and wmem_max, unless the server starts as root.
const UDP_BUFFER_OCTETS: usize = 1 << 22;
/// Tries to find one free port for UDP and TCP together where port 0 asks for any.
const FREE_PORT_TRIES: usize = 16;

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {protocol} {address}: {error}")]
pub(super) struct BindError {
    /// `udp` or `tcp`.
    pub(super) protocol: &'static str,
    /// The address as configured.
    pub(super) address: SocketAddr,
    /// Why.
    pub(super) error: io::Error,
}

impl BindError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self.error.kind() {
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root, the capability CAP_NET_BIND_SERVICE, or a systemd socket unit"
            }
            io::ErrorKind::AddrInUse => "another program listens there; `ss -lnpu` and `ss -lnpt` show which",
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address",
            _ => "see the error above",
        }
    }
}

/// Sockets that were open when the program started (systemd's `LISTEN_FDS`), each until somebody wants its address.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Inherited {
    /// Takes them from the environment, once.
    pub(super) fn from_environment() -> Self {
        let mut inherited = Self::default();
        let mut descriptors = ListenFd::from_env();
        for index in 0..descriptors.len() {
            if let Ok(Some(listener)) = descriptors.take_tcp_listener(index) {
                inherited.tcp.push(listener);
            } else if let Ok(Some(socket)) = descriptors.take_udp_socket(index) {
                inherited.udp.push(socket);
            }
        }
        inherited
    }

    /// A TCP listener on `address`. `is_beside` says that this program itself has the wildcard of the same port, beside which the kernel
    /// gives connections to the more specific one.
    pub(super) fn tcp(&mut self, address: SocketAddr, is_beside: bool) -> Result<TcpListener, BindError> {
        if let Some(index) =
            self.tcp.iter().position(|listener| listener.local_addr().is_ok_and(|local| local == address))
        {
            return Ok(self.tcp.swap_remove(index));
        }
        bind_tcp(address, is_beside).map_err(|error| BindError { protocol: "tcp", address, error })
    }

    /// `n_sockets` UDP sockets on `address` for queries, which the kernel spreads over them.
    pub(super) fn udp(&mut self, address: SocketAddr, n_sockets: usize) -> Result<Vec<UdpSocket>, BindError> {
        let sockets = self.udp_unfiltered(address, n_sockets)?;
        // Without it such datagrams cost more, and are dropped all the same.
        let _ = sockets.iter().try_for_each(refuse_non_queries);
        Ok(sockets)
    }

    fn udp_unfiltered(&mut self, address: SocketAddr, n_sockets: usize) -> Result<Vec<UdpSocket>, BindError> {
        let fail = |error| BindError { protocol: "udp", address, error };
        if let Some(index) = self.udp.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address))
        {
            // One socket was handed over, so the workers share it.
            let socket = self.udp.swap_remove(index);
            return (0..n_sockets).map(|_| socket.try_clone()).collect::<io::Result<_>>().map_err(fail);
        }
        // Bound alone first: with SO_REUSEPORT another instance of the same user would share the port without a word.
        drop(bind_udp(address, false).map_err(fail)?);
        let sockets: Vec<UdpSocket> =
            (0..n_sockets).map(|_| bind_udp(address, true)).collect::<io::Result<_>>().map_err(fail)?;
        if let Some(octets) = sockets.first().and_then(buffer_octets).filter(|&octets| octets < UDP_BUFFER_OCTETS) {
            // Queries that come faster than they are answered wait there, and are lost when it is full.
            info!(%address, octets, wanted = UDP_BUFFER_OCTETS, "the kernel allows a smaller receive buffer: see net.core.rmem_max");
        }
        Ok(sockets)
    }

    /// One UDP socket on `address`.
    pub(super) fn udp_alone(&mut self, address: SocketAddr) -> Result<UdpSocket, BindError> {
        if let Some(index) = self.udp.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address))
        {
            return Ok(self.udp.swap_remove(index));
        }
        bind_udp(address, false).map_err(|error| BindError { protocol: "udp", address, error })
    }

    /// UDP and TCP on the same port of `address`, also where its port is 0.
    pub(super) fn udp_and_tcp(
        &mut self,
        address: SocketAddr,
        n_udp: usize,
    ) -> Result<(Vec<UdpSocket>, TcpListener), BindError> {
        let mut tries = if address.port() == 0 { FREE_PORT_TRIES } else { 1 };
        loop {
            tries -= 1;
            let tcp = self.tcp(address, false)?;
            let bound = tcp.local_addr().map_err(|error| BindError { protocol: "tcp", address, error })?;
            match self.udp(bound, n_udp) {
                Ok(udp) => return Ok((udp, tcp)),
                Err(_) if tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn bind_tcp(address: SocketAddr, is_beside: bool) -> io::Result<TcpListener> {
    if !is_beside {
        // Bound alone first: with SO_REUSEPORT another instance of the same user would share the port without a word.
        drop(tcp_socket(address, false)?);
    }
    let socket = tcp_socket(address, true)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn tcp_socket(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the last one in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_udp(address: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if is_shared {
        socket.set_reuse_port(true)?;
    }
    // Who may (CAP_NET_ADMIN) gets what he wants. For others larger than the kernel allows is cut, and that is no error.
    if sockopt::set_socket_recv_buffer_size_force(&socket, UDP_BUFFER_OCTETS).is_err() {
        socket.set_recv_buffer_size(UDP_BUFFER_OCTETS)?;
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, UDP_BUFFER_OCTETS).is_err() {
        socket.set_send_buffer_size(UDP_BUFFER_OCTETS)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// What queries can wait in. The kernel shows twice as much, for what it needs beside them.
fn buffer_octets(socket: &UdpSocket) -> Option<usize> {
    socket2::SockRef::from(socket).recv_buffer_size().ok().map(|octets| octets / 2)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn more_specific_address_gets_its_connections_beside_the_wildcard() {
        let mut sockets = Inherited::default();
        let wildcard = sockets.tcp(([0, 0, 0, 0], 0).into(), false).expect("wildcard");
        let port = wildcard.local_addr().expect("address").port();
        let own = sockets.tcp(([127, 0, 0, 2], port).into(), true).expect("beside it");
        for (address, expected) in [([127, 0, 0, 2], &own), ([127, 0, 0, 1], &wildcard)] {
            expected.set_nonblocking(false).expect("blocking");
            let client = TcpStream::connect(SocketAddr::from((address, port))).expect("connection");
            let (_, peer) = expected.accept().expect("accepted");
            assert_eq!(peer, client.local_addr().expect("address"));
        }
    }

    #[test]
    fn address_that_somebody_else_listens_on_is_refused() {
        let mut sockets = Inherited::default();
        let taken = sockets.tcp(([127, 0, 0, 1], 0).into(), false).expect("free port");
        let error = sockets.tcp(taken.local_addr().expect("address"), false).expect_err("taken");
        assert_eq!(error.error.kind(), io::ErrorKind::AddrInUse);
        let taken = sockets.udp(([127, 0, 0, 1], 0).into(), 2).expect("free port");
        let address = taken.first().expect("two").local_addr().expect("address");
        assert_eq!(sockets.udp(address, 2).expect_err("taken").error.kind(), io::ErrorKind::AddrInUse);
    }
}
