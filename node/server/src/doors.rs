//! Where clients connect: the sockets that listen for them, which `CONFIG SET` opens, moves and closes while the node runs.
//!
//! A change is tried before anything is given up: if the new address cannot be had, everything stays as it was. Who is
//! connected already notices nothing, and who was only about to be accepted at the old address still is, as what it came for.

use crate::config::{Address, Config};
use crate::launch::listen_at;
use crate::limits::{ACCEPTED_WAITING_MAX, RESOLVING_TIME_MAX};
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::Notify;

/// The sockets that listen for clients.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Without TLS.
    pub plain: Option<Arc<TcpListener>>,
    /// With it.
    pub tls: Option<Arc<TcpListener>>,
}

impl Listeners {
    /// Those that listen, each with whether it is the one for TLS.
    pub fn all(&self) -> impl Iterator<Item = (&Arc<TcpListener>, bool)> {
        let all = [self.plain.as_ref().map(|plain| (plain, false)), self.tls.as_ref().map(|tls| (tls, true))];
        all.into_iter().flatten()
    }

    /// Whether a socket listens for these.
    fn has(&self, listener: &Arc<TcpListener>, is_tls: bool) -> bool {
        self.all().any(|(own, for_tls)| Arc::ptr_eq(own, listener) && for_tls == is_tls)
    }

    /// Whether a socket listens for either.
    pub fn has_any(&self, listener: &Arc<TcpListener>) -> bool {
        self.has(listener, false) || self.has(listener, true)
    }
}

/// What listens for clients now.
#[derive(Debug, Default)]
pub struct Doors {
    open: Mutex<Open>,
    /// Held by who changes the settings: what was prepared for one change is not opened after another.
    changing: Mutex<()>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    listeners: Listeners,
    /// Who had come to a door before that became one for others.
    early: Vec<Came>,
}

/// Who has come to a door, from where, and whether it was the one for TLS.
#[derive(Debug)]
pub struct Came {
    /// The connection.
    pub stream: TcpStream,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Whether it begins with the handshake of TLS.
    pub is_tls: bool,
}

/// What a name was found to stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedUp {
    host: String,
    found: Option<IpAddr>,
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
        let mut open = self.open.lock();
        let before = std::mem::replace(&mut open.listeners, listeners.clone());
        for (listener, was_tls) in before.all().filter(|(listener, was_tls)| listeners.has(listener, !was_tls)) {
            // SUBTLE: in the same step as the change: who has come by now has come to the door that it was, and who comes from
            // now on to the one that it is.
            open.early.extend(all_who_came(listener, was_tls));
        }
        drop(open);
        self.changed.notify_one();
    }

    /// What listens now.
    pub fn listeners(&self) -> Listeners {
        self.open.lock().listeners.clone()
    }

    /// Accepts somebody at a socket, as long as that listens for these. Else [`Doors::changed`] says so.
    pub fn poll_accept(
        &self,
        (listener, is_tls): (&Arc<TcpListener>, bool),
        socket: &tokio::net::TcpListener,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(tokio::net::TcpStream, SocketAddr)>> {
        // Held meanwhile: nobody makes it a door for others before it is known who comes.
        let open = self.open.lock();
        if open.listeners.has(listener, is_tls) { socket.poll_accept(context) } else { Poll::Pending }
    }

    /// Who had come to a door that has become one for others, since this was asked.
    pub fn take_early(&self) -> Vec<Came> {
        std::mem::take(&mut self.open.lock().early)
    }

    /// Waits until something else listens.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A name that has to be looked up for a change of the settings, which takes as long as it takes.
    pub fn unknown_host(before: &Config, after: &Config) -> Option<String> {
        let host = after.resp.host();
        (host != before.resp.host() && host.parse::<IpAddr>().is_err()).then(|| host.to_owned())
    }

    /// What would listen after a change of the settings; nothing if that is what listens now. Nobody is served there
    /// before it is opened.
    pub fn prepare(
        &self,
        before: &Config,
        after: &Config,
        looked_up: Option<&LookedUp>,
    ) -> Result<Option<Listeners>, DoorError> {
        let (from, to) = (Addresses::of(before), Addresses::of(after));
        if from == to {
            return Ok(None);
        }
        let now = self.listeners();
        let own: Vec<Own<'_>> = [now.plain.as_ref().zip(from.plain.as_ref()), now.tls.as_ref().zip(from.tls.as_ref())]
            .into_iter()
            .flatten()
            .collect();
        let backlog = i32::try_from(after.tcp_backlog).unwrap_or(i32::MAX);
        let listen = |address: &Address| {
            // The system would choose one, and nobody would be told which.
            if address.port() == 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a port is needed"));
            }
            // One that listens there stays, whatever it was for.
            match own.iter().find(|(_, from)| *from == address) {
                Some((listener, _)) => Ok(Arc::clone(listener)),
                None => listen_beside(&own, ip_of(&own, address, looked_up)?, address.port(), backlog).map(Arc::new),
            }
        };
        let is_one = to.plain.is_some() && to.plain == to.tls;
        let opened = |is_tls, to: Option<Address>| match to {
            None => Ok(None),
            Some(address) => {
                let listener = if is_one && is_tls { Err(io::ErrorKind::AddrInUse.into()) } else { listen(&address) };
                listener.map(Some).map_err(|error| DoorError { is_tls, address, error })
            }
        };
        Ok(Some(Listeners { plain: opened(false, to.plain)?, tls: opened(true, to.tls)? }))
    }
}

/// Where clients connect.
#[derive(PartialEq, Eq)]
struct Addresses {
    plain: Option<Address>,
    tls: Option<Address>,
}

impl Addresses {
    fn of(config: &Config) -> Self {
        Self { plain: config.resp_plain.then(|| config.resp.clone()), tls: tls_address(config) }
    }
}

/// Where others are told that clients connect: over TLS only if there is no other way.
pub fn told_address(config: &Config) -> Address {
    let only_tls = if config.resp_plain { None } else { tls_address(config) };
    only_tls.unwrap_or_else(|| config.resp.clone())
}

/// Where clients connect with TLS.
pub fn tls_address(config: &Config) -> Option<Address> {
    let port = u16::try_from(config.tls_port).ok().filter(|port| *port > 0)?;
    Some(Address::new(config.resp.host(), port))
}

/// A socket of the node's own, and the address that it listens at.
type Own<'o> = (&'o Arc<TcpListener>, &'o Address);

/// A socket that listens there, while the node's own still listen where clients come from.
fn listen_beside(own: &[Own<'_>], ip: IpAddr, port: u16, backlog: i32) -> io::Result<TcpListener> {
    let wanted = SocketAddr::new(ip, port);
    let in_the_way = own.iter().find(|(_, from)| from.port() == port);
    match (listen_at(wanted, backlog, false), in_the_way) {
        (Err(error), Some((old, _))) if error.kind() == io::ErrorKind::AddrInUse => {
            // SUBTLE: all hosts and one of them are in each other's way, and the one that listens is this node's own. For
            // the moment of the change both may. The system remembers that of the port, but others would have to be of the
            // same user, and ask for it.
            let old = SockRef::from(&***old);
            old.set_reuse_port(true)?;
            let listener = listen_at(wanted, backlog, true);
            old.set_reuse_port(false)?;
            let listener = listener?;
            SockRef::from(&listener).set_reuse_port(false)?;
            Ok(listener)
        }
        (listened, _) => listened,
    }
}

/// The number of a host. A name that stays is not looked up again, and none is looked up here.
fn ip_of(own: &[Own<'_>], address: &Address, looked_up: Option<&LookedUp>) -> io::Result<IpAddr> {
    if let Some((listener, _)) = own.iter().find(|(_, from)| from.host() == address.host()) {
        return Ok(listener.local_addr()?.ip());
    }
    let number = address.host().parse().ok();
    let known = || looked_up.filter(|looked_up| looked_up.host == address.host()).and_then(|looked_up| looked_up.found);
    number.or_else(known).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

impl LookedUp {
    /// Asks the resolver, on a thread of its own.
    pub async fn ask(host: String) -> Self {
        let found = crate::resolving::look_up(&host, 0, RESOLVING_TIME_MAX).await;
        Self { found: found.and_then(|found| found.first().copied()).map(|address| address.ip()), host }
    }
}

/// Who has come to a door and was not accepted yet.
pub fn all_who_came(listener: &TcpListener, is_tls: bool) -> Vec<Came> {
    let came = until_nobody_is_left(|| listener.accept());
    came.into_iter().map(|(stream, address)| Came { stream, address, is_tls }).collect()
}

/// Accepts until the system says that it would have to wait. Who has gone again is passed over.
fn until_nobody_is_left<T>(mut accept: impl FnMut() -> io::Result<T>) -> Vec<T> {
    let mut came = Vec::new();
    for _ in 0..ACCEPTED_WAITING_MAX {
        match accept() {
            Ok(one) => came.push(one),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => tracing::debug!(%error, "who had come to a door that closes has gone again"),
        }
    }
    came
}

#[cfg(test)]
mod tests;
