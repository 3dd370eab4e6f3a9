//! `LATENCY GRAPH`: the samples of an event as a picture of characters, in Redis' form.

use super::{Event, Series};

/// The picture of a series, with how long ago each sample was beneath it.
pub fn draw(event: Event, series: &Series, now_seconds: u64) -> String {
    let values: Vec<u64> = series.samples.iter().map(|sample| sample.millis).collect();
    let highest = values.iter().copied().max().unwrap_or_default();
    let lowest = values.iter().copied().min().unwrap_or_default();
    let labels: Vec<String> =
        series.samples.iter().map(|sample| age(now_seconds.saturating_sub(sample.unix_seconds))).collect();
    let mut text = format!(
        "{} - high {highest} ms, low {lowest} ms (all time high {} ms)\n{}\n",
        event.name(),
        series.worst_millis,
        "-".repeat(COLUMNS)
    );
    // A row of pictures as wide as the line above.
    for (number, (values, labels)) in values.chunks(COLUMNS).zip(labels.chunks(COLUMNS)).enumerate() {
        if number > 0 {
            text.push('\n');
        }
        draw_part(&mut text, values, labels, (lowest, highest));
    }
    text
}

/// Columns of which each is as high as its value, then an empty line, then the labels from top to bottom.
fn draw_part(text: &mut String, values: &[u64], labels: &[String], (lowest, highest): (u64, u64)) {
    let levels = ROWS * TIPS.len();
    let range = highest.saturating_sub(lowest).max(1) as f64;
    let level = |value: u64| {
        // It is between 0 and the number of levels; the fraction is dropped as in Redis.
        let level = value.saturating_sub(lowest) as f64 * levels as f64 / range;
        (level as usize).min(levels - 1)
    };
    for row in (0..ROWS).rev() {
        let character = |value: &u64| match level(*value).checked_sub(row * TIPS.len()) {
            None => ' ',
            Some(above) => TIPS.get(above).copied().unwrap_or('|'),
        };
        text.extend(values.iter().map(character));
        text.push('\n');
    }
    text.push_str(&" ".repeat(values.len()));
    text.push('\n');
    for line in 0..labels.iter().map(String::len).max().unwrap_or_default() {
        text.extend(labels.iter().map(|label| label.as_bytes().get(line).map_or(' ', |byte| char::from(*byte))));
        text.push('\n');
    }
}

/// How long ago, in its largest unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The upper end of a column, from the lowest to the highest within one row.
const TIPS: [char; 3] = ['_', 'o', '#'];
const ROWS: usize = 4;
const COLUMNS: usize = 80;
