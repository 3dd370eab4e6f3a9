//! Bytes to requests and replies to bytes: the Redis protocol, versions 2 and 3.
//!
//! Pure: no socket, no clock, no knowledge of any command. A [`Parser`] finds requests in a growing buffer and a
//! [`Reply`] appends answers to one. What a request means is decided in the server.

mod inline;
mod limits;
mod number;
mod parser;
mod reply;
mod request;

pub use limits::{ARGUMENTS_MAX, INLINE_BYTES_MAX, UNAUTHENTICATED_ARGUMENTS_MAX, UNAUTHENTICATED_BULK_BYTES_MAX};
pub use number::{double_text, parse_double, parse_integer, write_integer};
pub use parser::{Limits, Parser, Progress, ProtocolError};
pub use reply::{Deferred, Reply, Version};
pub use request::write_request;
