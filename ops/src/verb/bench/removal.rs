//! Removing what a bench has written. A cache in production may be what was loaded, so this is tried whatever became of the
//! load; what cannot be removed is told.
//!
//! SUBTLE: every loaded node is asked. A removal takes away what the node that carries it out has seen, and what was written
//! a moment ago at another one may not have arrived there.

use super::load;
use crate::failure::{Failure, Result};
use crate::target::Password;
use crate::wire::Wire;

/// Removes the keys of the probes, and the first `keys` of those of the load, at every node.
pub(super) fn remove(addresses: &[String], secret: &Password, probed: &[String], keys: u64) -> Result<()> {
    if keys == 0 && probed.is_empty() {
        return Ok(());
    }
    let left = addresses.iter().filter_map(|address| {
        let failure = remove_at(address, secret, probed, keys).err()?;
        Some(format!("{address} ({failure})"))
    });
    let left: Vec<String> = left.collect();
    if left.is_empty() {
        return Ok(());
    }
    let how = match keys {
        0 => format!("`DEL {}`", probed.join(" ")),
        keys => format!("`pelago bench --via {} --keys {keys} --requests 0`", addresses.join(",")),
    };
    Err(Failure::Arguments(format!(
        "keys that begin with pelago-bench: could not all be removed at {}; when that is mended, {how} removes them",
        left.join(" and at "),
    )))
}

fn remove_at(address: &str, secret: &Password, probed: &[String], keys: u64) -> Result<()> {
    let mut wire = secret.wire(address)?;
    if !probed.is_empty() {
        remove_these(&mut wire, probed)?;
    }
    let mut first = 0;
    while first < keys {
        let after = keys.min(first.saturating_add(KEYS_REMOVED_AT_ONCE));
        let names: Vec<String> = (first..after).map(load::key).collect();
        remove_these(&mut wire, &names)?;
        first = after;
    }
    Ok(())
}

fn remove_these(wire: &mut Wire, names: &[String]) -> Result<()> {
    let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(names.iter().map(|name| name.as_bytes())).collect();
    wire.call(&words).map(|_| ())
}

/// A request of some ten KiB, which holds up nobody else.
const KEYS_REMOVED_AT_ONCE: u64 = 1000;
