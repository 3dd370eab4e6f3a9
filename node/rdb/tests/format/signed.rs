//! Payloads of any bytes with the right checksum.

/// A payload with the right checksum, which this crate gives to nobody: computed bit by bit.
pub fn signed(body: &[u8], version: u16) -> Vec<u8> {
    let mut bytes = [body, &version.to_le_bytes()].concat();
    let mut checksum = 0u64;
    for byte in &bytes {
        checksum ^= u64::from(*byte);
        for _ in 0..8 {
            let carry = checksum & 1;
            checksum = (checksum >> 1) ^ (0x95ac_9329_ac4b_c9b5 * carry);
        }
    }
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}
