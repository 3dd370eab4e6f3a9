//! Answers with everything in a fixed order whose order is nobody's promise, and without what is random or passes.

use crate::reply::Reply;

/// The answer to a call, ready to be compared.
pub fn normal(call: &[Vec<u8>], answer: Reply) -> Reply {
    let name = name_of(call);
    match (name.as_str(), answer) {
        ("KEYS" | "HKEYS" | "HVALS" | "SMEMBERS" | "SINTER" | "SUNION" | "SDIFF", answer) => sorted(answer, 1),
        ("HGETALL", answer) => sorted(answer, 2),
        // Picks with a count of at least all of them are not random.
        ("SRANDMEMBER" | "HRANDFIELD" | "ZRANDMEMBER" | "SPOP", answer) => picked(answer),
        ("RANDOMKEY", Reply::Bulk(_)) => Reply::Simple("some key".to_owned()),
        ("TTL" | "EXPIRETIME", Reply::Integer(number)) => Reply::Integer(rounded(number, 10)),
        ("PTTL" | "PEXPIRETIME", Reply::Integer(number)) => Reply::Integer(rounded(number, 10_000)),
        ("TIME", Reply::Array(parts)) => Reply::Integer(parts.len() as i64),
        ("OBJECT", Reply::Integer(number)) if second(call, "IDLETIME") => Reply::Integer(rounded(number, 10)),
        (_, answer) => answer,
    }
}

/// The answers to the calls of a transaction.
pub fn normal_transaction(queued: &[Vec<Vec<u8>>], answer: Reply) -> Reply {
    match answer {
        Reply::Array(answers) if answers.len() == queued.len() => {
            Reply::Array(queued.iter().zip(answers).map(|(call, answer)| normal(call, answer)).collect())
        }
        answer => answer,
    }
}

/// The command in capital letters.
pub fn name_of(call: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(&call[0]).to_ascii_uppercase()
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
