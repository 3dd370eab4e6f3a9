//! Who had the cores: other programs of the machine may have them for milliseconds while a server is ready. `perf` tells of
//! every switch, if it is there and may.

use crate::taken::Span;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{HashMap, HashSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A record of switches that goes on.
#[derive(Debug)]
pub struct Switches {
    perf: Child,
    directory: TempDir,
}

impl Switches {
    /// Begins to record those of these cores.
    pub fn start(cores: &[&str]) -> Result<Self, String> {
        let directory = TempDir::new().map_err(|error| error.to_string())?;
        let mut command = Command::new("perf");
        command.args(["record", "-q", "-k", "CLOCK_MONOTONIC", "-m", BUFFER, "-e", "sched:sched_switch"]);
        command.args(["-C", &cores.join(","), "-o"]).arg(directory.path().join(RECORD));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let perf = command.spawn().map_err(|error| format!("perf: {error}"))?;
        Ok(Self { perf, directory })
    }

    /// Ends it: for each core of these when threads had it that are no server's and work for none of them. What cannot be
    /// told apart is not among it, nor what most of the system's own threads had.
    pub fn stop(mut self, cores: &[&str], threads: &Threads) -> Result<Vec<Vec<Span>>, String> {
        let id = self.perf.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().map_err(|error| format!("kill: {error}"))?;
        self.perf.wait().map_err(|error| format!("perf: {error}"))?;
        let mut command = Command::new("perf");
        command.args(["script", "--ns", "-F", "cpu,time,trace", "-i"]).arg(self.directory.path().join(RECORD));
        let read = command.stderr(Stdio::null()).output().map_err(|error| format!("perf: {error}"))?;
        let text = String::from_utf8_lossy(&read.stdout);
        let anchor = Anchor::now();
        let mut known = HashMap::new();
        let mut is_foreign = |thread| {
            let is_nobodys = || threads.measuring.contains(&thread) || is_nobodys(thread);
            !threads.servers.contains(&thread) && *known.entry(thread).or_insert_with(is_nobodys)
        };
        let mut spans_of = |core: &&str| {
            let spans = foreign_spans(&text, core, &mut is_foreign);
            spans.into_iter().filter_map(|(from, until)| anchor.instant(from).zip(anchor.instant(until))).collect()
        };
        if text.is_empty() {
            Err("perf recorded nothing".to_owned())
        } else {
            Ok(cores.iter().map(&mut spans_of).collect())
        }
    }
}

/// Threads that may have ended when the record is read.
#[derive(Clone, Debug, Default)]
pub struct Threads {
    /// Of what is measured.
    pub servers: HashSet<u32>,
    /// Of this process.
    pub measuring: HashSet<u32>,
}

impl Threads {
    /// Those that servers of these processes have now, and this process.
    pub fn of(servers: impl Iterator<Item = u32>) -> Self {
        let measuring = threads_of(std::process::id());
        Self { servers: servers.flat_map(threads_of).collect(), measuring }
    }
}

fn threads_of(process: u32) -> HashSet<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

const RECORD: &str = "switches";
/// For each core, until perf has written what is in it.
const BUFFER: &str = "16M";

/// A moment by two clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    instant: Instant,
    monotonic: Duration,
}

impl Anchor {
    fn now() -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        let monotonic = Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default());
        Self { instant: Instant::now(), monotonic }
    }

    fn instant(self, monotonic: Duration) -> Option<Instant> {
        self.instant.checked_sub(self.monotonic.checked_sub(monotonic)?)
    }
}

/// One switch of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Switch {
    at: Duration,
    from: u32,
    to: u32,
}

impl Switch {
    /// Of a line like `[000]  12.000000345: prev_comm=a prev_pid=1 prev_prio=120 … ==> next_comm=b next_pid=2 next_prio=120`.
    fn parse(line: &str, core: &str) -> Option<Self> {
        let (cpu, rest) = line.trim_start().strip_prefix('[')?.split_once(']')?;
        if cpu.parse::<u32>().ok()? != core.parse::<u32>().ok()? {
            return None;
        }
        let (time, rest) = rest.trim_start().split_once(": ")?;
        let (seconds, nanos) = time.split_once('.')?;
        let at = Duration::new(seconds.parse().ok()?, nanos.parse().ok()?);
        let (from, to) = rest.split_once(" ==> ")?;
        let pid = |text: &str, name: &str| text.rsplit_once(name)?.1.split(' ').next()?.parse().ok();
        Some(Self { at, from: pid(from, " prev_pid=")?, to: pid(to, " next_pid=")? })
    }
}

/// When threads that are foreign had a core, in time since the machine was started, by what `perf script` tells of its
/// switches.
pub fn foreign_spans(text: &str, core: &str, mut is_foreign: impl FnMut(u32) -> bool) -> Vec<(Duration, Duration)> {
    let switches: Vec<Switch> = text.lines().filter_map(|line| Switch::parse(line, core)).collect();
    // Some switches of processes that perf may not look into are missing, so that the thread that ends may be another.
    let mut is_one = |[begin, end]: &[Switch; 2]| {
        end.at.saturating_sub(begin.at) <= SPAN_MAX
            && is_foreign(begin.to)
            && (end.from == begin.to || is_foreign(end.from))
    };
    let pairs = switches.windows(2).filter_map(|pair| <[Switch; 2]>::try_from(pair).ok());
    pairs.filter(|pair| is_one(pair)).map(|[begin, end]| (begin.at, end.at)).collect()
}

/// The watch of a core is a switch of it every half millisecond. What seems longer is one for which perf lost its records.
const SPAN_MAX: Duration = Duration::from_millis(1);

/// Whether a thread belongs to a program at all, or is one with which the system looks after all memory again and again. One
/// that has ended may have been anybody's.
fn is_nobodys(thread: u32) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{thread}/{name}")).unwrap_or_default();
    // The system's own threads have no command line.
    let is_program = || !read("cmdline").is_empty();
    is_program() || HOUSEKEEPERS.iter().any(|keeper| read("comm").starts_with(keeper))
}

/// They look who uses which memory, and move it together.
const HOUSEKEEPERS: &[&str] = &["kdamond", "kcompactd", "khugepaged"];
