//! Where bytes come from: a slice, or a stream with a checksum over what was taken.

use crate::checksum::Checksum;
use crate::error::RdbError;
use crate::limits::READ_BYTES;
use std::io::{ErrorKind, Read};

/// Bytes in order.
pub(crate) trait Source {
    /// Bytes that can be had without waiting, at least one unless it has ended.
    fn available(&mut self) -> Result<&[u8], RdbError>;

    /// Takes so many of the available bytes.
    fn take(&mut self, count: usize);

    /// The next byte.
    #[inline]
    fn byte(&mut self) -> Result<u8, RdbError> {
        let byte = *self.available()?.first().ok_or(RdbError::Truncated)?;
        self.take(1);
        Ok(byte)
    }

    /// The next `N` bytes.
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let available = self.available()?;
        if let Some(array) = available.first_chunk::<N>() {
            let array = *array;
            self.take(N);
            return Ok(array);
        }
        let mut array = [0; N];
        for byte in &mut array {
            *byte = self.byte()?;
        }
        Ok(array)
    }

    /// Appends the next `count` bytes. Memory grows as they arrive.
    fn append(&mut self, count: u64, out: &mut Vec<u8>) -> Result<(), RdbError> {
        self.pass(count, |bytes| out.extend_from_slice(bytes))
    }

    /// Passes over the next `count` bytes.
    fn skip(&mut self, count: u64) -> Result<(), RdbError> {
        self.pass(count, |_| ())
    }

    /// Shows the next `count` bytes in pieces.
    #[inline]
    fn pass(&mut self, mut count: u64, mut show: impl FnMut(&[u8])) -> Result<(), RdbError> {
        while count > 0 {
            let available = self.available()?;
            if available.is_empty() {
                return Err(RdbError::Truncated);
            }
            let taken = available.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            show(&available[..taken]);
            self.take(taken);
            count -= taken as u64;
        }
        Ok(())
    }
}

impl Source for &[u8] {
    #[inline]
    fn available(&mut self) -> Result<&[u8], RdbError> {
        Ok(self)
    }

    #[inline]
    fn take(&mut self, count: usize) {
        *self = self.get(count..).unwrap_or_default();
    }
}

/// A stream, read in large pieces.
pub(crate) struct StreamSource<R> {
    source: R,
    buffer: Vec<u8>,
    /// What was taken ends here, and what is available begins.
    position: usize,
    /// What the checksum covers ends here: it is brought up in large pieces as well.
    covered: usize,
    /// What was read ends here.
    filled: usize,
    /// Bytes taken before those in the buffer.
    before: u64,
    checksum: Checksum,
}

impl<R: Read> StreamSource<R> {
    /// A stream that begins with `begun`, which somebody has read already.
    pub(crate) fn new(source: R, begun: Vec<u8>) -> Self {
        let mut buffer = begun;
        let filled = buffer.len();
        buffer.resize(filled.max(READ_BYTES), 0);
        Self { source, buffer, position: 0, covered: 0, filled, before: 0, checksum: Checksum::new() }
    }

    /// Bytes taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.before + self.position as u64
    }

    /// The checksum of all bytes taken so far.
    pub(crate) fn checksum(&mut self) -> u64 {
        self.cover();
        self.checksum.value()
    }

    /// The stream, and what was read of it and not taken.
    pub(crate) fn into_rest(self) -> (R, Vec<u8>) {
        let rest = self.buffer.get(self.position..self.filled).unwrap_or_default().to_vec();
        (self.source, rest)
    }

    fn cover(&mut self) {
        self.checksum.update(&self.buffer[self.covered..self.position]);
        self.covered = self.position;
    }
}

impl<R: Read> Source for StreamSource<R> {
    #[inline]
    fn available(&mut self) -> Result<&[u8], RdbError> {
        if self.position == self.filled {
            self.cover();
            self.before += self.position as u64;
            (self.position, self.covered, self.filled) = (0, 0, 0);
            self.filled = loop {
                match self.source.read(&mut self.buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    outcome => break outcome?,
                }
            };
        }
        Ok(&self.buffer[self.position..self.filled])
    }

    #[inline]
    fn take(&mut self, count: usize) {
        self.position = (self.position + count).min(self.filled);
    }
}
