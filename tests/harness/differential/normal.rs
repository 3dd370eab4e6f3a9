//! Answers with everything in a fixed order whose order is nobody's promise, and without what is random or passes.

use super::told::Common;
use crate::reply::Reply;

/// The answer to a call, ready to be compared.
pub fn normal(call: &[Vec<u8>], answer: Reply, common: &Common) -> Reply {
    let name = name_of(call);
    match (name.as_str(), answer) {
        ("KEYS" | "HKEYS" | "HVALS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF", answer) => sorted(answer, 1),
        ("HGETALL", answer) => sorted(answer, 2),
        // What is compared by something else may be alike, and sets have no order to keep.
        ("SORT" | "SORT_RO", Reply::Array(elements)) if has(call, "BY") && has(call, "LIMIT") => {
            Reply::Integer(elements.len() as i64)
        }
        ("SORT" | "SORT_RO", answer) if has(call, "BY") => sorted(answer, 1),
        // Picks with a count of at least all of them are not random.
        ("SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "SPOP", answer) => picked(answer),
        ("RANDOMKEY", Reply::Bulk(_)) => Reply::Simple("some key".to_owned()),
        ("TTL" | "EXPIRETIME", Reply::Integer(number)) => Reply::Integer(rounded(number, 10)),
        ("PTTL" | "PEXPIRETIME", Reply::Integer(number)) => Reply::Integer(rounded(number, 10_000)),
        ("TIME", Reply::Array(parts)) => Reply::Integer(parts.len() as i64),
        ("OBJECT", Reply::Integer(number)) if second(call, "IDLETIME") => Reply::Integer(rounded(number, 10)),
        ("XPENDING" | "XINFO", answer) => without_times(answer),
        (_, answer) => common.told(call, answer),
    }
}

/// Without moments, and without how long something has been as it is.
fn without_times(answer: Reply) -> Reply {
    match answer {
        Reply::Integer(moment) if moment > MOMENTS_FROM_MS => Reply::Integer(MOMENTS_FROM_MS),
        Reply::Array(mut elements) => {
            // What is pending: id, consumer, for how long, how often.
            if let [Reply::Bulk(_), Reply::Bulk(_), idle @ Reply::Integer(_), Reply::Integer(_)] = &mut elements[..] {
                *idle = Reply::Integer(0);
            }
            Reply::Array(without_idle(elements))
        }
        Reply::Map(elements) => Reply::Map(without_idle(elements)),
        answer => answer,
    }
}

/// The same of elements, where a name may say that a time follows.
fn without_idle(elements: Vec<Reply>) -> Vec<Reply> {
    let mut is_idle = false;
    let element = |element: Reply| {
        let was_idle = std::mem::replace(&mut is_idle, element == Reply::Bulk(b"idle".to_vec()));
        if was_idle && matches!(element, Reply::Integer(_)) { Reply::Integer(0) } else { without_times(element) }
    };
    elements.into_iter().map(element).collect()
}

/// Integers from here on are moments in Unix milliseconds, and no counts.
const MOMENTS_FROM_MS: i64 = 1_500_000_000_000;

/// The answers to the calls of a transaction.
pub fn normal_transaction(queued: &[Vec<Vec<u8>>], answer: Reply, common: &Common) -> Reply {
    match answer {
        Reply::Array(answers) if answers.len() == queued.len() => {
            Reply::Array(queued.iter().zip(answers).map(|(call, answer)| normal(call, answer, common)).collect())
        }
        answer => answer,
    }
}

/// The command in capital letters.
pub fn name_of(call: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&call[0]).to_ascii_uppercase()
}

fn has(call: &[Vec<u8>], word: &str) -> bool {
    call[1..].iter().any(|given| given.eq_ignore_ascii_case(word.as_bytes()))
}

fn second(call: &[Vec<u8>], word: &str) -> bool {
    call.get(1).is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()))
}

/// In a fixed order, `group` elements together.
pub fn sorted(answer: Reply, group: usize) -> Reply {
    let in_order = |elements: Vec<Reply>| {
        let mut groups: Vec<Vec<Reply>> = elements.chunks(group).map(<[Reply]>::to_vec).collect();
        groups.sort();
        groups.concat()
    };
    match answer {
        Reply::Array(elements) => Reply::Array(in_order(elements)),
        Reply::Set(elements) => Reply::Set(in_order(elements)),
        Reply::Map(elements) => Reply::Map(in_order(elements)),
        answer => answer,
    }
}

/// What was picked does not matter, how many does.
fn picked(answer: Reply) -> Reply {
    let count = |elements: Vec<Reply>| {
        let shapes = elements.iter().map(|element| match element {
            Reply::Array(parts) => format!("[{}]", parts.len()),
            _ => "one".to_owned(),
        });
        Reply::Simple(shapes.collect::<Vec<_>>().join(" "))
    };
    match answer {
        Reply::Array(elements) => Reply::Array(vec![count(elements)]),
        Reply::Set(elements) => Reply::Set(vec![count(elements)]),
        Reply::Map(elements) => Reply::Map(vec![count(elements)]),
        Reply::Bulk(_) => Reply::Simple("one".to_owned()),
        answer => answer,
    }
}

/// Time that passes between two servers does not matter. Answers like -1 and -2 stay.
fn rounded(number: i64, unit: i64) -> i64 {
    if number < unit { number.min(0) } else { number.saturating_add(unit / 2) / unit }
}
