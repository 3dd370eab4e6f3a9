//! Connections that send pipelines and time them. Each has a thread: the bench must not be what is slow.

use super::{Calls, Course};
use crate::failure::{Failure, Result};
use crate::target::Password;
use crate::wire::Wire;
use resp::write_request;
use server::metrics::{Latencies, LatencyCounts};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, Scope, ScopedJoinHandle};
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

/// A running load.
pub type Load<'s> = ScopedJoinHandle<'s, Result<Measured>>;

/// Opens the connections, dealt over the addresses.
pub fn connect(addresses: &[String], count: u32, secret: &Password) -> Result<Vec<Wire>> {
    (0..count as usize).map(|index| secret.wire(&addresses[index % addresses.len()])).collect()
}

/// Starts a thread for each connection.
pub fn start<'s>(
    scope: &'s Scope<'s, '_>,
    wires: Vec<Wire>,
    workload: Workload,
    course: &'s Course,
) -> Result<Vec<Load<'s>>> {
    let workload = Arc::new(workload);
    let threads = wires.into_iter().enumerate().map(|(index, mut wire)| {
        let workload = Arc::clone(&workload);
        Builder::new()
            .stack_size(THREAD_STACK_BYTES)
            .spawn_scoped(scope, move || course.end_on_failure(drive(&mut wire, &workload, course, index as u64)))
            .map_err(|error| Failure::System { doing: "start a thread for each connection; use fewer clients", error })
    });
    threads.collect()
}

fn drive(wire: &mut Wire, workload: &Workload, course: &Course, seed: u64) -> Result<Measured> {
    let counts = LatencyCounts::default();
    let mut measured = Measured::default();
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
        wire.send(&requests)?;
        wire.pass(count, |text| {
            measured.errors += 1;
            measured.first_error.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
        })?;
        let taken = sent.elapsed();
        counts.observe(taken);
        measured.slowest = measured.slowest.max(taken);
        measured.requests += count;
        course.answered.fetch_add(count, Ordering::Relaxed);
    }
    counts.add_to(&mut measured.latencies);
    Ok(measured)
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

/// The key with this number.
pub fn key(number: u64) -> String {
    format!("pelago-bench:{number}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_requests_are_begun_than_were_asked_for() {
        let course = Course { left: 20.into(), over: false.into(), answered: 0.into() };
        assert_eq!([take(&course, 16), take(&course, 16), take(&course, 16)], [16, 4, 0]);
    }
}
