//! The sockets of a node, bound before anything else happens: a port that is taken is the commonest reason not to start.

use super::LaunchError;
use crate::config::{Address, Config, Sources};
use crate::doors::tls_address;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use transport::limits::SOCKET_BUFFER_BYTES;

/// A node's bound sockets.
#[derive(Debug)]
pub struct Sockets {
    /// For clients. It is bound even if clients may come over TLS only: nobody else is to take its place.
    pub resp: TcpListener,
    /// For clients over TLS.
    pub tls: Option<TcpListener>,
    /// For other nodes.
    pub peer: UdpSocket,
    /// For probes and scrapers.
    pub http: Option<TcpListener>,
}

/// Where a node listens. Ports are real: where 0 was asked for, what the system gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// For clients.
    pub resp: SocketAddr,
    /// For clients over TLS.
    pub tls: Option<SocketAddr>,
    /// For other nodes.
    pub peer: SocketAddr,
    /// For probes and scrapers.
    pub http: Option<SocketAddr>,
}

impl Sockets {
    /// Binds what the settings say.
    pub fn bind(config: &Config) -> Result<Self, LaunchError> {
        let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
        let failed = |whom, address: &Address| {
            let address = address.to_string();
            move |error| LaunchError::Listen { whom, address, error }
        };
        let resp = listen(&config.resp, backlog).map_err(failed("clients", &config.resp))?;
        let tls = match tls_address(config) {
            Some(address) => Some(listen(&address, backlog).map_err(failed("clients over TLS", &address))?),
            None => None,
        };
        let peer = bind_datagrams(&config.peer).map_err(failed("other nodes", &config.peer))?;
        let http = match &config.http {
            Some(address) => Some(listen(address, backlog).map_err(failed("HTTP", address))?),
            None => None,
        };
        Ok(Self { resp, tls, peer, http })
    }

    /// Where they are bound.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let http = self.http.as_ref().map(TcpListener::local_addr).transpose()?;
        let tls = self.tls.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Addresses { resp: self.resp.local_addr()?, tls, peer: self.peer.local_addr()?, http })
    }

    /// Writes the ports that the system gave where port 0 was asked for.
    pub(super) fn write_ports(&self, addresses: &Addresses, sources: &mut Sources) -> Result<(), LaunchError> {
        let settings = sources.clone().finish()?;
        let config = settings.load();
        let asked = [
            ("resp", Some(&config.resp), Some(addresses.resp)),
            ("peer", Some(&config.peer), Some(addresses.peer)),
            ("http", config.http.as_ref(), addresses.http),
        ];
        for (name, address, bound) in asked {
            if let (Some(address), Some(bound)) = (address, bound)
                && address.port() == 0
            {
                let real = Address::new(address.host(), bound.port());
                sources.argument(name, &real.to_string(), "the port that the system gave")?;
            }
        }
        Ok(())
    }
}

/// The addresses of a name; never empty.
fn resolve(address: &Address) -> io::Result<SocketAddr> {
    let mut found = (address.host(), address.port()).to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

fn listen(address: &Address, backlog: i32) -> io::Result<TcpListener> {
    listen_at(resolve(address)?, backlog, false)
}

/// A socket that listens there, beside others that allow it if it is to.
pub(crate) fn listen_at(address: SocketAddr, backlog: i32, beside_others: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(beside_others)?;
    // A node that is started again must not wait for connections of its life before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_datagrams(address: &Address) -> io::Result<UdpSocket> {
    let address = resolve(address)?;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The system gives less than that where its limits say so; then bursts are lost and sent again.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
