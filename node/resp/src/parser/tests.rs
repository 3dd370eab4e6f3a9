//! The parser against honest, fragmented and hostile bytes.

use super::*;

const LIMITS: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
const STRANGER: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: false };

type Requests = Vec<Vec<Vec<u8>>>;

/// Feeds `pieces` one after the other as a connection does, and returns the requests and how it ended.
fn feed<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, limits: Limits) -> (Requests, Option<ProtocolError>) {
    let (mut parser, mut buffer, mut requests) = (Parser::new(), Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match parser.next(&buffer, limits) {
                Ok(Progress::Request(length)) => {
                    requests.push(parser.arguments(&buffer).map(<[u8]>::to_vec).collect());
                    buffer.drain(..length);
                }
                Ok(Progress::Incomplete(wanted)) => {
                    assert!(wanted > 0);
                    break;
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn request(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn check_error(input: &[u8], limits: Limits, text: &str) {
    let (_, error) = feed([input], limits);
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(text), "{:?}", input.escape_ascii().to_string());
}

#[test]
fn every_split_of_a_pipeline_gives_the_same_requests() {
    let pipeline: &[u8] =
        b"*3\r\n$3\r\nSET\r\n$5\r\nk\r\n\r\n\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\nset a \"b c\\n\"\r\n\r\n*0\r\n*-1\r\n\
        get 'a b'\n*2\r\n$3\r\nGET\r\n$12\r\nabcdefghijkl\r\n";
    let expected: Requests = vec![
        request(&["SET", "k\r\n\r\n", ""]),
        request(&["PING"]),
        request(&["set", "a", "b c\n"]),
        request(&[]),
        request(&[]),
        request(&[]),
        request(&["get", "a b"]),
        request(&["GET", "abcdefghijkl"]),
    ];
    assert_eq!(feed([pipeline], LIMITS), (expected.clone(), None));
    assert_eq!(feed(pipeline.chunks(1), LIMITS), (expected.clone(), None));
    for first in 0..pipeline.len() {
        for second in first..pipeline.len() {
            let pieces = [&pipeline[..first], &pipeline[first..second], &pipeline[second..]];
            assert_eq!(feed(pieces, LIMITS), (expected.clone(), None), "split at {first} and {second}");
        }
    }
}

#[test]
fn errors_have_the_texts_of_redis() {
    check_error(b"*abc\r\n", LIMITS, "Protocol error: invalid multibulk length");
    check_error(b"*3000000000\r\n", LIMITS, "Protocol error: invalid multibulk length");
    check_error(b"* 1\r\n", LIMITS, "Protocol error: invalid multibulk length");
    check_error(b"*01\r\n", LIMITS, "Protocol error: invalid multibulk length");
    check_error(b"*\r\n", LIMITS, "Protocol error: invalid multibulk length");
    check_error(b"*1\r\n+PING\r\n", LIMITS, "Protocol error: expected '$', got '+'");
    check_error(b"*1\r\n$-1\r\n", LIMITS, "Protocol error: invalid bulk length");
    check_error(b"*1\r\n$abc\r\n", LIMITS, "Protocol error: invalid bulk length");
    check_error(b"*1\r\n$536870913\r\n", LIMITS, "Protocol error: invalid bulk length");
    check_error(b"set a \"b\r\n", LIMITS, "Protocol error: unbalanced quotes in request");
    check_error(b"*11\r\n", STRANGER, "Protocol error: unauthenticated multibulk length");
    check_error(b"*1\r\n$16385\r\n", STRANGER, "Protocol error: unauthenticated bulk length");
    assert_eq!(feed([b"*10\r\n$16384\r\n".as_slice()], STRANGER), (vec![], None));
}

#[test]
fn lines_that_do_not_end_are_refused() {
    check_error(&[b'x'; 70_000], LIMITS, "Protocol error: too big inline request");
    check_error(&[b"*", [b'1'; 70_000].as_slice()].concat(), LIMITS, "Protocol error: too big mbulk count string");
    check_error(&[b"*1\r\n", [b'$'; 70_000].as_slice()].concat(), LIMITS, "Protocol error: too big bulk count string");
    let long_line = [b"x".repeat(70_000).as_slice(), b"\r\n"].concat();
    for chunk in [1000, 65_536, 70_002] {
        assert_eq!(feed(long_line.chunks(chunk), LIMITS), (vec![], Some(ProtocolError::InlineTooLong)));
    }
}

#[test]
fn an_announced_length_takes_no_memory_and_is_asked_for() {
    let mut parser = Parser::new();
    let announced = b"*2000000000\r\n$536870912\r\nabc";
    assert_eq!(parser.next(announced, LIMITS), Ok(Progress::Incomplete(536_870_912 + 2 - 3)));
    assert!(parser.memory() < 1024);
}

#[test]
fn one_large_request_does_not_keep_its_memory() {
    let mut parser = Parser::new();
    let large = [b"*5000\r\n".as_slice(), b"$1\r\nx\r\n".repeat(5000).as_slice()].concat();
    assert_eq!(parser.next(&large, LIMITS), Ok(Progress::Request(large.len())));
    assert_eq!(parser.arguments(&large).len(), 5000);
    assert_eq!(parser.next(b"PING\r\n", LIMITS), Ok(Progress::Request(6)));
    assert!(parser.memory() < 1024);
}

/// The line that repeats a failure is the seed in its message.
#[test]
fn arbitrary_bytes_never_panic_and_splits_never_matter() {
    const ALPHABET: &[u8] = b"*$1234567890-\r\n\r\n\r\n '\"\\xA\0\xffPING";
    for seed in 0..20_000u64 {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |bound: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % bound as u64).unwrap()
        };
        let length = draw(60);
        let mut bytes: Vec<u8> = (0..length).map(|_| ALPHABET[draw(ALPHABET.len())]).collect();
        if draw(2) == 0 {
            bytes.splice(0..0, *b"*2\r\n$1\r\nx\r\n");
        }
        let whole = feed([bytes.as_slice()], LIMITS);
        assert_eq!(feed(bytes.chunks(1), LIMITS), whole, "seed {seed}");
        assert_eq!(feed(bytes.chunks(1 + draw(7)), LIMITS), whole, "seed {seed}");
    }
}

/// What [`Parser::simple`] finds at the start of some bytes.
fn simple(input: &[u8], limits: Limits) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut words = Vec::new();
    let length = Parser::new().simple(input, limits, |word| words.push(word.to_vec()))?;
    Some((words, length))
}

#[test]
fn the_short_way_finds_what_the_general_one_finds_or_nothing() {
    let long = format!("*2\r\n$3\r\nGET\r\n$1234\r\n{}\r\n", "x".repeat(1234));
    let requests = [
        "*1\r\n$4\r\nPING\r\n",
        "*3\r\n$3\r\nSET\r\n$12\r\nk\r\n$1\r\nxxxx\r\n$0\r\n\r\n",
        "*9\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n",
        "*2\r\n$03\r\nGET\r\n$1\r\nk\r\n",
        "*0\r\n",
        "*-1\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n:4\r\nPING\r\n",
        "PING\r\n",
        &long,
    ];
    let (mut taken, mut seed) = (0, 1u64);
    for round in 0..60_000_usize {
        let mut bytes = requests[round % requests.len()].as_bytes().to_vec();
        bytes.extend_from_slice(requests[round / 7 % requests.len()].as_bytes());
        // The first rounds as they are; then with a byte changed, or cut off.
        if round >= 100 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len().min(40);
            if round % 3 == 0 { bytes.truncate(at) } else { bytes[at] = b"*$\r\n0129 x"[(seed >> 20) as usize % 10] }
        }
        for limits in [LIMITS, STRANGER, Limits { bulk_bytes_max: 4096, authenticated: true }] {
            let Some((words, length)) = simple(&bytes, limits) else { continue };
            taken += 1;
            let mut parser = Parser::new();
            assert_eq!(parser.next(&bytes, limits), Ok(Progress::Request(length)), "{:?}", bytes.escape_ascii());
            assert_eq!(parser.arguments(&bytes).map(<[u8]>::to_vec).collect::<Vec<_>>(), words);
        }
    }
    assert!(taken > 15_000, "{taken}");
    assert!(simple(requests[0].as_bytes(), LIMITS).is_some() && simple(long.as_bytes(), LIMITS).is_some());
}

#[test]
fn the_short_way_leaves_a_request_in_the_middle_alone() {
    let mut parser = Parser::new();
    assert!(matches!(parser.next(b"*2\r\n$4\r\n", LIMITS), Ok(Progress::Incomplete(_))));
    assert_eq!(parser.simple(b"*1\r\n$4\r\nPING\r\n", LIMITS, |_| ()), None);
}
