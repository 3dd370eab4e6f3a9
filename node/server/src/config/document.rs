//! `docs/configuration.md`, from the table.

use super::table::{Applies, Group, SETTINGS, Setting};
use super::value::{Rule, Unit, show_bytes, show_duration};

/// The text of `docs/configuration.md`.
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for group in Group::ALL {
        text.push_str(&format!("\n## {}\n\n", group.title()));
        text.push_str("| name | value | default | takes effect | meaning |\n|---|---|---|---|---|\n");
        for setting in SETTINGS.iter().filter(|setting| setting.group == group) {
            text.push_str(&row(setting));
        }
    }
    text
}

fn row(setting: &Setting) -> String {
    let names: Vec<String> = setting.names.iter().map(|name| format!("`{name}`")).collect();
    let default = if setting.default.is_empty() { "empty".to_owned() } else { format!("`{}`", setting.default) };
    let applies = match setting.applies {
        Applies::AtStart => "at start",
        Applies::AtOnce => "at once",
    };
    format!("| {} | {} | {default} | {applies} | {} |\n", names.join(", "), kind(&setting.rule), setting.meaning())
}

fn kind(rule: &Rule) -> String {
    match rule {
        Rule::Text => "text".to_owned(),
        Rule::Lines => "lines of text".to_owned(),
        Rule::Name { .. } => "name".to_owned(),
        Rule::Flag => "`yes`, `no`".to_owned(),
        Rule::Integer { low, high } if low == high => format!("{low}"),
        Rule::Integer { low, high } if *high == i64::MAX => format!("number from {low}"),
        Rule::Integer { low, high } => format!("number, {low} to {high}"),
        Rule::Bytes { low: 0, .. } => "bytes".to_owned(),
        Rule::Bytes { low, high } if *high >= i64::MAX as u64 => format!("bytes from {}", show_bytes(*low)),
        Rule::Bytes { low, high } => format!("bytes, {} to {}", show_bytes(*low), show_bytes(*high)),
        Rule::Duration { unit, low, high } => {
            let name = match unit {
                Unit::Seconds => "seconds",
                Unit::Milliseconds => "milliseconds",
                Unit::Microseconds => "microseconds",
                Unit::Written => "time span",
            };
            format!("{name}, {} to {}", show_duration(*low, *unit), show_duration(*high, *unit))
        }
        Rule::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Rule::Only { value: "", .. } => "empty".to_owned(),
        Rule::Only { value, .. } => format!("`{value}`"),
        Rule::Address => "`host:port`".to_owned(),
        Rule::OptionalAddress => "`host:port` or empty".to_owned(),
        Rule::Addresses => "list of `host:port`".to_owned(),
        Rule::Path => "path".to_owned(),
        Rule::LogLevels => "`module=level,...`".to_owned(),
        Rule::BufferLimits => "`class hard soft seconds`...".to_owned(),
        Rule::EventLetters => "letters of `Ag$lshzxeKEtmdnR`".to_owned(),
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from node/server/src/config/table.rs; a test fails when this page is stale. -->

A setting has one name everywhere. Sources, later ones winning:

1. its default;
2. the file `pelago.toml` in the node's directory: `name = value`, no tables, `seeds` as a list of texts;
3. the environment: `PELAGO_` and the name in capitals with `_` for `-`, such as `PELAGO_LINK_SILENCE_MS`;
4. the command line: `--set name=value`;
5. while the node runs, `CONFIG SET name value [name value ...]`, all or nothing, for settings that take effect at once.
   `CONFIG REWRITE` writes what was changed this way into the file and leaves the rest of it as it is.
   What was changed and not written is forgotten when the node stops.

An unknown name stops the start, with the nearest known name. Variables that Kubernetes makes for services
(`PELAGO_SERVICE_HOST`, `PELAGO_PORT_6379_TCP`...) are passed over.

Bytes are written `1024`, `1kb` = 1024, `1k` = 1000, and so on with `mb`, `m`, `gb`, `g`. Time spans are written
`250us`, `250ms`, `10s`, `5m`, `1h`, `1d`; a bare number counts the unit in the table, and where the table says
\"time span\" the unit must be written. Names that Redis has mean what they mean in Redis 7.

Three names are derived and can be set nowhere: `bind` and `port`, the two halves of `resp`, and `appendonly`, which is `yes`
when `persistence` is `on`. `CONFIG GET` answers them; `CONFIG SET` takes the value that they have and refuses any other.
";
