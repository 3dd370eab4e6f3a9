//! `SORT`: the elements of a list, set or sorted set in order, or what keys that are named after them hold.
//!
//! Which keys those are is known only when the elements have been read. Their slots are locked together with that of the
//! elements, and then these are read again: what is answered was there at one moment, as in Redis.

use crate::command::members::Names;
use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::ExactFloat;
use keyspace::{Database, End, EventClass, Kind, slot_of};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        arity: -2,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::DANGEROUS),
        keys: Keys::Open { named: named_keys, are_open },
        handler: sort,
        since: "1.0.0",
        summary: "Sort the elements in a list, set or sorted set",
        group: Group::Generic,
        complexity: COMPLEXITY,
        merge: Merge::Writes(
            "Without STORE it only reads; with it the target loses what its region had observed and becomes a list of what its region has found: SORT STORE ‖ SORT STORE leaves the elements of both results, SORT STORE ‖ RPUSH x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "sort_ro",
        arity: -2,
        flags: Flags::READONLY.union(Flags::DANGEROUS),
        keys: Keys::Open { named: first_key, are_open },
        handler: sort_ro,
        since: "7.0.0",
        summary: "Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
        group: Group::Generic,
        complexity: COMPLEXITY,
        merge: Merge::Reads,
        subcommands: &[],
    },
];

const COMPLEXITY: &str = "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).";

/// How often locks are changed because other keys are named than when they were taken. Then all slots are locked.
const LOCKING_TRIES_MAX: usize = 3;

/// What a request asks for.
#[derive(Debug, Default)]
struct Order<'p> {
    /// What elements are compared by; they themselves without.
    by: Option<&'p [u8]>,
    /// Elements stay in the order in which they are.
    is_kept: bool,
    /// What is answered of each element; it itself without.
    gets: Vec<&'p [u8]>,
    start: i64,
    /// Negative: all.
    count: i64,
    descends: bool,
    is_alphabetic: bool,
    /// The key that gets the result.
    target: Option<&'p [u8]>,
}

/// What one element is compared by.
enum Weight {
    Number(f64),
    /// Nothing comes before everything.
    Text(Option<Vec<u8>>),
}

fn sort(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let order = Order::parse(&args[2..], true)?;
    order.permit(call, args)?;
    run(call, args[1], &order)
}

fn sort_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let order = Order::parse(&args[2..], false)?;
    order.permit(call, args)?;
    run(call, args[1], &order)
}

impl Order<'_> {
    /// Whether the client may have other keys read, which ones only the elements tell.
    fn permit(&self, call: &Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
        let looks_by = self.by.is_some_and(has_star);
        if call.client.user.is_unrestricted() || !looks_by && self.gets.is_empty() {
            return Ok(());
        }
        let entry = args.first().and_then(|name| call.node.table.find(name));
        if entry.is_some_and(|entry| call.client.user.rights().reads_every_key(entry, args)) {
            return Ok(());
        }
        Err(CommandError::Plain(if looks_by {
            "ERR BY option of SORT denied due to insufficient ACL permissions."
        } else {
            "ERR GET option of SORT denied due to insufficient ACL permissions."
        }))
    }
}

fn run(call: &mut Call<'_, '_>, key: &[u8], order: &Order<'_>) -> Result<(), CommandError> {
    let db = call.db();
    let (elements, kind) = lock_named(call, key, order)?;
    let chosen = order.choose(call, db, elements.iter().collect(), kind)?;
    match order.target {
        None => answer(call, db, order, &chosen),
        Some(target) => store(call, db, order, &chosen, target),
    }
    Ok(())
}

/// Reads the elements, with the slots of all keys locked that the patterns name for them.
fn lock_named(call: &mut Call<'_, '_>, key: &[u8], order: &Order<'_>) -> Result<(Names, Option<Kind>), CommandError> {
    let db = call.db();
    for _ in 0..LOCKING_TRIES_MAX {
        let found = elements_of(call, db, key, order)?;
        let slots = order.slots(key, &found.0);
        if slots.iter().all(|&slot| call.store.holds(slot)) {
            return Ok(found);
        }
        if !call.store.hold_instead(&slots) {
            return Err(is_busy(call));
        }
    }
    if !call.store.hold_everything() {
        return Err(is_busy(call));
    }
    elements_of(call, db, key, order)
}

/// A script holds for very long what is to be locked.
fn is_busy(call: &Call<'_, '_>) -> CommandError {
    CommandError::Plain(call.node.scripts.running.refusal())
}

/// The elements, of sorted sets and lists in their order if that is kept, and what holds them.
fn elements_of(
    call: &mut Call<'_, '_>,
    db: Database,
    key: &[u8],
    order: &Order<'_>,
) -> Result<(Names, Option<Kind>), CommandError> {
    let mut names = Names::new();
    let kind = call.store.kind(db, key);
    match kind {
        None => {}
        Some(Kind::List) => {
            if let Some(list) = call.store.list(db, key)? {
                let from_end = order.is_kept && order.descends;
                let (there, back) = if from_end { (None, Some(list.iter_back())) } else { (Some(list.iter()), None) };
                there.into_iter().flatten().for_each(|text| names.push(&text));
                back.into_iter().flatten().for_each(|text| names.push(&text));
            }
        }
        Some(Kind::Set) => {
            let members = call.store.set(db, key)?;
            members.iter().flat_map(|members| members.iter()).for_each(|(member, _)| names.push(member));
        }
        Some(Kind::SortedSet) => {
            if let Some(members) = call.store.sorted_set(db, key)? {
                if order.is_kept {
                    let members = members.in_order();
                    members.range(0..members.len(), order.descends).for_each(|(member, _)| names.push(member));
                } else {
                    members.iter().for_each(|(member, _)| names.push(member));
                }
            }
        }
        Some(Kind::String | Kind::Hash | Kind::Stream) => return Err(CommandError::WrongType),
    }
    Ok((names, kind))
}

fn answer(call: &mut Call<'_, '_>, db: Database, order: &Order<'_>, chosen: &[&[u8]]) {
    if order.gets.is_empty() {
        call.reply.array(chosen.len());
        chosen.iter().for_each(|element| call.reply.bulk(element));
        return;
    }
    call.reply.array(chosen.len() * order.gets.len());
    for element in chosen {
        for pattern in &order.gets {
            match looked_up(call, db, pattern, element) {
                Some(value) => call.reply.bulk(&value),
                None => call.reply.null(),
            }
        }
    }
}

fn store(call: &mut Call<'_, '_>, db: Database, order: &Order<'_>, chosen: &[&[u8]], target: &[u8]) {
    let mut values = Names::new();
    for element in chosen {
        if order.gets.is_empty() {
            values.push(element);
        }
        for pattern in &order.gets {
            values.push(&looked_up(call, db, pattern, element).unwrap_or_default());
        }
    }
    let was_there = call.store.delete(db, target);
    if !values.is_empty() {
        // It was removed just now, so it is of no other type.
        let _ = call.store.push(db, target, End::Tail, values.iter());
    }
    call.store.note_stored(EventClass::LIST, "sortstore", db, target, was_there);
    call.reply.count(values.len());
}

/// What a pattern names for an element, if it is there and a string.
fn looked_up(call: &mut Call<'_, '_>, db: Database, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let (key, field) = named_by(pattern, element)?;
    match field {
        None => call.store.string(db, &key).ok()?.map(|value| value.into_owned()),
        Some(field) => call.store.hash(db, &key).ok()??.get(field).map(|value| value.into_owned()),
    }
}

/// The key, and perhaps the field, that a pattern names for an element: its first `*` stands for it.
fn named_by<'p>(pattern: &'p [u8], element: &[u8]) -> Option<(Vec<u8>, Option<&'p [u8]>)> {
    // What Redis looks for ends at a zero byte.
    let text = pattern.split(|byte| *byte == 0).next().unwrap_or_default();
    let star = text.iter().position(|byte| *byte == b'*')?;
    let arrow = text[star + 1..].windows(2).position(|two| two == b"->").map(|at| star + 1 + at);
    let field = arrow.map(|at| at + 2).filter(|&at| at < text.len());
    let end = match (arrow, field) {
        (Some(arrow), Some(_)) => arrow,
        (None, _) | (_, None) => pattern.len(),
    };
    let key = [&pattern[..star], element, &pattern[star + 1..end]].concat();
    Some((key, field.map(|at| &pattern[at..])))
}

impl<'p> Order<'p> {
    fn parse(words: &[&'p [u8]], may_store: bool) -> Result<Self, CommandError> {
        let mut order = Self { count: -1, ..Self::default() };
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is("asc") {
                order.descends = false;
            } else if is("desc") {
                order.descends = true;
            } else if is("alpha") {
                order.is_alphabetic = true;
            } else if is("limit") && words.len() >= 2 {
                let mut next = || number::integer(words.next().unwrap_or_default());
                (order.start, order.count) = (next()?, next()?);
            } else if is("store") && may_store && words.len() >= 1 {
                order.target = words.next();
            } else if is("by") && words.len() >= 1 {
                order.by = words.next();
                order.is_kept |= order.by.is_some_and(|pattern| !has_star(pattern));
            } else if is("get") && words.len() >= 1 {
                order.gets.extend(words.next());
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(order)
    }

    /// The slots of all keys that are looked at.
    fn slots(&self, key: &[u8], elements: &Names) -> BTreeSet<u16> {
        let mut slots: BTreeSet<u16> = [Some(key), self.target].into_iter().flatten().map(slot_of).collect();
        let compared = self.by.filter(|_| !self.is_kept);
        for pattern in compared.iter().chain(&self.gets) {
            let named = elements.iter().filter_map(|element| named_by(pattern, element));
            slots.extend(named.map(|(key, _)| slot_of(&key)));
        }
        slots
    }

    /// The elements that are answered, in the order in which they are.
    fn choose<'e>(
        &self,
        call: &mut Call<'_, '_>,
        db: Database,
        mut elements: Vec<&'e [u8]>,
        kind: Option<Kind>,
    ) -> Result<Vec<&'e [u8]>, CommandError> {
        // A set has no order that could be kept; what is stored is to be the same wherever it is found.
        if self.is_kept && self.target.is_some() && kind == Some(Kind::Set) {
            elements.sort_unstable();
            if self.descends {
                elements.reverse();
            }
        } else if !self.is_kept {
            elements = self.sorted(call, db, elements)?;
        }
        let length = elements.len() as i64;
        let start = self.start.clamp(0, length);
        let end = if self.count < 0 { length } else { start.saturating_add(self.count).min(length) };
        Ok(elements[start as usize..end as usize].to_vec())
    }

    fn sorted<'e>(
        &self,
        call: &mut Call<'_, '_>,
        db: Database,
        elements: Vec<&'e [u8]>,
    ) -> Result<Vec<&'e [u8]>, CommandError> {
        let mut weighed = Vec::with_capacity(elements.len());
        for element in elements {
            let text = match self.by {
                None => Some(element.to_vec()),
                Some(pattern) => looked_up(call, db, pattern, element),
            };
            let weight = match text {
                text if self.is_alphabetic => Weight::Text(text),
                None => Weight::Number(0.0),
                Some(text) => Weight::Number(double(&text).ok_or(NOT_NUMBERS)?),
            };
            weighed.push((weight, element));
        }
        let is_collated = self.target.is_none();
        weighed.sort_by(|one, other| {
            let order = match (&one.0, &other.0) {
                (Weight::Number(first), Weight::Number(second)) => {
                    first.partial_cmp(second).unwrap_or(Ordering::Equal).then_with(|| one.1.cmp(other.1))
                }
                (Weight::Text(first), Weight::Text(second)) if is_collated => {
                    first.as_deref().map(collated).cmp(&second.as_deref().map(collated))
                }
                (Weight::Text(first), Weight::Text(second)) => first.cmp(second),
                (Weight::Number(_), Weight::Text(_)) | (Weight::Text(_), Weight::Number(_)) => Ordering::Equal,
            };
            if self.descends { order.reverse() } else { order }
        });
        Ok(weighed.into_iter().map(|(_, element)| element).collect())
    }
}

const NOT_NUMBERS: CommandError = CommandError::Plain("ERR One or more scores can't be converted into double");

/// What Redis compares of a text that it answers: up to a zero byte.
fn collated(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn has_star(pattern: &[u8]) -> bool {
    collated(pattern).contains(&b'*')
}

/// A number as C's `strtod` reads it, all of the text up to a zero byte. Nothing is 0; what no double holds is none.
fn double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(collated(text)).ok()?;
    if text.is_empty() {
        return Some(0.0);
    }
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if let Some(value) = ExactFloat::parse_hexadecimal(text.as_bytes()) {
        return Some(value.to_f64());
    }
    if number::is_infinite(digits.as_bytes()) && digits.as_bytes()[0].is_ascii_alphabetic() {
        return Some(sign * f64::INFINITY);
    }
    // `parse` reads further words and signs, and as many digits as there are.
    let is_number = digits.bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = digits.parse().ok().filter(|_| is_number)?;
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let is_nought = !mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    (value.is_normal() || value == 0.0 && is_nought).then_some(sign * value)
}

fn first_key(_: &[&[u8]]) -> Option<Vec<usize>> {
    Some(vec![1])
}

/// The first argument, and what the last `STORE` says.
fn named_keys(args: &[&[u8]]) -> Option<Vec<usize>> {
    let (mut target, mut at) = (None, 2);
    while at < args.len() {
        let is = |name: &str| args[at].eq_ignore_ascii_case(name.as_bytes());
        if is("limit") {
            at += 2;
        } else if is("get") || is("by") {
            at += 1;
        } else if is("store") && at + 1 < args.len() {
            target = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    Some(std::iter::once(1).chain(target).collect())
}

/// Whether patterns name further keys.
fn are_open(args: &[&[u8]]) -> bool {
    let is_pattern = |pair: &[&[u8]]| {
        (pair[0].eq_ignore_ascii_case(b"by") || pair[0].eq_ignore_ascii_case(b"get")) && has_star(pair[1])
    };
    args.get(2..).is_some_and(|words| words.windows(2).any(is_pattern))
}
