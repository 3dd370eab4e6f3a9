//! Workers: what the connections of one thread share, and in production the threads themselves.
//!
//! A connection lives on one worker from beginning to end. The simulator makes a [`Worker`] of its own and spawns
//! connections on its single thread; production starts [`Workers`].

use crate::config::Reader;
use crate::connection::serve_connection;
use crate::doors::{Came, Listeners, all_who_came};
use crate::limits::{
    ACCEPTED_WAITING_MAX, POOLED_BUFFER_BYTES_MAX, POOLED_BUFFERS_MAX, READ_BUFFER_BYTES, RESOLVING_MAX,
};
use crate::memory_limit::keep_within_memory;
use crate::metrics::watch_event_loop;
use crate::node::Node;
use crate::scripting::stage::CommandStack;
use crate::socket::ClientSocket;
use crate::tally::Tally;
use crate::tls::watch_files;
use crdt::Stamp;
use keyspace::{EXPECTED_MAX, Place, Writer};
use std::cell::{RefCell, RefMut};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

/// What the connections of one thread share.
pub struct Worker {
    /// The node.
    pub node: Arc<Node>,
    writer: RefCell<Writer>,
    /// The way of commands that run scripts: one of them may be put aside in its middle.
    script_writer: RefCell<Writer>,
    /// The stack that these run on, once there was one.
    pub(crate) command_stack: RefCell<Option<CommandStack>>,
    me: Weak<Worker>,
    config: RefCell<Reader>,
    /// Where this worker counts.
    pub tally: Arc<Tally>,
    /// Empty buffers for replies.
    buffers: RefCell<Vec<Vec<u8>>>,
    /// Where the requests of this turn will look.
    expected: RefCell<Vec<Place>>,
    /// Buffers to read into, each of `READ_BUFFER_BYTES`.
    read_buffers: RefCell<Vec<Vec<u8>>>,
}

impl Worker {
    /// A worker for connections of this thread.
    pub fn new(node: Arc<Node>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            writer: RefCell::new(node.keyspace.writer()),
            script_writer: RefCell::new(node.keyspace.writer()),
            command_stack: RefCell::default(),
            me: me.clone(),
            config: RefCell::new(node.config.reader()),
            tally: node.tallies.add(),
            buffers: RefCell::default(),
            read_buffers: RefCell::default(),
            expected: RefCell::default(),
            node,
        })
    }

    /// The thread's way into the keyspace. Never held across an await.
    #[inline]
    pub fn writer(&self) -> RefMut<'_, Writer> {
        self.writer.borrow_mut()
    }

    /// Several commands follow at once.
    pub(crate) fn begin_pipeline(&self) {
        self.writer().begin_pipeline();
        if let Ok(mut writer) = self.script_writer.try_borrow_mut() {
            writer.begin_pipeline();
        }
    }

    /// Hands the changes of these commands on, but for one that is put aside: its changes are one group.
    pub(crate) fn end_pipeline(&self) {
        self.writer().end_pipeline();
        if let Ok(mut writer) = self.script_writer.try_borrow_mut() {
            writer.end_pipeline();
        }
    }

    /// The way of commands that run scripts into the keyspace.
    pub(crate) fn script_writer(&self) -> RefMut<'_, Writer> {
        self.script_writer.borrow_mut()
    }

    /// The last stamp that a command of this thread took for a change, unless it is put aside.
    #[inline]
    pub(crate) fn last_stamp(&self) -> Stamp {
        let last = self.writer.borrow().last_stamp();
        self.script_writer.try_borrow().map_or(last, |writer| last.max(writer.last_stamp()))
    }

    /// Itself.
    pub(crate) fn me(&self) -> Weak<Self> {
        self.me.clone()
    }

    /// Looks something up in the settings.
    #[inline]
    pub fn config<T>(&self, look: impl FnOnce(&crate::config::Config) -> T) -> T {
        look(self.config.borrow_mut().load())
    }

    /// Notes where a request of this turn will look. When there are many, the memory of the first ones is fetched.
    #[inline]
    pub fn expect(&self, place: Option<Place>) {
        let mut expected = self.expected.borrow_mut();
        expected.extend(place);
        if expected.len() >= EXPECTED_MAX {
            self.node.keyspace.fetch(expected.iter().copied());
            expected.clear();
        }
    }

    /// Fetches the memory where the requests of this turn will look.
    #[inline]
    pub fn fetch_expected(&self) {
        let mut expected = self.expected.borrow_mut();
        if !expected.is_empty() {
            self.node.keyspace.fetch(expected.iter().copied());
            expected.clear();
        }
    }

    /// An empty buffer; it may have room from an earlier use.
    #[inline]
    pub fn take_buffer(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// How many buffers wait for reuse: for reading, and for replies.
    #[cfg(test)]
    pub(crate) fn pooled(&self) -> (usize, usize) {
        (self.read_buffers.borrow().len(), self.buffers.borrow().len())
    }

    /// A buffer to read into, with anything in it.
    #[inline]
    pub fn take_read_buffer(&self) -> Vec<u8> {
        self.read_buffers.borrow_mut().pop().unwrap_or_else(|| vec![0; READ_BUFFER_BYTES])
    }

    /// Gives a buffer back to read into. One that has grown is freed.
    #[inline]
    pub fn give_read_buffer(&self, buffer: Vec<u8>) {
        let mut buffers = self.read_buffers.borrow_mut();
        if buffer.len() == READ_BUFFER_BYTES && buffers.len() < POOLED_BUFFERS_MAX {
            buffers.push(buffer);
        }
    }

    /// Gives a buffer back for reuse. Large ones are freed.
    #[inline]
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 || capacity > POOLED_BUFFER_BYTES_MAX {
            return;
        }
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < POOLED_BUFFERS_MAX {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}

/// Ends connections that say nothing for longer than `timeout` allows. Runs for as long as the node does.
pub async fn end_silent_clients(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let silence = node.config.load().timeout;
        node.clients.end_silent(node.wall_clock(), silence);
    }
}

/// Ends connections while all together take more memory than `maxmemory-clients`. Runs for as long as the node does.
pub async fn keep_clients_within_memory(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(CLIENTS_LOOK_INTERVAL);
    loop {
        ticks.tick().await;
        let config = node.config.load();
        node.clients.end_largest(config.maxmemory_clients.of(config.maxmemory));
    }
}

/// Between two looks at the memory of clients.
const CLIENTS_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The threads that serve clients.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    node: Arc<Node>,
}

/// A connection that was accepted, where it comes from, and whether it begins with the handshake of TLS.
type Accepted = (std::net::TcpStream, SocketAddr, bool);

impl Workers {
    /// Starts `count` threads and one that accepts connections and deals them round robin.
    pub fn start(node: Arc<Node>, listeners: Listeners, count: usize) -> io::Result<Self> {
        node.doors.open(listeners);
        let (stop, stopped) = watch::channel(false);
        let (mut threads, mut dealt_to) = (Vec::new(), Vec::new());
        for index in 0..count.max(1) {
            let (deal, dealt) = mpsc::channel(ACCEPTED_WAITING_MAX);
            dealt_to.push(deal);
            let (node, stopped) = (Arc::clone(&node), stopped.clone());
            threads.push(start_thread(format!("worker-{index}"), move || serve_dealt(node, dealt, stopped))?);
        }
        let acceptor = Arc::clone(&node);
        threads.push(start_thread("accept".to_owned(), move || accept(acceptor, dealt_to, stopped))?);
        Ok(Self { threads, stop, node })
    }

    /// Ends all connections and waits for the threads.
    pub fn stop(self) {
        self.stop.send_replace(true);
        self.node.clients.end_all();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that served clients had panicked");
            }
        }
    }
}

/// Starts a thread with a single-threaded runtime of its own.
fn start_thread<F>(name: String, body: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().max_blocking_threads(RESOLVING_MAX).thread_name("resolve").build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        LocalSet::new().block_on(&runtime, body());
        // A name that is being looked up holds up nobody who stops the node.
        runtime.shutdown_background();
    })
}

async fn serve_dealt(node: Arc<Node>, mut dealt: mpsc::Receiver<Accepted>, mut stopped: watch::Receiver<bool>) {
    let worker = Worker::new(node);
    let serve = async {
        while let Some((stream, address, is_tls)) = dealt.recv().await {
            match TcpStream::from_std(stream) {
                Ok(stream) if is_tls => drop(spawn_local(serve_tls(Rc::clone(&worker), stream, address))),
                Ok(stream) => drop(spawn_local(serve_stream(Rc::clone(&worker), stream, address))),
                Err(error) => tracing::warn!(%address, %error, "a new connection could not be served"),
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = watch_event_loop(&worker.node.console.metrics.console, || worker.tally.reads.value()) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
}

async fn serve_stream(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr) {
    let local_address = stream.local_addr().unwrap_or(address);
    serve_connection(worker, ClientSocket::new(stream), address, local_address).await;
}

async fn serve_tls(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr) {
    let local_address = stream.local_addr().unwrap_or(address);
    let most = worker.config(|config| config.maxclients);
    // What only the handshake needs is given back before the client is served.
    match Box::pin(worker.node.tls.accept(stream, most)).await {
        Ok(stream) => Box::pin(serve_connection(worker, stream, address, local_address)).await,
        Err(error) => {
            worker.node.console.metrics.console.tls_handshakes_failed.increment();
            tracing::debug!(%address, %error, "a client did not get through the handshake of TLS");
        }
    }
}

async fn accept(node: Arc<Node>, dealt_to: Vec<mpsc::Sender<Accepted>>, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        () = accept_all(&node, &dealt_to) => {}
        () = end_silent_clients(Arc::clone(&node)) => {}
        () = keep_within_memory(Arc::clone(&node)) => {}
        () = watch_files(Arc::clone(&node)) => {}
        () = keep_clients_within_memory(Arc::clone(&node)) => {}
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    // Nobody is accepted any more, so nobody is to connect.
    node.doors.open(Listeners::default());
}

/// Accepts connections wherever clients connect, and follows when that changes.
async fn accept_all(node: &Node, dealt_to: &[mpsc::Sender<Accepted>]) {
    let usable = |listener: &Option<Arc<std::net::TcpListener>>| {
        let Some(listener) = listener else { return Ok(None) };
        let socket = listener.try_clone()?;
        socket.set_nonblocking(true)?;
        Ok(Some((Arc::clone(listener), TcpListener::from_std(socket)?)))
    };
    let mut dealt_to = dealt_to.iter().cycle();
    loop {
        let listeners = node.doors.listeners();
        let (plain, tls) = match (usable(&listeners.plain), usable(&listeners.tls)) {
            (Ok(plain), Ok(tls)) => (plain, tls),
            (Err(error), _) | (_, Err(error)) => {
                let error: io::Error = error;
                tracing::error!(%error, "a listener for clients cannot be used; it is tried again");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        loop {
            let accepted = tokio::select! {
                accepted = accept_one(node, plain.as_ref(), false) => accepted,
                accepted = accept_one(node, tls.as_ref(), true) => accepted,
                () = node.doors.changed() => break,
            };
            let Some(deal) = dealt_to.next() else { return };
            if deal.send(accepted).await.is_err() {
                return;
            }
        }
        let mut came = node.doors.take_early();
        let now = node.doors.listeners();
        let closed = listeners.all().filter(|(listener, _)| !now.has_any(listener));
        closed.for_each(|(listener, is_tls)| came.extend(all_who_came(listener, is_tls)));
        for Came { stream, address, is_tls } in came {
            let Ok(stream) = stream.set_nonblocking(true).and_then(|()| prepare(node, stream)) else { continue };
            let Some(deal) = dealt_to.next() else { return };
            if deal.send((stream, address, is_tls)).await.is_err() {
                return;
            }
        }
    }
}

/// The next connection, ready to be handed to another thread. Errors of single connections are passed over; when the
/// process has no file left, waiting a little is all there is to do.
async fn accept_one(node: &Node, door: Option<&(Arc<std::net::TcpListener>, TcpListener)>, is_tls: bool) -> Accepted {
    let Some((listener, socket)) = door else { return std::future::pending().await };
    loop {
        let accepted = poll_fn(|context| node.doors.poll_accept((listener, is_tls), socket, context)).await;
        let accepted = accepted.and_then(|(stream, address)| Ok((prepare(node, stream.into_std()?)?, address, is_tls)));
        match accepted {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// How long the acceptor waits after an error.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

fn prepare(node: &Node, stream: std::net::TcpStream) -> io::Result<std::net::TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = node.config.load().tcp_keepalive;
    if !keepalive.is_zero() {
        let probes = socket2::TcpKeepalive::new().with_time(keepalive).with_interval((keepalive / 3).max(SECOND));
        socket2::SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    }
    Ok(stream)
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
