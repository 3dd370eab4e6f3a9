//! A simulated UDP socket as quinn wants one.

use super::weather::{Fate, Weather};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use turmoil::net::UdpSocket;

/// Datagrams of one socket that may be held back at once; beyond it they travel as usual.
const HELD_BACK_MAX: usize = 4096;

type Readable = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// A socket of a simulated host, in this weather.
pub struct Adapter {
    socket: Arc<UdpSocket>,
    host: IpAddr,
    weather: Weather,
    readable: Mutex<Option<Readable>>,
    held_back: Arc<AtomicUsize>,
}

impl Adapter {
    /// Binds a port of the host whose code calls this; `host` is its address as others know it.
    pub async fn bind(host: IpAddr, port: u16, weather: Weather) -> io::Result<Arc<Self>> {
        let socket = Arc::new(UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?);
        Ok(Arc::new(Self { socket, host, weather, readable: Mutex::new(None), held_back: Arc::default() }))
    }

    /// Sends later. What cannot be sent is lost, as on a real network.
    fn send_after(&self, delay_ms: u64, contents: Vec<u8>, target: SocketAddr) {
        if self.held_back.fetch_add(1, Ordering::Relaxed) >= HELD_BACK_MAX {
            self.held_back.fetch_sub(1, Ordering::Relaxed);
            let _ = self.socket.try_send_to(&contents, target);
            return;
        }
        let (socket, held_back) = (self.socket.clone(), self.held_back.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            held_back.fetch_sub(1, Ordering::Relaxed);
            let _ = socket.try_send_to(&contents, target);
        });
    }
}

impl AsyncUdpSocket for Adapter {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let target = transmit.destination;
        // Errors are swallowed: to a real sender a host that is down looks like one that does not answer.
        match self.weather.fate(self.host, target.ip(), transmit.contents.len()) {
            Fate::Lost => {}
            Fate::Travels(0) => drop(self.socket.try_send_to(transmit.contents, target)),
            Fate::Travels(delay_ms) => self.send_after(delay_ms, transmit.contents.to_vec(), target),
            Fate::Twice(delay_ms) => {
                drop(self.socket.try_send_to(transmit.contents, target));
                self.send_after(delay_ms, transmit.contents.to_vec(), target);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut received = 0;
            for (buffer, meta) in buffers.iter_mut().zip(meta.iter_mut()) {
                let Ok((length, source)) = self.socket.try_recv_from(buffer) else { break };
                *meta = RecvMeta { addr: source, len: length, stride: length, ecn: None, dst_ip: None };
                received += 1;
            }
            if received > 0 {
                return Poll::Ready(Ok(received));
            }
            let socket = self.socket.clone();
            let waiting = readable.get_or_insert_with(|| Box::pin(async move { socket.readable().await }));
            let outcome = ready!(waiting.as_mut().poll(context));
            *readable = None;
            outcome?;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// True also says that no larger datagrams are to be tried.
    fn may_fragment(&self) -> bool {
        true
    }
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The simulated network takes everything at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
