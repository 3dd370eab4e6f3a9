//! `pelago bench`: load from many connections with pipelines, what comes of it, and how soon writes of one region are
//! seen in the others meanwhile.
//!
//! It measures from the outside, on one machine with or without the node; it is no replacement for measuring the
//! application itself.

mod lag;
mod load;
mod removal;
mod report;
#[cfg(test)]
mod tests;

use super::region::members;
use super::seconds;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use crate::target::Password;
use crate::terminal;
use crate::wire::Wire;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use lag::Route;
use load::Workload;
use report::Report;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// The load.
#[derive(Debug, Args)]
pub struct Bench {
    /// RESP addresses of the nodes to load, connections dealt evenly
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',', default_value = "127.0.0.1:6379")]
    via: Vec<String>,
    #[command(flatten)]
    secret: Password,
    /// What is called
    #[arg(long, value_enum, default_value_t = Calls::Mixed)]
    calls: Calls,
    /// Share of reads in mixed calls
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: u8,
    /// Connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// Requests that a connection sends before it waits for the answers
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// How long
    #[arg(long, default_value = "10", value_parser = seconds, conflicts_with = "requests")]
    seconds: Duration,
    /// How many requests, instead of how long
    #[arg(long)]
    requests: Option<u64>,
    /// How many different keys
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    size: u32,
    /// Do not measure how soon writes are seen in other regions
    #[arg(long)]
    no_lag: bool,
    /// Leave the keys there
    #[arg(long)]
    keep: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Calls {
    /// GET and SET, see --reads
    Mixed,
    /// SET
    Set,
    /// GET
    Get,
    /// INCR
    Incr,
    /// HSET of one of ten fields
    Hset,
    /// SADD of one of ten members
    Sadd,
}

/// What all connections share while they run.
pub(crate) struct Course {
    /// Requests that may still be begun.
    pub left: AtomicU64,
    /// The time is over.
    pub over: AtomicBool,
    /// Requests answered.
    pub answered: AtomicU64,
}

impl Course {
    /// Passes on what became of a part of the bench. Without one of them it has no result, so the others need not go on.
    fn end_on_failure<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome.is_err() {
            self.over.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl Bench {
    /// Runs it, and removes what it wrote, however the load ended.
    pub fn run(self) -> Result<()> {
        let routes = if self.no_lag { Vec::new() } else { self.routes()? };
        let connections = load::connect(&self.via, self.clients, &self.secret)?;
        // Until here nothing was written, and a signal ends the program as it ends any other.
        let stop = Stop::on_signals()?;
        self.run_over(connections, routes, &stop)
    }

    fn run_over(&self, connections: Vec<Wire>, routes: Vec<Route>, stop: &Stop) -> Result<()> {
        let course = Course {
            left: AtomicU64::new(self.requests.unwrap_or(u64::MAX)),
            over: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        };
        let probed: Vec<String> = routes.iter().map(|route| lag::key(route.target())).collect();
        let measured = std::thread::scope(|scope| {
            let measured = self.measure(scope, connections, routes, &course, stop);
            // Whatever became of it: the others end too, and nobody writes after this.
            course.over.store(true, Ordering::Relaxed);
            measured
        });
        let keys = if self.keep { 0 } else { self.keys };
        let removed = removal::remove(&self.via, &self.secret, &probed, keys);
        match (measured, removed) {
            (Ok(report), removed) => {
                terminal::line(if self.json { report.json().to_string() } else { report.text(&self.heading()) });
                removed?;
                if stop.is_told() { Err(stopped(self.keep)) } else { Ok(()) }
            }
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(left)) => Err(Failure::Arguments(format!("{failure}. And {left}"))),
        }
    }

    fn measure<'s>(
        &self,
        scope: &'s Scope<'s, '_>,
        connections: Vec<Wire>,
        routes: Vec<Route>,
        course: &'s Course,
        stop: &Stop,
    ) -> Result<Report> {
        let workload = Workload {
            calls: self.calls,
            reads: self.reads,
            keys: self.keys,
            pipeline: self.pipeline,
            value: vec![b'x'; self.size as usize],
        };
        let probes: Vec<_> = routes.into_iter().map(|route| route.start(scope, course)).collect::<Result<_>>()?;
        let began = Instant::now();
        let loads = load::start(scope, connections, workload, course)?;
        self.wait(course, began, stop, || loads.iter().all(ScopedJoinHandle::is_finished));
        let mut report = Report::new(self.via.clone());
        for load in loads {
            report.add_load(load.join().map_err(|_| lost("load"))??);
        }
        report.seconds = began.elapsed().as_secs_f64();
        course.over.store(true, Ordering::Relaxed);
        for probe in probes {
            report.lags.push(probe.join().map_err(|_| lost("probe"))??);
        }
        Ok(report)
    }

    fn heading(&self) -> String {
        let calls = match self.calls {
            Calls::Mixed => format!("{} % GET, {} % SET", self.reads, 100 - self.reads),
            Calls::Set => "SET".to_owned(),
            Calls::Get => "GET".to_owned(),
            Calls::Incr => "INCR".to_owned(),
            Calls::Hset => "HSET".to_owned(),
            Calls::Sadd => "SADD".to_owned(),
        };
        format!(
            "{calls}; {} connections, {} requests a pipeline, {} keys, values of {} bytes",
            self.clients,
            self.pipeline,
            terminal::grouped(self.keys),
            self.size
        )
    }

    /// The ways from the first loaded node to every other member that is there.
    fn routes(&self) -> Result<Vec<Route>> {
        let source = &self.via[0];
        let mut client = self.secret.connect(source)?;
        let status = match client.json(&["PELAGO", "STATUS"]) {
            Ok(status) => status,
            // Redis, perhaps, for comparison.
            Err(Failure::Refused { .. }) => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let others = members(&status).into_iter().filter(|member| member["node"] != status["node"]);
        let there = others.filter(|member| member["link"] == "up");
        let targets = there.filter_map(|member| Some((member["node"].as_str()?, member["resp"].as_str()?)));
        targets.map(|(node, address)| Route::open(source, node, address, &self.secret)).collect()
    }

    /// Waits for the end, with a bar for those who watch.
    fn wait(&self, course: &Course, began: Instant, stop: &Stop, finished: impl Fn() -> bool) {
        let time = self.seconds.max(TIME_MIN);
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(1000) };
        if let Ok(style) = ProgressStyle::with_template("[{bar:40}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        while !finished() {
            let answered = course.answered.load(Ordering::Relaxed);
            let share = match self.requests {
                Some(requests) => answered as f64 / requests.max(1) as f64,
                None => began.elapsed().as_secs_f64() / time.as_secs_f64(),
            };
            bar.set_position((share * 1000.0) as u64);
            bar.set_message(format!("{} requests", terminal::grouped(answered)));
            if stop.is_told() || self.requests.is_none() && began.elapsed() >= time {
                course.over.store(true, Ordering::Relaxed);
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        bar.finish_and_clear();
    }
}

/// What is said where it was told to stop.
fn stopped(keep: bool) -> Failure {
    let keys = if keep { "its keys are left there" } else { "its keys are removed" };
    Failure::Arguments(format!("it was told to stop before the load was over; {keys}"))
}

fn lost(what: &'static str) -> Failure {
    Failure::System { doing: "measure", error: std::io::Error::other(format!("the thread of a {what} had failed")) }
}

const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// In less there is nothing to measure.
const TIME_MIN: Duration = Duration::from_millis(100);
