//! Log lines on standard error: levels by module that can change at run time, and a limit on how often one place in
//! the code may speak.
//!
//! There is one log for the process, so in a process with several nodes a change of one is a change of all.

mod rate_limit;

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::config::Config;
use crate::node::Node;
pub use rate_limit::RateLimit;

/// A handle on the process's log.
#[derive(Clone)]
pub struct Logging {
    levels: reload::Handle<Targets, Registry>,
    limit: Arc<RateLimit>,
}

/// Another log is installed already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process writes a log already")]
pub struct AlreadyInstalled;

impl Logging {
    /// Installs the log for the process, as the settings say.
    pub fn install(config: &Config) -> Result<Self, AlreadyInstalled> {
        let (logging, subscriber) = Self::build(config, std::io::stderr, std::io::stderr().is_terminal());
        tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadyInstalled)?;
        Ok(logging)
    }

    /// Follows changed settings.
    pub fn apply(&self, config: &Config) {
        self.limit.set_burst(config.log_burst);
        // Fails only when the log is gone, and then there is nothing to change.
        let _ = self.levels.reload(levels(config));
    }

    /// From now on follows the settings of a node, and tells its metrics what was suppressed.
    pub fn follow(&self, node: &Node) {
        self.apply(&node.config.load());
        let logging = self.clone();
        node.config.on_change(move |_, after| logging.apply(after));
        let logging = self.clone();
        node.console
            .metrics
            .on_scrape(move |metrics| metrics.console.log_lines_suppressed.mirror(logging.suppressed()));
    }

    /// Reports what was suppressed every few seconds, for ever. Spawn it on a thread that is not a worker's.
    pub async fn report_for_ever(self) {
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        loop {
            ticks.tick().await;
            self.report_suppressed();
        }
    }

    /// Says of every place that was silenced and has not spoken since how many lines were left out.
    pub fn report_suppressed(&self) {
        for (place, count) in self.limit.take_unreported() {
            tracing::warn!(target: rate_limit::REPORT_TARGET, %place, count, "log lines were suppressed");
        }
    }

    /// How many lines were suppressed since the start.
    pub fn suppressed(&self) -> u64 {
        self.limit.suppressed()
    }

    /// The log with any writer, not yet installed.
    fn build<W>(config: &Config, writer: W, colours: bool) -> (Self, impl Subscriber + Send + Sync + use<W>)
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let limit = Arc::new(RateLimit::new(config.log_burst));
        let (levels, handle) = reload::Layer::new(levels(config));
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours);
        let layer: Box<dyn Layer<Registry> + Send + Sync> = if config.log_format == "json" {
            let format = WithSuppressed { limit: Arc::clone(&limit), format: Format::default().json() };
            lines.fmt_fields(JsonFields::new()).event_format(format).with_filter(levels).boxed()
        } else {
            let format = WithSuppressed { limit: Arc::clone(&limit), format: Format::default() };
            lines.event_format(format).with_filter(levels).boxed()
        };
        (Self { levels: handle, limit }, Registry::default().with(layer))
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Writes a line, and before it how many like it were suppressed; nothing if its place has spoken too often.
///
/// SUBTLE: this is not a `Filter` of the layer, because tracing-subscriber 0.3 forgets to forget when such a filter turns
/// down a single event, and then loses the thread's next event, whatever it is.
struct WithSuppressed<F> {
    limit: Arc<RateLimit>,
    format: F,
}

impl<S, N> FormatEvent<S, N> for WithSuppressed<Format>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !self.limit.admits(event.metadata()) {
            return Ok(());
        }
        if let Some(count) = self.limit.take_unreported_of(event.metadata()) {
            write!(writer, "({count} lines like the next were suppressed) ")?;
        }
        self.format.format_event(context, writer, event)
    }
}

impl<S, N> FormatEvent<S, N> for WithSuppressed<Format<Json>>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !self.limit.admits(event.metadata()) {
            return Ok(());
        }
        if let Some(count) = self.limit.take_unreported_of(event.metadata()) {
            writeln!(writer, "{{\"suppressed\":{count},\"target\":\"{}\"}}", event.metadata().target())?;
        }
        self.format.format_event(context, writer, event)
    }
}

/// The levels that the settings ask for: ours as `loglevel` says, libraries' at most warnings, modules as they are
/// named. A module may be named without its crate: `peers` is `server::peers`.
fn levels(config: &Config) -> Targets {
    let level = match config.loglevel.as_str() {
        "debug" => LevelFilter::TRACE,
        "verbose" => LevelFilter::DEBUG,
        "warning" => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    let mut targets = Targets::new().with_default(level.min(LevelFilter::WARN));
    for own in OWN_CRATES {
        targets = targets.with_target(*own, level);
    }
    targets = targets.with_target(rate_limit::REPORT_TARGET, LevelFilter::WARN);
    for (module, level) in config.log_levels.split(',').filter_map(|part| part.trim().split_once('=')) {
        let Ok(level) = level.parse::<LevelFilter>() else { continue };
        targets = targets.with_target(module, level).with_target(format!("server::{module}"), level);
    }
    targets
}

/// A place that was silenced and does not speak again is reported this late.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// The crates whose lines are ours.
const OWN_CRATES: &[&str] =
    &["crdt", "resp", "keyspace", "storage", "protocol", "transport", "server", "ops", "pelago", "simulation"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use parking_lot::Mutex;
    use std::io::{self, Write};

    /// Lines in memory.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn config(pairs: &[(&str, &str)]) -> Config {
        let settings = Settings::new(Config::default());
        settings.set(pairs).unwrap();
        Config::clone(&settings.load())
    }

    fn with_log(config: &Config, body: impl FnOnce(&Logging, &Lines)) {
        let lines = Lines::default();
        let writer = lines.clone();
        let (logging, subscriber) = Logging::build(config, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || body(&logging, &lines));
    }

    #[test]
    fn levels_are_by_module_and_change_at_run_time() {
        with_log(&config(&[("loglevel", "notice")]), |logging, lines| {
            let speak = || {
                tracing::debug!(target: "server::peers::links", "one");
                tracing::debug!(target: "server::http", "two");
                tracing::info!(target: "server::http", "three");
                tracing::info!(target: "quinn", "four");
                tracing::error!(target: "quinn", "five");
            };
            let heard = || {
                speak();
                let text = lines.take();
                ["one", "two", "three", "four", "five"].map(|word| text.contains(word))
            };
            assert_eq!(heard(), [false, false, true, false, true]);
            logging.apply(&config(&[("log-levels", "peers=debug,quinn=info")]));
            assert_eq!(heard(), [true, false, true, true, true]);
            logging.apply(&config(&[("loglevel", "warning"), ("log-levels", "http=off")]));
            assert_eq!(heard(), [false, false, false, false, true]);
            logging.apply(&config(&[("loglevel", "debug")]));
            assert_eq!(heard(), [true, true, true, false, true]);
        });
    }

    #[test]
    fn a_place_that_speaks_too_often_is_counted_and_others_are_not_silenced() {
        with_log(&config(&[("log-burst", "3")]), |logging, lines| {
            (0..10).for_each(|number| tracing::info!(number, "again"));
            tracing::info!("something else");
            let text = lines.take();
            assert_eq!(text.matches("again").count(), 3, "{text}");
            assert!(text.contains("something else"));
            assert_eq!(logging.suppressed(), 7);
            logging.report_suppressed();
            let text = lines.take();
            assert!(text.contains("log lines were suppressed") && text.contains("count=7"), "{text}");
            logging.report_suppressed();
            assert_eq!(lines.take(), "");
        });
    }

    #[test]
    fn the_log_follows_the_settings_of_a_node() {
        with_log(&Config::default(), |logging, lines| {
            let node = crate::testing::node();
            logging.follow(&node);
            node.config.set(&[("loglevel", "verbose"), ("log-burst", "1")]).unwrap();
            (0..3).for_each(|_| tracing::debug!(target: "server::peers", "heard"));
            assert_eq!(lines.take().matches("heard").count(), 1);
            assert!(node.console.metrics.text(&node).contains("pelago_console_log_lines_suppressed_total 2\n"));
        });
    }

    #[test]
    fn a_disabled_line_does_not_even_make_its_words() {
        with_log(&config(&[("loglevel", "warning")]), |_, _| {
            let words = || -> String { panic!("the words of a disabled line were made") };
            tracing::debug!(target: "server::http", words = words(), "never");
        });
    }

    #[test]
    fn json_lines_are_json() {
        let settings = {
            let mut sources = crate::config::Sources::new();
            sources.arguments(["log-format=json".to_owned(), "log-burst=1".to_owned()]).unwrap();
            sources.finish().unwrap()
        };
        with_log(&settings.load(), |_, lines| {
            tracing::warn!(count = 3, "a \"quoted\" word");
            let text = lines.take();
            let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
            assert_eq!(value["level"], "WARN");
            assert_eq!(value["fields"]["message"], "a \"quoted\" word");
            assert_eq!(value["fields"]["count"], 3);
        });
    }
}
