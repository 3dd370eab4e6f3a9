//! HyperLogLogs: strings of registers from which the number of different elements is estimated.
//!
//! An element raises one register; a region sends the registers that rose, and those of all regions add up to the greater
//! of each ([`crdt::sketch`] has the bytes, [`crdt::patch`] what is sent).

mod estimate;

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::patch::{Piece, Raises};
use crdt::sketch::{self, Corrupted, Form, REGISTERS, Registers};
use estimate::{estimate, register_of};
use keyspace::EventClass;
use std::borrow::Cow;
use std::fmt::Write;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: pfadd,
        since: "2.8.9",
        summary: "Add elements to a HyperLogLog",
        group: Group::HyperLogLog,
        complexity: "O(1) to add every element",
        merge: Merge::Writes(
            "PFADD ‖ PFADD: the union. DEL ‖ PFADD: what the PFADD has changed stands. A PFADD that answers 0 writes nothing",
        ),
        subcommands: &[],
    },
    Command {
        name: "pfcount",
        arity: -2,
        flags: Flags::READONLY.union(Flags::MAY_REPLICATE),
        keys: Keys::Range { first: 1, last: -1, step: 1 },
        handler: pfcount,
        since: "2.8.9",
        summary: "Estimate how many different elements HyperLogLogs have seen",
        group: Group::HyperLogLog,
        complexity: "O(N) where N is the number of keys",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "pfmerge",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Range { first: 1, last: -1, step: 1 },
        handler: pfmerge,
        since: "2.8.9",
        summary: "Merge HyperLogLogs into one",
        group: Group::HyperLogLog,
        complexity: "O(N) to merge N HyperLogLogs",
        merge: Merge::Writes(
            "PFMERGE ‖ PFMERGE or PFADD: the union, of the sources as each region had observed them. DEL ‖ PFMERGE: what the PFMERGE has changed stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "pfdebug",
        arity: 3,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::ADMIN),
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        handler: pfdebug,
        since: "2.8.9",
        summary: "Show the inside of a HyperLogLog",
        group: Group::HyperLogLog,
        complexity: "N/A",
        merge: Merge::Writes(
            "TODENSE and GETREG change the form of the sketch, not its registers: PFDEBUG ‖ PFADD: both",
        ),
        subcommands: &[],
    },
    Command {
        name: "pfselftest",
        arity: 1,
        flags: Flags::ADMIN,
        keys: Keys::None,
        handler: pfselftest,
        since: "2.8.9",
        summary: "Test the implementation of HyperLogLogs",
        group: Group::HyperLogLog,
        complexity: "N/A",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

const NO_SKETCH: CommandError = CommandError::Plain("WRONGTYPE Key is not a valid HyperLogLog string value.");

impl From<Corrupted> for CommandError {
    fn from(_: Corrupted) -> Self {
        Self::Plain("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// Whether a string is a sketch, and in which form.
fn form(text: &[u8]) -> Result<Form, CommandError> {
    sketch::form(text).ok_or(NO_SKETCH)
}

fn pfadd(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    let registers = args[2..].iter().map(|element| register_of(element));
    let mut raises = Vec::new();
    let is_new = match call.store.string(db, key)? {
        None => {
            registers.for_each(|(index, value)| Raises::push(&mut raises, index, value));
            true
        }
        Some(text) => {
            form(&text)?;
            for (index, value) in registers {
                if sketch::value(&text, index)? < value {
                    Raises::push(&mut raises, index, value);
                }
            }
            false
        }
    };
    let is_changed = is_new || !raises.is_empty();
    if is_changed {
        patch(call, key, false, &raises);
    }
    call.reply.integer(i64::from(is_changed));
    Ok(())
}

/// Raises registers of a sketch, after giving it the dense form if it is to have it.
fn patch(call: &mut Call<'_, '_>, key: &[u8], is_dense: bool, raises: &[u8]) {
    let mut patch = Vec::with_capacity(raises.len() + 8);
    if is_dense {
        Piece::Dense.encode(&mut patch);
    }
    let raises = Raises::of(raises).expect("registers were pushed one by one");
    Piece::Raise(raises).encode(&mut patch);
    call.store.patch_string(call.client.database, key, &patch);
    call.store.note(EventClass::STRING, "pfadd", call.client.database, key);
}

fn pfcount(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let count = if let [_, key] = args {
        match call.store.string(db, key)? {
            None => 0,
            Some(text) => {
                form(&text)?;
                match sketch::kept_estimate(&text) {
                    Some(kept) => kept,
                    None => estimate(&sketch::histogram(&text)?),
                }
            }
        }
    } else {
        estimate(&histogram_of(&union(call, &args[1..])?.0))
    };
    call.reply.integer(count as i64);
    Ok(())
}

/// The union of sketches, and whether any has the dense form.
fn union(call: &mut Call<'_, '_>, keys: &[&[u8]]) -> Result<(Box<Registers>, bool), CommandError> {
    let db = call.db();
    let mut all: Box<Registers> = Box::new([0; REGISTERS]);
    let mut is_dense = false;
    for key in keys {
        if let Some(text) = call.store.string(db, key)? {
            is_dense |= form(&text)? == Form::Dense;
            sketch::merge_into(&mut all, &text)?;
        }
    }
    Ok((all, is_dense))
}

fn histogram_of(registers: &Registers) -> [u32; 64] {
    let mut counts = [0; 64];
    registers.iter().for_each(|value| counts[usize::from(*value)] += 1);
    counts
}

fn pfmerge(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, target) = (call.db(), args[1]);
    let (all, is_dense) = union(call, &args[1..])?;
    let mut own: Box<Registers> = Box::new([0; REGISTERS]);
    let mut was_dense = false;
    if let Some(text) = call.store.string(db, target)? {
        was_dense = form(&text)? == Form::Dense;
        sketch::merge_into(&mut own, &text)?;
    }
    let mut raises = Vec::new();
    let higher = all.iter().zip(own.iter()).enumerate().filter(|(_, (all, own))| all > own);
    higher.for_each(|(index, (value, _))| Raises::push(&mut raises, index, *value));
    patch(call, target, is_dense && !was_dense, &raises);
    call.reply.ok();
    Ok(())
}

fn pfdebug(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[2]);
    let Some(text) = call.store.string(db, key)?.map(Cow::into_owned) else {
        return Err(CommandError::Plain("ERR The specified key does not exist"));
    };
    let form = form(&text)?;
    let subcommand = args[1].to_ascii_lowercase();
    match (&*subcommand, form) {
        (b"getreg", _) => {
            let mut registers: Box<Registers> = Box::new([0; REGISTERS]);
            sketch::merge_into(&mut registers, &text)?;
            if form == Form::Sparse {
                make_dense(call, key);
            }
            call.reply.array(REGISTERS);
            registers.iter().for_each(|value| call.reply.integer(i64::from(*value)));
        }
        (b"encoding", Form::Sparse) => call.reply.simple("sparse"),
        (b"encoding", Form::Dense) => call.reply.simple("dense"),
        (b"decode", Form::Dense) => return Err(CommandError::Plain("ERR HLL encoding is not sparse")),
        (b"decode", Form::Sparse) => {
            let decoded = decoded(&text);
            call.reply.bulk(decoded.as_bytes());
        }
        (b"todense", _) => {
            if form == Form::Sparse {
                sketch::histogram(&text)?;
                make_dense(call, key);
            }
            call.reply.integer(i64::from(form == Form::Sparse));
        }
        _ => {
            let name = String::from_utf8_lossy(args[1]);
            return Err(CommandError::Detailed(format!("ERR Unknown PFDEBUG subcommand '{name}'")));
        }
    }
    Ok(())
}

fn make_dense(call: &mut Call<'_, '_>, key: &[u8]) {
    let mut patch = Vec::new();
    Piece::Dense.encode(&mut patch);
    call.store.patch_string(call.client.database, key, &patch);
}

/// The runs of a sketch as text.
fn decoded(text: &[u8]) -> String {
    let mut out = String::new();
    for run in sketch::runs(text) {
        let _ = match (run.value, run.bytes) {
            (0, 1) => write!(out, "z:{} ", run.length),
            (0, _) => write!(out, "Z:{} ", run.length),
            (value, _) => write!(out, "v:{value},{} ", run.length),
        };
    }
    out.truncate(out.trim_end().len());
    out
}

/// Whether registers come back from both forms, and an estimate is near the truth.
fn pfselftest(call: &mut Call<'_, '_>, _: &[&[u8]]) -> Result<(), CommandError> {
    const ELEMENTS: u64 = 10_000;
    const FAILED: CommandError =
        CommandError::Plain("ERR TESTFAILED the registers or the estimate of a sketch are wrong");
    let (mut text, mut registers) = (sketch::empty(), Box::new([0; REGISTERS]));
    for element in 0..ELEMENTS {
        let (index, value) = register_of(&element.to_le_bytes());
        sketch::raise(&mut text, index, value)?;
        registers[index] = registers[index].max(value);
    }
    let mut read: Box<Registers> = Box::new([0; REGISTERS]);
    sketch::merge_into(&mut read, &text)?;
    let counts = sketch::histogram(&text)?;
    let is_near = estimate(&counts).abs_diff(ELEMENTS) <= ELEMENTS / 20;
    if read != registers || counts != histogram_of(&registers) || !is_near {
        return Err(FAILED);
    }
    call.reply.ok();
    Ok(())
}
