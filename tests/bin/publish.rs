//! How many messages a second reach all subscribers: `publish ADDRESS [ADDRESS]...`, each server in turn and again, so that
//! what the machine does meanwhile meets all of them.

use std::time::Duration;
use tests::fan_out::{FanOut, answers};

const ROUNDS: usize = 3;

fn main() {
    let addresses: Vec<String> = std::env::args().skip(1).collect();
    assert!(!addresses.is_empty(), "usage: publish ADDRESS [ADDRESS]...");
    for address in &addresses {
        assert!(answers(address), "nobody answers at {address}");
    }
    for (pipeline, payload_bytes) in [(1, 64), (16, 64), (16, 1024)] {
        let trial = FanOut { subscribers: 100, pipeline, payload_bytes, time: Duration::from_secs(2) };
        let mut best = vec![0.0_f64; addresses.len()];
        for _ in 0..ROUNDS {
            for (address, best) in addresses.iter().zip(&mut best) {
                *best = best.max(trial.run(address).messages_a_second);
            }
        }
        for (address, best) in addresses.iter().zip(&best) {
            println!("{address}: -P {pipeline}, {payload_bytes} bytes to 100 subscribers: {best:.0} messages/s");
        }
    }
}
