//! What the system says about this process. Linux tells through `/proc`; elsewhere the figures stay 0.

use std::fs;

use super::groups::{AllocatorMetrics, ProcessMetrics};

/// What the allocator says of itself, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AllocatorFigures {
    /// Handed out.
    pub allocated: u64,
    /// In pages that are in use.
    pub active: u64,
    /// In RAM.
    pub resident: u64,
}

/// Processor time used, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessorTime {
    /// In the program.
    pub user: f64,
    /// In the kernel for it.
    pub system: f64,
}

/// Reads what `/proc` says.
pub fn refresh(process: &ProcessMetrics) {
    let time = processor_time();
    process.cpu_seconds.mirror(time.user + time.system);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    process.resident_memory_bytes.set_count(status_number(&status, "VmRSS:") * 1024);
    process.resident_memory_max_bytes.set_count(status_number(&status, "VmHWM:") * 1024);
    process.threads.set_count(status_number(&status, "Threads:"));
}

/// Counts open files, which takes time when there are many; not for `INFO`.
pub fn count_files(process: &ProcessMetrics) {
    let files = fs::read_dir("/proc/self/fd").map(|entries| entries.count()).unwrap_or_default();
    process.open_fds.set_count(files as u64);
}

/// Notes what the allocator says.
pub fn note_allocator(allocator: &AllocatorMetrics, figures: AllocatorFigures) {
    allocator.allocated_bytes.set_count(figures.allocated);
    allocator.active_bytes.set_count(figures.active);
    allocator.resident_bytes.set_count(figures.resident);
    allocator.allocated_bytes_max.observe(figures.allocated);
}

/// Processor time this process has used so far.
pub fn processor_time() -> ProcessorTime {
    fs::read_to_string("/proc/self/stat").ok().and_then(|stat| parse_stat(&stat)).unwrap_or_default()
}

/// The machine's memory in bytes; 0 if it is not known.
pub fn machine_memory() -> u64 {
    status_number(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024
}

/// The system's name and release, as `INFO` shows them.
pub fn system_name() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = if cfg!(target_os = "linux") { "Linux" } else { std::env::consts::OS };
    format!("{system} {} {}", release.trim(), std::env::consts::ARCH)
}

fn parse_stat(stat: &str) -> Option<ProcessorTime> {
    // The name in parentheses may hold anything, so fields are counted from its end: state is the first.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |position: usize| fields.get(position)?.parse::<u64>().ok();
    Some(ProcessorTime { user: ticks(11)? as f64 / TICKS_PER_SECOND, system: ticks(12)? as f64 / TICKS_PER_SECOND })
}

fn status_number(status: &str, name: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// `USER_HZ`, which Linux fixes for programs whatever the kernel itself ticks at.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_anything() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 1 2 3";
        assert_eq!(parse_stat(stat), Some(ProcessorTime { user: 2.5, system: 0.5 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_and_threads() {
        let process = ProcessMetrics::default();
        refresh(&process);
        if cfg!(target_os = "linux") {
            assert!(process.resident_memory_bytes.value() > 0);
            assert!(process.threads.value() > 0);
            assert!(machine_memory() > 0);
        }
    }
}
