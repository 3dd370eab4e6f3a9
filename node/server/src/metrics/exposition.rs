//! The text format of Prometheus, version 0.0.4.

use std::fmt::Write;

use super::instrument::{Kind, Sample};

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }

    /// Begins a metric; its samples follow.
    pub fn header(&mut self, name: &str, help: &str, kind: Kind) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.header_of_type(name, help, kind);
    }

    /// Begins a metric of a type by its name.
    pub fn header_of_type(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Writes a reading.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], sample: &Sample) {
        match sample {
            Sample::Count(value) | Sample::Peak(value) => self.value(name, labels, *value),
            Sample::Level(value) => self.value(name, labels, *value),
            Sample::Real(value) => self.value(name, labels, *value),
            Sample::By { label, numbers } => {
                for (value, number) in numbers {
                    let mut labels = labels.to_vec();
                    labels.push((label, value));
                    self.value(name, &labels, *number);
                }
            }
            Sample::Ranges { bounds, counts, sum } => self.ranges(name, labels, bounds, counts, *sum),
        }
    }

    /// Writes one line: name, labels, value.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            self.text.push(if position == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for letter in text.chars() {
                match letter {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    fn ranges(&mut self, name: &str, labels: &[(&str, &str)], bounds: &[u64], counts: &[u64], sum: u64) {
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (position, count) in counts.iter().enumerate() {
            below += count;
            let bound = bounds.get(position).map_or_else(|| "+Inf".to_owned(), u64::to_string);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.value(&bucket, &labels, below);
        }
        self.value(&format!("{name}_sum"), labels, sum);
        self.value(&format!("{name}_count"), labels, below);
    }

    fn line(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.text.write_fmt(arguments);
    }
}
