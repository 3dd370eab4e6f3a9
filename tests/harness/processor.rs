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

/// Nanoseconds since the machine's start in which these cores (a list as `taskset` takes it) did anything, whoever for.
/// Linux counts them by the hundredth of a second.
pub fn busy_nanoseconds(cores: &str) -> Result<u64, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
    let numbers = cores_of(cores).ok_or(format!("{cores} is no list of cores"))?;
    let mut busy = 0;
    for number in numbers {
        let row = text.lines().find_map(|line| line.strip_prefix(&format!("cpu{number} ")));
        let words: Option<Vec<u64>> = row.and_then(|row| row.split(' ').map(|word| word.parse().ok()).collect());
        match words.as_deref() {
            Some([user, nice, system, _idle, _awaited, interrupts, softly, ..]) => {
                busy += (user + nice + system + interrupts + softly) * NANOSECONDS_A_TICK;
            }
            _ => return Err(format!("/proc/stat has no core {number}")),
        }
    }
    Ok(busy)
}

const NANOSECONDS_A_TICK: u64 = 10_000_000;

/// The numbers in a list like `0,2-4`.
fn cores_of(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        numbers.extend(first..=last);
    }
    Some(numbers)
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

#[cfg(test)]
mod tests {
    use super::cores_of;

    #[test]
    fn a_list_of_cores_has_single_ones_and_ranges() {
        assert_eq!(cores_of("1"), Some(vec![1]));
        assert_eq!(cores_of("0,2-4"), Some(vec![0, 2, 3, 4]));
        assert_eq!(cores_of("0,x"), None);
    }
}
