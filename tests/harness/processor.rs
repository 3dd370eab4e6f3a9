//! What a process uses, as Linux counts it.

use std::collections::BTreeMap;
use std::fs;

/// Nanoseconds on a processor since its start, by name of thread.
pub fn nanoseconds_by_thread(process: u32) -> Result<BTreeMap<String, u64>, String> {
    let tasks = format!("/proc/{process}/task");
    let mut used = BTreeMap::new();
    for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))? {
        let task = task.map_err(|error| format!("{tasks}: {error}"))?.path();
        // A thread that has ended meanwhile used nothing that matters.
        let Ok(name) = fs::read_to_string(task.join("comm")) else { continue };
        let Ok(schedule) = fs::read_to_string(task.join("schedstat")) else { continue };
        let nanoseconds = schedule.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        *used.entry(name.trim().to_owned()).or_insert(0) += nanoseconds.ok_or("schedstat has no number")?;
    }
    Ok(used)
}

/// Nanoseconds on a processor since its start, of all threads that still run.
pub fn nanoseconds(process: u32) -> Result<u64, String> {
    nanoseconds_by_thread(process).map(|by_thread| by_thread.values().sum())
}

/// Nanoseconds for which threads that still run were ready and had no processor, added up, since the start of the process.
pub fn waited_nanoseconds(process: u32) -> Result<u64, String> {
    let tasks = format!("/proc/{process}/task");
    let mut waited = 0;
    for task in fs::read_dir(&tasks).map_err(|error| format!("{tasks}: {error}"))? {
        let task = task.map_err(|error| format!("{tasks}: {error}"))?.path();
        let Ok(schedule) = fs::read_to_string(task.join("schedstat")) else { continue };
        waited += schedule.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()).ok_or("schedstat is short")?;
    }
    Ok(waited)
}

/// Bytes that it has caused to be written to a disk since its start, less those of files that went before they were
/// written. Linux counts them when a page becomes dirty, so a page that is written, flushed and written again counts twice.
pub fn written_bytes(process: u32) -> Result<u64, String> {
    let path = format!("/proc/{process}/io");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let row = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        found.ok_or(format!("{path} has no {name}"))
    };
    Ok(row("write_bytes:")?.saturating_sub(row("cancelled_write_bytes:")?))
}

/// Bytes of its memory that are in the machine's.
pub fn resident_bytes(process: u32) -> Result<u64, String> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = row.and_then(|row| row.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.map(|count| count << 10).ok_or(format!("{path} has no VmRSS"))
}
