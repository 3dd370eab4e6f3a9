//! The bounds of the membership.

/// Bytes of a node's or a region's name. Long enough for any cloud's zone names, short enough for a line of status.
pub const NAME_BYTES_MAX: usize = 64;

/// Bytes of an address: a DNS name has at most 253, plus a port.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// Bytes of an encoded membership that are looked at. A member takes some 250 bytes and a spent number some 80, so all
/// 1024 numbers with as many members stay far below it; more than this is no membership.
pub const MEMBERSHIP_BYTES_MAX: usize = 4 << 20;

/// Numbers that are handed to a new member beside its own, for the members that it admits and for its own next lives.
/// Few, since those of a member that is lost are lost with it; who has none left is given one more than so many.
pub const NUMBERS_GRANTED_MAX: u16 = 15;

/// Members that share what is not handed out, those that were admitted first: the loss of one costs its share only.
pub const RESERVES_MAX: usize = 3;

/// For so long they have been members, in milliseconds: members that come and go within an hour are given few.
pub const RESERVE_AGE_MS: u64 = 3_600_000;

/// By so many more than one and a half times as many numbers has who gives some of them to one of those.
pub const RESERVES_UNEVEN: usize = 32;

/// For so long it is one member's turn to give numbers to who has none, in milliseconds; then it is the next one's, which may
/// have a link to it where the first has none.
pub const GIVING_TURN_MS: u64 = 5_000;
