//! The checksum of RDB files and payloads: CRC-64 with the polynomial of Jones.

use crc::{CRC_64_REDIS, Crc, Digest, Table};

static JONES: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// A checksum that grows with its bytes.
pub(crate) struct Checksum(Digest<'static, u64, Table<16>>);

impl Checksum {
    /// That of nothing.
    pub(crate) fn new() -> Self {
        Self(JONES.digest())
    }

    /// Takes more bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub(crate) fn value(&self) -> u64 {
        self.0.clone().finalize()
    }
}

/// The checksum of these bytes.
pub(crate) fn of(bytes: &[u8]) -> u64 {
    JONES.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_checksum_that_redis_uses() {
        assert_eq!(of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        let mut parts = Checksum::new();
        parts.update(b"1234");
        parts.update(b"56789");
        assert_eq!(parts.value(), of(b"123456789"));
    }
}
