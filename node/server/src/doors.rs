//! Where clients connect: the sockets that listen for them, which `CONFIG SET` opens, moves and closes while the node runs.
//!
//! A change is tried before anything is given up: if the new address cannot be had, everything stays as it was. Who is
//! connected already notices nothing, and who was only about to be accepted at the old address still is.

use crate::config::{Address, Config};
use crate::launch::listen_at;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use tokio::sync::Notify;

/// The sockets that listen for clients.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Without TLS.
    pub plain: Option<Arc<TcpListener>>,
    /// With it.
    pub tls: Option<Arc<TcpListener>>,
}

/// What listens for clients now.
#[derive(Debug, Default)]
pub struct Doors {
    open: Mutex<Listeners>,
    /// Held by who changes the settings: what was prepared for one change is not opened after another.
    changing: Mutex<()>,
    changed: Notify,
}

/// Why clients cannot connect where they are to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for clients on {address}: {error}")]
pub struct DoorError {
    /// Whether clients would have come over TLS.
    pub is_tls: bool,
    address: Address,
    error: io::Error,
}

impl Doors {
    /// From the look at what listens now to [`Doors::open`] nobody else changes that, or the settings that say it.
    pub fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Listens on these from now on. Those who accept are told.
    pub fn open(&self, listeners: Listeners) {
        *self.open.lock() = listeners;
        self.changed.notify_one();
    }

    /// What listens now.
    pub fn listeners(&self) -> Listeners {
        self.open.lock().clone()
    }

    /// Waits until something else listens.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What would listen after a change of the settings; nothing if that is what listens now. Nobody is served there
    /// before it is opened.
    pub fn prepare(&self, before: &Config, after: &Config) -> Result<Option<Listeners>, DoorError> {
        let (plain, tls) = (plain_address(after), tls_address(after));
        let now = self.listeners();
        if (plain_address(before), tls_address(before)) == (plain.clone(), tls.clone()) {
            return Ok(None);
        }
        let backlog = i32::try_from(after.tcp_backlog).unwrap_or(i32::MAX);
        let moved = |is_tls, old: &Option<Arc<TcpListener>>, from: Option<Address>, to: Option<Address>| match to {
            None => Ok(None),
            to if to == from && old.is_some() => Ok(old.clone()),
            // The system would choose one, and nobody would be told which.
            Some(address) if address.port() == 0 => Err(DoorError {
                is_tls,
                address,
                error: io::Error::new(io::ErrorKind::InvalidInput, "a port is needed"),
            }),
            Some(address) => match listen_instead(old.as_deref(), from.as_ref(), &address, backlog) {
                Ok(listener) => Ok(Some(Arc::new(listener))),
                Err(error) => Err(DoorError { is_tls, address, error }),
            },
        };
        Ok(Some(Listeners {
            plain: moved(false, &now.plain, plain_address(before), plain)?,
            tls: moved(true, &now.tls, tls_address(before), tls)?,
        }))
    }
}

/// Where clients connect without TLS.
fn plain_address(config: &Config) -> Option<Address> {
    config.resp_plain.then(|| config.resp.clone())
}

/// Where clients connect with TLS.
pub fn tls_address(config: &Config) -> Option<Address> {
    let port = u16::try_from(config.tls_port).ok().filter(|port| *port > 0)?;
    Some(Address::new(config.resp.host(), port))
}

/// A socket that listens at `address`, while `old` still listens where clients come from.
fn listen_instead(
    old: Option<&TcpListener>,
    from: Option<&Address>,
    address: &Address,
    backlog: i32,
) -> io::Result<TcpListener> {
    let Some((old, from)) = old.zip(from) else { return listen_at(resolve(address)?, backlog, false) };
    // A host that stays needs not be looked up again.
    let wanted = match from.host() == address.host() {
        true => SocketAddr::new(old.local_addr()?.ip(), address.port()),
        false => resolve(address)?,
    };
    match listen_at(wanted, backlog, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && from.port() == address.port() => {
            // SUBTLE: all hosts and one of them are in each other's way, and the one that listens is this node's own. For
            // the moment of the change both may. The system remembers that of the port, but others would have to be of the
            // same user, and ask for it.
            let old = SockRef::from(old);
            old.set_reuse_port(true)?;
            let listener = listen_at(wanted, backlog, true);
            old.set_reuse_port(false)?;
            let listener = listener?;
            SockRef::from(&listener).set_reuse_port(false)?;
            Ok(listener)
        }
        listened => listened,
    }
}

fn resolve(address: &Address) -> io::Result<SocketAddr> {
    let mut found = (address.host(), address.port()).to_socket_addrs()?;
    found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

#[cfg(test)]
mod tests;
