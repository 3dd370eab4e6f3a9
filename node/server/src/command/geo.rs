//! Places on the earth as members of sorted sets: a score is the number of the cell in which the place lies.
//!
//! Searches have a file of their own; what cells are is said with them.

mod cell;
pub mod search;

use super::number;
use super::sorted_set::{AddOptions, put};
use super::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use cell::Position;
use keyspace::{ExactFloat, SortedElements};
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "geoadd",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::ONE,
        handler: geoadd,
        since: "3.2.0",
        summary: "Add one or more geospatial items in the geospatial index represented using a sorted set",
        group: Group::Geo,
        complexity: "O(log(N)) for each item added, where N is the number of elements in the sorted set",
        merge: Merge::Writes(
            "As ZADD of the positions: GEOADD x ‖ GEOADD y: both members; GEOADD x ‖ GEOADD x: the later stamp; ZREM x ‖ GEOADD x: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "geopos",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: geopos,
        since: "3.2.0",
        summary: "Returns longitude and latitude of members of a geospatial index",
        group: Group::Geo,
        complexity: "O(N) where N is the number of members requested",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "geodist",
        arity: -4,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: geodist,
        since: "3.2.0",
        summary: "Returns the distance between two members of a geospatial index",
        group: Group::Geo,
        complexity: "O(log(N))",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "geohash",
        arity: -2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: geohash,
        since: "3.2.0",
        summary: "Returns members of a geospatial index as standard geohash strings",
        group: Group::Geo,
        complexity: "O(log(N)) for each member requested, where N is the number of elements in the sorted set",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn geoadd(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let mut options = AddOptions::default();
    let mut words = 0;
    for word in &args[2..] {
        let option = match word.to_ascii_lowercase().as_slice() {
            b"nx" => &mut options.only_new,
            b"xx" => &mut options.only_known,
            b"ch" => &mut options.counts_changes,
            _ => break,
        };
        *option = true;
        words += 1;
    }
    let places = &args[2 + words..];
    if places.is_empty() || !places.len().is_multiple_of(3) || options.only_new && options.only_known {
        return Err(CommandError::Syntax);
    }
    let mut pairs = Vec::with_capacity(places.len() / 3);
    for place in places.chunks_exact(3) {
        pairs.push((place[2], position(place[0], place[1])?.score()));
    }
    put(call, args[1], options, &pairs)
}

/// A place that arguments name.
fn position(longitude: &[u8], latitude: &[u8]) -> Result<Position, CommandError> {
    let degrees = |text| number::double(text).ok_or(CommandError::NotAFloat);
    let (longitude, latitude) = (degrees(longitude)?, degrees(latitude)?);
    Position::new(longitude, latitude).ok_or_else(|| {
        let [longitude, latitude] = [longitude, latitude].map(six_decimals);
        CommandError::Detailed(format!("ERR invalid longitude,latitude pair {longitude},{latitude}"))
    })
}

/// As C's `%f` prints it.
fn six_decimals(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { resp::double_text(value) }
}

/// Metres of a unit.
fn unit_m(text: &[u8]) -> Result<f64, CommandError> {
    match text.to_ascii_lowercase().as_slice() {
        b"m" => Ok(1.0),
        b"km" => Ok(1000.0),
        b"ft" => Ok(0.3048),
        b"mi" => Ok(1609.34),
        _ => Err(CommandError::Plain("ERR unsupported unit provided. please use M, KM, FT, MI")),
    }
}

fn place_of(members: Option<&SortedElements<'_>>, member: &[u8]) -> Option<Position> {
    members.and_then(|members| members.score(member)).map(Position::of_score)
}

fn geopos(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        match place_of(members.as_ref(), member) {
            Some(place) => write_position(call.reply, place),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

/// Degrees are printed as increments of floats are.
fn write_position(reply: &mut Reply, place: Position) {
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        reply.decimal(&ExactFloat::from_f64(degrees).to_redis_text());
    }
}

fn geodist(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let unit = match args[4..] {
        [] => 1.0,
        [unit] => unit_m(unit)?,
        _ => return Err(CommandError::Syntax),
    };
    let members = call.store.sorted_set(db, args[1])?;
    let places = [args[2], args[3]].map(|member| place_of(members.as_ref(), member));
    match places {
        [Some(one), Some(other)] => write_distance(call.reply, one.distance_m(other) / unit),
        [None, _] | [_, None] => call.reply.null(),
    }
    Ok(())
}

fn write_distance(reply: &mut Reply, distance: f64) {
    reply.bulk(format!("{distance:.4}").as_bytes());
}

fn geohash(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[1])?;
    call.reply.array(args.len() - 2);
    for member in &args[2..] {
        match place_of(members.as_ref(), member) {
            Some(place) => call.reply.bulk(place.geohash().as_bytes()),
            None => call.reply.null(),
        }
    }
    Ok(())
}
