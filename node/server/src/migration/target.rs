//! The server that takes keys, as its client sees it. What it answers is as long and as late as it may be, and no more.

use crate::limits::TARGET_REPLY_BYTES_MAX;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection to it.
pub struct Target<S> {
    stream: S,
    /// What has come and was not looked at yet.
    input: Vec<u8>,
    /// Bytes of that which are lines that were taken.
    taken: usize,
    patience: Duration,
}

/// What went wrong on the way, in the words of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Its name has no address.
    #[error("IOERR error or timeout connecting to the client")]
    Unknown,
    /// It is not there, or takes nothing.
    #[error("IOERR error or timeout writing to target instance")]
    Writing,
    /// It says nothing, or not what such a server says.
    #[error("IOERR error or timeout reading to target instance")]
    Reading,
}

/// Bytes that are written, and read, in one step, each of which may take as long as the client said.
const STEP_BYTES: usize = 64 * 1024;
/// Bytes of a refusal that are told on, as in Redis.
const REFUSAL_BYTES_MAX: usize = 1023;

impl Target<TcpStream> {
    /// Connects. Nobody is waited for longer than `patience`: the resolver of names, the server, each of its answers.
    pub async fn connect(host: &str, port: Option<u16>, patience: Duration) -> Result<Self, TargetError> {
        let found = crate::resolving::look_up(host, port.unwrap_or_default(), patience).await;
        let addresses = found.ok_or(TargetError::Unknown)?;
        let connected = async {
            for address in addresses.into_iter().filter(|address| address.port() > 0) {
                if let Ok(stream) = TcpStream::connect(address).await {
                    return Some(stream);
                }
            }
            None
        };
        let stream = timeout(patience, connected).await.ok().flatten().ok_or(TargetError::Writing)?;
        stream.set_nodelay(true).map_err(|_| TargetError::Writing)?;
        Ok(Self::new(stream, patience))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Target<S> {
    /// One that is connected.
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, input: Vec::new(), taken: 0, patience }
    }

    /// Sends requests.
    pub async fn send(&mut self, requests: &[u8]) -> Result<(), TargetError> {
        for piece in requests.chunks(STEP_BYTES) {
            let written = timeout(self.patience, self.stream.write_all(piece)).await;
            written.map_err(|_| TargetError::Writing)?.map_err(|_| TargetError::Writing)?;
        }
        Ok(())
    }

    /// The next answer: nothing but that it was done, or the refusal.
    pub async fn answer(&mut self) -> Result<Result<(), String>, TargetError> {
        let line = self.line().await?;
        match line.split_first() {
            Some((b'+', _)) => Ok(Ok(())),
            Some((b'-', refusal)) => {
                let refusal = &refusal[..refusal.len().min(REFUSAL_BYTES_MAX)];
                Ok(Err(String::from_utf8_lossy(refusal).into_owned()))
            }
            Some(_) | None => Err(TargetError::Reading),
        }
    }

    /// The next line without its end.
    async fn line(&mut self) -> Result<&[u8], TargetError> {
        let mut searched = self.taken;
        loop {
            if let Some(length) = self.input[searched..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.taken, searched + length);
                self.taken = end + 1;
                let line = &self.input[start..end];
                return Ok(line.strip_suffix(b"\r").unwrap_or(line));
            }
            self.input.drain(..self.taken);
            self.taken = 0;
            searched = self.input.len();
            if searched >= TARGET_REPLY_BYTES_MAX {
                return Err(TargetError::Reading);
            }
            let mut room = [0; 1024];
            let read = timeout(self.patience, self.stream.read(&mut room)).await;
            let count = read.map_err(|_| TargetError::Reading)?.map_err(|_| TargetError::Reading)?;
            if count == 0 {
                return Err(TargetError::Reading);
            }
            self.input.extend_from_slice(&room[..count]);
        }
    }
}
