//! What a program has measured, each figure with the bar that it is held against and the setting that it was measured in.

use std::fmt;

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// It is shown, and nobody has said what it must be.
    None,
    /// It must not be more.
    AtMost(f64),
    /// It must not be less.
    AtLeast(f64),
}

/// One figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// How much it is.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// What it must be.
    pub bar: Bar,
}

/// All figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    setting: String,
    figures: Vec<Figure>,
    notes: Vec<String>,
    faults: Vec<String>,
}

impl Sheet {
    /// Without figures yet. `setting` is all that one needs to know to measure the same again.
    pub fn new(setting: String) -> Self {
        Self { setting, ..Self::default() }
    }

    /// Adds a figure.
    pub fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, bar: Bar) {
        self.figures.push(Figure { name: name.into(), value, unit, bar });
    }

    /// Adds a line that explains figures.
    pub fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Adds something that must not be and is no figure.
    pub fn fault(&mut self, line: String) {
        self.faults.push(line);
    }

    /// Adds a fault for each line.
    pub fn faulty(&mut self, lines: impl IntoIterator<Item = String>) {
        self.faults.extend(lines);
    }

    /// Everything that must not be: figures that miss their bar, and what else was wrong.
    pub fn faults(&self) -> Vec<String> {
        let missed = self.figures.iter().filter(|figure| !figure.is_met());
        missed.map(|figure| format!("{figure}: missed")).chain(self.faults.iter().cloned()).collect()
    }
}

impl Figure {
    /// Whether it is what it must be. What is no number is not.
    pub fn is_met(&self) -> bool {
        match self.bar {
            Bar::None => true,
            Bar::AtMost(bar) => self.value <= bar,
            Bar::AtLeast(bar) => self.value >= bar,
        }
    }
}

/// The value in the middle; no number if there is none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number with as many digits as say something.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 1_000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, bar } = self;
        let value = format!("{} {unit}", shown(*value));
        match bar {
            Bar::None => write!(f, "{name:<64} {value:>18}   no bar"),
            Bar::AtMost(bar) => write!(f, "{name:<64} {value:>18}   bar <= {bar}"),
            Bar::AtLeast(bar) => write!(f, "{name:<64} {value:>18}   bar >= {bar}"),
        }
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        for figure in &self.figures {
            let verdict = match (figure.bar, figure.is_met()) {
                (Bar::None, _) => "",
                (Bar::AtMost(_) | Bar::AtLeast(_), true) => " met",
                (Bar::AtMost(_) | Bar::AtLeast(_), false) => " MISSED",
            };
            writeln!(f, "{figure}{verdict}   [{}]", self.setting)?;
        }
        Ok(())
    }
}
