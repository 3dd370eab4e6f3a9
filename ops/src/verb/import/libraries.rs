//! Libraries of functions of a server that is asked for them.

use super::loader::unreadable;
use crate::failure::{Failure, Result};
use crate::reply::Reply;
use crate::wire::Wire;

/// The code of each library of a server, or its refusal to show them. A server without functions has none.
pub fn libraries(wire: &mut Wire) -> Result<std::result::Result<Vec<Vec<u8>>, String>> {
    match wire.try_call(&[b"FUNCTION", b"DUMP"])? {
        Reply::Text(payload) => {
            let what = format!("what {} answers to FUNCTION DUMP", wire.address());
            rdb::functions::restore(&payload).map(Ok).map_err(|error| unreadable(&what, 0, error))
        }
        Reply::Error(text) if text.starts_with("ERR unknown command") => Ok(Ok(Vec::new())),
        Reply::Error(text) => Ok(Err(text)),
        Reply::Integer(_) | Reply::Null | Reply::List(_) => {
            Err(Failure::refused(wire.address(), "ERR it answers to FUNCTION DUMP what is no payload"))
        }
    }
}
