//! The bounds of the membership.

/// Bytes of a node's or a region's name. Long enough for any cloud's zone names, short enough for a line of status.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of an address: a DNS name has at most 253, plus a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Bytes of an encoded membership that are looked at. A member takes some 250 bytes and a spent number some 80, so all
/// 1024 numbers with as many members stay far below it; more than this is no membership.
pub const MEMBERSHIP_BYTES_MAX: usize = 4 << 20;

/// Numbers that are handed to a new member beside its own, for the members that it admits and for its own next lives.
/// Few, since those of a member that is lost are lost with it; who has none left is given as many by the member that has
/// most.
pub const NUMBERS_GRANTED_MAX: u16 = 15;
