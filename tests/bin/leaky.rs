//! The leaky queues of `docs/rate-limits.md`: `leaky ADDRESS [--queues N] [--rate N] [--seconds N]` puts and takes so many tasks
//! a second in so many queues of one node, each at its time whether the last was answered or not, and prints how long that took.

use std::time::{Duration, Instant};
use tests::client::Client;
use tests::reply::Reply;
use tests::wait::pause;

/// The functions, as the document has them.
fn library() -> &'static str {
    let document = include_str!("../../docs/rate-limits.md");
    let start = document.find("#!lua name=leaky").expect("the document has the functions");
    let end = document[start..].find("```").expect("they end");
    &document[start..start + end]
}

fn option(name: &str, by_default: u64) -> u64 {
    let mut words = std::env::args().skip_while(|word| word != name).skip(1);
    words.next().map_or(by_default, |text| text.parse().expect("a number"))
}

fn quantile(sorted: &[Duration], of_thousand: usize) -> Duration {
    sorted[(sorted.len() * of_thousand / 1000).min(sorted.len() - 1)]
}

fn main() {
    let address = std::env::args().nth(1).expect("usage: leaky ADDRESS [--queues N] [--rate N] [--seconds N]");
    let (queues, rate, seconds) = (option("--queues", 1000), option("--rate", 1000), option("--seconds", 10));
    let mut client = Client::connect(&address).expect("somebody answers");
    client.call(&["FUNCTION", "LOAD", "REPLACE", library()]);
    let interval = Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
    // Each queue is asked in turn, exactly as often as it may give.
    let tasks_a_second = (rate as f64 / queues as f64).to_string();
    let (begin, mut taken) = (Instant::now(), 0u64);
    let mut latencies = Vec::new();
    for number in 0..rate * seconds {
        let due = begin + interval * u32::try_from(number).expect("few");
        pause(due.saturating_duration_since(Instant::now()));
        let queue = format!("queue:{{{}}}", number % queues);
        let bucket = format!("bucket:{{{}}}", number % queues);
        let now = begin.elapsed().as_millis().to_string();
        client.queue(&["FCALL", "put", "1", &queue, "a task of some bytes"]);
        client.queue(&["FCALL", "take", "2", &queue, &bucket, &now, &tasks_a_second]);
        client.send().expect("it takes requests");
        client.receive().expect("it answers");
        if !matches!(client.receive().expect("it answers"), Reply::Integer(_)) {
            taken += 1;
        }
        latencies.push(due.elapsed());
    }
    latencies.sort_unstable();
    let [half, p99, p999] = [500, 990, 999].map(|of_thousand| quantile(&latencies, of_thousand));
    println!(
        "{queues} queues, {rate} tasks/s for {seconds} s: {taken} taken; p50 {half:?}, p99 {p99:?}, p99.9 {p999:?}"
    );
}
