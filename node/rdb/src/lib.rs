//! Redis' format of values on disk and on the wire: RDB files, and the payloads of `DUMP` and `RESTORE`.
//!
//! [`Reader`] takes a file or a replication stream apart, key after key; [`Writer`] puts one together; [`payload`] is for
//! single values. Read are versions up to 13 of Redis (8.6) and 80 and 81 of Valkey (9.0 and later) with every encoding
//! that these servers have written since version 2.6; written are the encodings of Redis 7.0.
//!
//! Not for deciding what to do with a value, and not for sockets: whoever reads or writes gives a [`std::io::Read`] or
//! [`std::io::Write`].
//!
//! What is read is believed nothing: no bytes make it panic, nothing recurses, and memory is taken as bytes arrive and not
//! as they are announced.

mod checksum;
mod decode;
mod encode;
mod error;
pub mod functions;
pub mod limits;
mod listpack;
mod lzf;
mod object;
pub mod payload;
mod reader;
mod score;
mod source;
mod writer;
mod ziplist;

pub use error::RdbError;
pub use object::{Consumer, Group, Hash, Kind, Object, PendingEntry, SortedSet, Stream, StreamEntry, StreamId, Texts};
pub use reader::{Entry, Item, Reader, verify};
pub use score::score_text;
pub use writer::Writer;
