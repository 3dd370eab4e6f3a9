//! A node's metrics at one moment.

/// What `/metrics` answered.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Of an answer.
    pub fn new(text: String) -> Self {
        Self { text }
    }

    /// The sum of a metric over the rows whose labels contain `label`; an error if there is no such row. A trial must not
    /// find that nothing was sent because a metric has another name by now.
    pub fn try_sum(&self, name: &str, label: &str) -> Result<f64, String> {
        let mut sum = None;
        for line in self.text.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            if found == name && labels.contains(label) {
                let value: f64 = value.parse().map_err(|_| format!("{line} has no number"))?;
                sum = Some(sum.unwrap_or(0.0) + value);
            }
        }
        sum.ok_or_else(|| format!("there is no metric {name} with {label:?} among its labels"))
    }

    /// As [`Metrics::try_sum`]. Panics where that is an error.
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        self.try_sum(name, label).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its rows.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines()
    }
}
