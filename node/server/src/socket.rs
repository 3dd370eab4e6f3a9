//! The socket of a client, read and written by the system's calls alone.
//!
//! The C library makes each of them a point at which a thread could be cancelled, which takes it two atomic steps a call.
//! A request without a pipeline is one read and one write, and nearly everything else that it costs is the kernel's.

use crate::limits::OUTPUT_BYTES_FLUSH;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection.
#[derive(Debug)]
pub struct ClientSocket(TcpStream);

impl ClientSocket {
    /// Serves a connection that was accepted.
    pub fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Carries `most` bytes if the system does not have to wait for that. `call` says how many it carried.
    ///
    /// SUBTLE: whoever carried fewer than it could has emptied (or filled) what the system holds, and the system tells
    /// when that changes. Asking once more would only be told so; "would block" says it to the event loop instead.
    fn carry(
        &self,
        interest: Interest,
        most: usize,
        mut call: impl FnMut(&TcpStream) -> Result<usize, Errno>,
    ) -> Option<io::Result<usize>> {
        let mut carried = None;
        let tried = self.0.try_io(interest, || {
            loop {
                match call(&self.0) {
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                    Ok(count) if 0 < count && count < most => {
                        carried = Some(count);
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    Ok(count) => return Ok(count),
                }
            }
        });
        match (carried, tried) {
            (Some(count), _) => Some(Ok(count)),
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => None,
            (None, outcome) => Some(outcome),
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let most = room.remaining();
            let read = self.carry(Interest::READABLE, most, |stream| {
                recv(stream, room.initialize_unfilled(), RecvFlags::empty()).map(|(count, _)| count)
            });
            if let Some(read) = read {
                room.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let write = || self.carry(Interest::WRITABLE, bytes.len(), |stream| send(stream, bytes, SendFlags::NOSIGNAL));
        // Nearly always there is room. Many large writes in a row ask the runtime, which lets others have their turn.
        if bytes.len() < OUTPUT_BYTES_FLUSH
            && let Some(written) = write()
        {
            return Poll::Ready(written);
        }
        loop {
            ready!(self.0.poll_write_ready(context))?;
            if let Some(written) = write() {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What is written is the system's.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (ClientSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, served) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (ClientSocket::new(served.unwrap().0), client.unwrap())
    }

    #[tokio::test]
    async fn everything_arrives_in_both_directions_whatever_the_pieces() {
        let (mut served, client) = pair().await;
        let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
        let (mut from_client, mut to_client) = client.into_split();
        let expected = sent.clone();
        let client = async move {
            to_client.write_all(&sent).await.unwrap();
            to_client.shutdown().await.unwrap();
            let mut back = Vec::new();
            from_client.read_to_end(&mut back).await.unwrap();
            back
        };
        let echo = async move {
            // Pieces that fill the buffer and pieces that do not, and more than the system takes at once.
            let mut all = Vec::new();
            let mut buffer = [0; 1000];
            loop {
                let count = served.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&buffer[..count]);
            }
            served.write_all(&all).await.unwrap();
            served.shutdown().await.unwrap();
        };
        let (back, ()) = tokio::join!(client, echo);
        assert!(back == expected, "{} of {} bytes came back", back.len(), expected.len());
    }

    #[tokio::test]
    async fn a_read_waits_for_what_comes_after_a_short_one() {
        let (mut served, mut client) = pair().await;
        let mut buffer = [0; 64];
        for round in 0..100_u8 {
            client.write_all(&[round; 3]).await.unwrap();
            let mut read = 0;
            while read < 3 {
                let count = served.read(&mut buffer[read..]).await.unwrap();
                assert!(count > 0 && buffer[read..read + count].iter().all(|&byte| byte == round));
                read += count;
            }
            let waits = tokio::time::timeout(std::time::Duration::ZERO, served.read(&mut buffer)).await;
            assert!(waits.is_err(), "nothing had come");
        }
    }

    #[tokio::test]
    async fn who_is_gone_is_told_as_an_error_and_not_as_a_signal() {
        let (mut served, client) = pair().await;
        socket2::SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        let read = served.read(&mut [0; 8]).await;
        assert!(read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset), "{read:?}");
        let written = served.write(b"too late").await;
        assert!(written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe), "{written:?}");
    }
}
