//! A socket that sends later: the delay of a wide area on one machine, to try things out with.
//!
//! Only what is sent is delayed, by a time that is asked for with every datagram. What does not fit any more is lost, as
//! on any network.

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long what is sent now shall be under way.
pub type Delay = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Sends through `inner`, later.
pub(crate) struct DelayedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    delay: Delay,
    under_way: mpsc::Sender<(Instant, Datagrams)>,
}

/// A [`Transmit`] that owns its bytes.
struct Datagrams {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    contents: Vec<u8>,
    segment_size: Option<usize>,
    source: Option<IpAddr>,
}

/// Transmits that may be under way: a hundred milliseconds of 40 MB/s in the smallest datagrams.
const UNDER_WAY_MAX: usize = 4096;

impl DelayedSocket {
    pub(crate) fn start(inner: Arc<dyn AsyncUdpSocket>, delay: Delay, runtime: &Handle) -> Arc<Self> {
        let (under_way, arriving) = mpsc::channel(UNDER_WAY_MAX);
        runtime.spawn(carry(Arc::clone(&inner), arriving));
        Arc::new(Self { inner, delay, under_way })
    }
}

/// Sends what is due. Ends with the socket.
async fn carry(socket: Arc<dyn AsyncUdpSocket>, mut arriving: mpsc::Receiver<(Instant, Datagrams)>) {
    while let Some((due, datagrams)) = arriving.recv().await {
        sleep_until(due).await;
        // What the system does not take now is lost on the way.
        let _ = socket.try_send(&Transmit {
            destination: datagrams.destination,
            ecn: datagrams.ecn,
            contents: &datagrams.contents,
            segment_size: datagrams.segment_size,
            src_ip: datagrams.source,
        });
    }
}

impl AsyncUdpSocket for DelayedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let delay = (self.delay)();
        if delay.is_zero() {
            return self.inner.try_send(transmit);
        }
        let datagrams = Datagrams {
            destination: transmit.destination,
            ecn: transmit.ecn,
            contents: transmit.contents.to_vec(),
            segment_size: transmit.segment_size,
            source: transmit.src_ip,
        };
        // A full way loses what comes on top.
        let _ = self.under_way.try_send((Instant::now() + delay, datagrams));
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl fmt::Debug for DelayedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedSocket").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{Runtime, TokioRuntime};

    #[tokio::test]
    async fn what_is_sent_arrives_no_earlier_than_the_delay() {
        const DELAY: Duration = Duration::from_millis(30);
        let bind = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (source, target) = (bind(), bind());
        target.set_nonblocking(true).unwrap();
        let target = tokio::net::UdpSocket::from_std(target).unwrap();
        let inner = TokioRuntime.wrap_udp_socket(source).unwrap();
        let delayed = DelayedSocket::start(inner, Arc::new(|| DELAY), &Handle::current());
        let destination = target.local_addr().unwrap();
        let sent = Instant::now();
        for contents in [b"one", b"two"] {
            delayed.try_send(&Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None }).unwrap();
        }
        let mut buffer = [0; 8];
        for expected in [b"one", b"two"] {
            let length = target.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..length], expected);
            assert!(sent.elapsed() >= DELAY);
        }
    }
}
