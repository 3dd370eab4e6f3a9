//! Connections that send pipelines and time them. Each has a thread: the bench must not be what is slow.

use super::{Calls, Course};
use crate::client::open;
use crate::failure::{Failure, Result};
use crate::reply::write_request;
use crate::target::Password;
use server::metrics::{Latencies, LatencyCounts};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the connections do.
#[derive(Debug)]
pub struct Workload {
    /// What is called.
    pub calls: Calls,
    /// Percent of reads in mixed calls.
    pub reads: u8,
    /// Different keys.
    pub keys: u64,
    /// Requests in one pipeline.
    pub pipeline: u32,
    /// The value of every write.
    pub value: Vec<u8>,
}

/// What one connection measured.
#[derive(Debug, Default)]
pub struct Measured {
    /// Requests answered.
    pub requests: u64,
    /// Of which with an error.
    pub errors: u64,
    /// The first of those.
    pub first_error: Option<String>,
    /// How long pipelines took, each counted once.
    pub latencies: Latencies,
    /// The longest.
    pub slowest: Duration,
}

/// A connection that is ready.
pub struct Connection {
    stream: TcpStream,
    address: String,
}

/// A running load.
pub type Load = JoinHandle<Result<Measured>>;

/// Opens the connections, dealt over the addresses.
pub fn connect(addresses: &[String], count: u32, secret: &Password) -> Result<Vec<Connection>> {
    (0..count as usize).map(|index| connect_one(&addresses[index % addresses.len()], secret)).collect()
}

fn connect_one(address: &str, secret: &Password) -> Result<Connection> {
    let mut connection = Connection { stream: open(address)?, address: address.to_owned() };
    if let Some(password) = &secret.password {
        let mut request = Vec::new();
        write_request(&mut request, &[b"AUTH", password.as_bytes()]);
        let mut answers = Answers::default();
        connection.exchange(&request, 1, &mut answers)?;
        if answers.errors > 0 {
            return Err(Failure::Password { address: address.to_owned() });
        }
    }
    Ok(connection)
}

/// Starts a thread for each connection.
pub fn start(connections: Vec<Connection>, workload: Arc<Workload>, course: &Arc<Course>) -> Result<Vec<Load>> {
    let threads = connections.into_iter().enumerate().map(|(index, mut connection)| {
        let (workload, course) = (Arc::clone(&workload), Arc::clone(course));
        let body = move || connection.drive(&workload, &course, index as u64);
        std::thread::Builder::new()
            .stack_size(THREAD_STACK_BYTES)
            .spawn(body)
            .map_err(|error| Failure::System { doing: "start a thread for each connection; use fewer clients", error })
    });
    threads.collect()
}

impl Connection {
    fn drive(&mut self, workload: &Workload, course: &Course, seed: u64) -> Result<Measured> {
        let counts = LatencyCounts::default();
        let mut measured = Measured::default();
        let mut answers = Answers::default();
        let mut requests = Vec::new();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        while !course.over.load(Ordering::Relaxed) {
            let count = take(course, u64::from(workload.pipeline));
            if count == 0 {
                break;
            }
            requests.clear();
            (0..count).for_each(|_| workload.write(&mut requests, &mut random));
            let sent = Instant::now();
            self.exchange(&requests, count, &mut answers)?;
            let taken = sent.elapsed();
            counts.observe(taken);
            measured.slowest = measured.slowest.max(taken);
            measured.requests += count;
            course.answered.fetch_add(count, Ordering::Relaxed);
        }
        counts.add_to(&mut measured.latencies);
        measured.errors = answers.errors;
        measured.first_error = answers.first_error;
        Ok(measured)
    }

    /// Sends requests and passes over as many answers.
    fn exchange(&mut self, requests: &[u8], count: u64, answers: &mut Answers) -> Result<()> {
        let failed = |error| match error {
            None => Failure::Protocol { address: self.address.clone() },
            Some(error) => Failure::Broken { address: self.address.clone(), error },
        };
        self.stream.write_all(requests).map_err(|error| failed(Some(error)))?;
        let mut left = count;
        loop {
            left -= answers.pass(left).ok_or_else(|| failed(None))?;
            if left == 0 {
                return Ok(());
            }
            answers.read(&mut self.stream).map_err(|error| failed(Some(error)))?;
        }
    }
}

/// Takes up to `wanted` requests out of those that are left.
fn take(course: &Course, wanted: u64) -> u64 {
    let before =
        course.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(wanted)));
    before.map_or(0, |before| before.min(wanted))
}

impl Workload {
    fn write(&self, out: &mut Vec<u8>, random: &mut Random) {
        let key = key(random.next() % self.keys);
        let key = key.as_bytes();
        let part = (random.next() % 10).to_string();
        let calls = match self.calls {
            Calls::Mixed if random.next() % 100 < u64::from(self.reads) => Calls::Get,
            Calls::Mixed => Calls::Set,
            Calls::Set | Calls::Get | Calls::Incr | Calls::Hset | Calls::Sadd => self.calls,
        };
        match calls {
            Calls::Get => write_request(out, &[b"GET", key]),
            Calls::Mixed | Calls::Set => write_request(out, &[b"SET", key, &self.value]),
            Calls::Incr => write_request(out, &[b"INCR", key]),
            Calls::Hset => write_request(out, &[b"HSET", key, part.as_bytes(), &self.value]),
            Calls::Sadd => write_request(out, &[b"SADD", key, part.as_bytes()]),
        }
    }
}

fn key(number: u64) -> String {
    format!("pelago-bench:{number}")
}

/// Removes the keys that a load may have made.
pub fn remove_keys(address: &str, secret: &Password, keys: u64) -> Result<()> {
    let mut connection = connect_one(address, secret)?;
    let mut answers = Answers::default();
    let mut first = 0;
    while first < keys {
        let names: Vec<String> = (first..keys.min(first + KEYS_REMOVED_AT_ONCE)).map(key).collect();
        let words: Vec<&[u8]> = std::iter::once(&b"DEL"[..]).chain(names.iter().map(|name| name.as_bytes())).collect();
        let mut request = Vec::new();
        write_request(&mut request, &words);
        connection.exchange(&request, 1, &mut answers)?;
        first += KEYS_REMOVED_AT_ONCE;
    }
    Ok(())
}

/// Answers as they arrive; only errors are looked at.
#[derive(Debug, Default)]
struct Answers {
    bytes: Vec<u8>,
    passed: usize,
    errors: u64,
    first_error: Option<String>,
}

impl Answers {
    fn read(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        self.bytes.drain(..self.passed);
        self.passed = 0;
        let filled = self.bytes.len();
        self.bytes.resize(filled + READ_BYTES, 0);
        let count = loop {
            match stream.read(&mut self.bytes[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "the node closed it")),
                outcome => break outcome?,
            }
        };
        self.bytes.truncate(filled + count);
        Ok(())
    }

    /// Passes over up to `most` complete answers and says how many there were; nothing if these are no answers.
    fn pass(&mut self, most: u64) -> Option<u64> {
        let mut count = 0;
        while count < most {
            let rest = &self.bytes[self.passed..];
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let line = rest[..end].strip_suffix(b"\r")?;
            let (kind, text) = line.split_first()?;
            let length = match kind {
                b'+' | b':' => end + 1,
                b'-' => {
                    self.errors += 1;
                    let text = || String::from_utf8_lossy(text).into_owned();
                    self.first_error.get_or_insert_with(text);
                    end + 1
                }
                b'$' => match resp::parse_integer(text)? {
                    -1 => end + 1,
                    bytes => end + 1 + usize::try_from(bytes).ok()? + 2,
                },
                _ => return None,
            };
            if rest.len() < length {
                break;
            }
            self.passed += length;
            count += 1;
        }
        Some(count)
    }
}

/// Marsaglia's xorshift: good enough to choose keys.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

/// A connection's thread needs little; a thousand of them should too.
const THREAD_STACK_BYTES: usize = 256 * 1024;
const READ_BYTES: usize = 64 * 1024;
const KEYS_REMOVED_AT_ONCE: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_passed_over_only_when_they_are_complete() {
        let mut answers = Answers::default();
        for (bytes, passed) in [(&b"+OK\r\n:1"[..], 1), (b"2\r\n$3\r\na", 1), (b"\r\n\r\n$-1\r\n-ERR no\r\n", 3)] {
            answers.bytes.extend_from_slice(bytes);
            assert_eq!(answers.pass(9), Some(passed), "{bytes:?}");
        }
        assert_eq!((answers.errors, answers.first_error.as_deref()), (1, Some("ERR no")));
        answers.bytes.extend_from_slice(b"HTTP\r\n");
        assert_eq!(answers.pass(1), None);
    }

    #[test]
    fn no_more_requests_are_begun_than_were_asked_for() {
        let course = Course { left: 20.into(), over: false.into(), answered: 0.into() };
        assert_eq!([take(&course, 16), take(&course, 16), take(&course, 16)], [16, 4, 0]);
    }
}
