//! A group of metrics is a struct in which each metric is one field with its doc comment; the comment is its help.

use super::exposition::Exposition;
use super::instrument::{Kind, Sample};

/// What is known of a metric before it has a value.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The prefix of the group and the name of the field.
    pub stem: &'static str,
    /// The lines of its doc comment.
    pub lines: &'static [&'static str],
    /// What Prometheus calls its type.
    pub kind: Kind,
}

impl Field {
    /// The name Prometheus knows it by.
    pub fn name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.stem),
            Kind::Gauge | Kind::Histogram => self.stem.to_owned(),
        }
    }

    /// What it means, in one line.
    pub fn help(&self) -> String {
        self.lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// A struct made by `metric_group!`.
pub trait MetricGroup {
    /// The metrics, in the order of the fields.
    const FIELDS: &'static [Field];
    /// A reading of each.
    fn samples(&self) -> Vec<Sample>;
}

/// Declares a struct whose fields are metrics called `PREFIX_field`. The doc comment of a field is its help.
macro_rules! metric_group {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident as $prefix:literal {
            $($(#[doc = $line:literal])+ $field:ident: $type:ty $(= $make:expr)?,)*
        }
    ) => {
        $(#[$attribute])*
        #[derive(Debug)]
        pub struct $name {
            $($(#[doc = $line])+ pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::metrics::group::made!($($make)?),)* }
            }
        }

        impl $crate::metrics::group::MetricGroup for $name {
            const FIELDS: &'static [$crate::metrics::group::Field] = &[$($crate::metrics::group::Field {
                stem: concat!($prefix, "_", stringify!($field)),
                lines: &[$($line),+],
                kind: <$type as $crate::metrics::instrument::Instrument>::KIND,
            },)*];

            fn samples(&self) -> Vec<$crate::metrics::instrument::Sample> {
                vec![$($crate::metrics::instrument::Instrument::sample(&self.$field),)*]
            }
        }
    };
}

/// The value a field starts with: what was written after `=`, or its default.
macro_rules! made {
    () => {
        Default::default()
    };
    ($make:expr) => {
        $make
    };
}

pub(crate) use {made, metric_group};

/// Writes one group that there is once.
pub fn expose<G: MetricGroup>(group: &G, out: &mut Exposition) {
    expose_labelled("", &[(String::new(), group)], out);
}

/// Writes a group that there is once for each value of a label.
pub fn expose_labelled<G: MetricGroup>(label: &'static str, groups: &[(String, &G)], out: &mut Exposition) {
    let readings: Vec<(&str, Vec<Sample>)> =
        groups.iter().map(|(value, group)| (value.as_str(), group.samples())).collect();
    for (position, field) in G::FIELDS.iter().enumerate() {
        out.header(&field.name(), &field.help(), field.kind);
        for (value, samples) in &readings {
            let labels: &[(&str, &str)] = if label.is_empty() { &[] } else { &[(label, value)] };
            out.sample(&field.name(), labels, &samples[position]);
        }
    }
}
