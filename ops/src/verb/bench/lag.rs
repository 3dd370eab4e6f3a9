//! How soon a write of one region is read in another: written here, asked for there until it shows.

use super::Course;
use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::target::Password;
use server::metrics::{Latencies, LatencyCounts};
use std::sync::atomic::Ordering;
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// A running probe.
pub type Probe<'s> = ScopedJoinHandle<'s, Result<Lag>>;

/// The way from one node to another, before anything was written.
#[derive(Debug)]
pub struct Route {
    writer: Client,
    reader: Client,
    target: String,
}

/// What a probe measured.
#[derive(Debug)]
pub struct Lag {
    /// The node that reads.
    pub target: String,
    /// From before the write until it was read; the two requests' own time included.
    pub latencies: Latencies,
    /// The longest.
    pub slowest: Duration,
    /// Writes that did not show in time.
    pub missing: u64,
}

impl Route {
    /// Connects to the node at `source`, and to `target`, which is at `address`.
    pub fn open(source: &str, target: &str, address: &str, secret: &Password) -> Result<Self> {
        let (writer, reader) = (secret.connect(source)?, secret.connect(address)?);
        Ok(Self { writer, reader, target: target.to_owned() })
    }

    /// The node that reads.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Starts to write and to read.
    pub fn start<'s>(self, scope: &'s Scope<'s, '_>, course: &'s Course) -> Result<Probe<'s>> {
        let Self { mut writer, mut reader, target } = self;
        let body = move || course.end_on_failure(measure(&mut writer, &mut reader, &target, course));
        let failed = |error| Failure::System { doing: "start a thread for a probe", error };
        Builder::new().spawn_scoped(scope, body).map_err(failed)
    }
}

fn measure(writer: &mut Client, reader: &mut Client, target: &str, course: &Course) -> Result<Lag> {
    let counts = LatencyCounts::default();
    let mut lag =
        Lag { target: target.to_owned(), latencies: Latencies::default(), slowest: Duration::ZERO, missing: 0 };
    let key = key(target);
    let mut number = 0u64;
    // Once at least, however short the load was.
    while number == 0 || !course.over.load(Ordering::Relaxed) {
        number += 1;
        let value = number.to_string();
        let written = Instant::now();
        writer.call(&["SET", &key, &value])?;
        loop {
            if reader.call(&["GET", &key])?.text().as_deref() == Some(&value) {
                let taken = written.elapsed();
                counts.observe(taken);
                lag.slowest = lag.slowest.max(taken);
                break;
            }
            if written.elapsed() > MISSING_AFTER {
                lag.missing += 1;
                break;
            }
            std::thread::sleep(ASK_INTERVAL);
        }
        std::thread::sleep(WRITE_INTERVAL);
    }
    counts.add_to(&mut lag.latencies);
    Ok(lag)
}

/// The key that is written for this node to read.
pub fn key(target: &str) -> String {
    format!("pelago-bench:lag:{target}")
}

/// Asking more often would be load of its own; this much is added to what is measured at most.
const ASK_INTERVAL: Duration = Duration::from_micros(200);
const WRITE_INTERVAL: Duration = Duration::from_millis(10);
/// A write that takes longer is counted as missing.
const MISSING_AFTER: Duration = Duration::from_secs(10);
