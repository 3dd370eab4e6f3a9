//! Where settings come from before a node starts: a TOML file, the environment, the command line.

use std::path::{Path, PathBuf};

use toml::de::{DeArray, DeTable, DeValue};

use super::nearest::nearest_setting;
use super::settings::Settings;
use super::table::{Config, SETTINGS};
use super::value::{Rule, ValueError};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The table.
    Default,
    /// The file.
    File,
    /// The environment.
    Environment,
    /// `--set` and other arguments.
    CommandLine,
    /// `CONFIG SET`.
    RunTime,
}

/// What keeps a node from starting with what it was given. Each is one sentence for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A name that no setting has.
    #[error("{place}: there is no setting {name}{}", suggestion(.name))]
    UnknownSetting {
        /// The name as it was written.
        name: String,
        /// Where it was written.
        place: String,
    },
    /// A value that does not fit.
    #[error("{place}: {name} {error}")]
    WrongValue {
        /// The setting.
        name: String,
        /// Where it was written.
        place: String,
        /// What does not fit.
        error: ValueError,
    },
    /// A TOML value that is not a text, number, truth value or list of those.
    #[error("{place}: {name} must be a text, a number, true, false or a list of texts")]
    WrongShape {
        /// The setting.
        name: String,
        /// Where it was written.
        place: String,
    },
    /// A setting was given twice in one place, under two of its names.
    #[error("{place}: {name} is set twice")]
    SetTwice {
        /// The setting.
        name: String,
        /// Where it was written.
        place: String,
    },
    /// `--set` without `=`.
    #[error("--set {argument}: write --set name=value")]
    NotAnAssignment {
        /// The argument.
        argument: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Contradiction(String),
    /// The file is not TOML.
    #[error("{path}: {message}")]
    NotToml {
        /// The file.
        path: String,
        /// What the parser says, in one line.
        message: String,
    },
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {message}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        message: String,
    },
}

fn suggestion(name: &str) -> String {
    nearest_setting(name).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

/// Values collected from their sources, in the order they are added: call the methods in the order of precedence.
#[derive(Debug, Clone)]
pub struct Sources {
    config: Config,
    origins: Vec<Origin>,
    file: Option<PathBuf>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { config: Config::default(), origins: vec![Origin::Default; SETTINGS.len()], file: None }
    }
}

impl Sources {
    /// The table's defaults and nothing else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a TOML file. Relative paths begin at the file's directory unless it sets `dir`.
    pub fn read_file(&mut self, path: &Path) -> Result<&mut Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: shown.clone(), message: error.to_string() })?;
        self.file_text(&shown, &text)?;
        self.file = Some(path.to_path_buf());
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.config.dir = parent.join(&self.config.dir);
        Ok(self)
    }

    /// The text of a TOML file that is called `path` in errors.
    pub fn file_text(&mut self, path: &str, text: &str) -> Result<&mut Self, ConfigError> {
        let table = DeTable::parse(text).map_err(|error| ConfigError::NotToml {
            path: path.to_owned(),
            message: error.message().lines().next().unwrap_or("not a TOML file").to_owned(),
        })?;
        let mut entries = Vec::new();
        for (name, value) in table.get_ref() {
            let line = text[..name.span().start].matches('\n').count() + 1;
            let place = format!("{path}, line {line}");
            let name = name.get_ref().to_string();
            let between = if has_lines(&name) { "\n" } else { "," };
            let value = text_of(value.get_ref(), between)
                .ok_or_else(|| ConfigError::WrongShape { name: name.clone(), place: place.clone() })?;
            entries.push((name, value, place));
        }
        self.add(Origin::File, entries)
    }

    /// Variables of the environment; those that do not begin with `PELAGO_` are passed over, and so are those of
    /// `other_uses`, and those that Kubernetes makes for a service whose name begins with `pelago`.
    pub fn environment<I>(&mut self, variables: I, other_uses: &[&str]) -> Result<&mut Self, ConfigError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let mut entries = Vec::new();
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let setting = name.to_ascii_lowercase().replace('_', "-");
            // Kubernetes says where a service is, with a scheme; one of our settings is a bare port.
            let is_ours = super::position(&setting).is_some() && !value.contains("://");
            if other_uses.contains(&variable.as_str()) || is_service_link(name) && !is_ours {
                continue;
            }
            entries.push((setting, value, variable));
        }
        entries.sort();
        self.add(Origin::Environment, entries)
    }

    /// The `name=value` of each `--set`.
    pub fn arguments<I>(&mut self, assignments: I) -> Result<&mut Self, ConfigError>
    where
        I: IntoIterator<Item = String>,
    {
        for argument in assignments {
            let Some((name, value)) = argument.split_once('=') else {
                return Err(ConfigError::NotAnAssignment { argument });
            };
            self.argument(name.trim(), value.trim(), &format!("--set {argument}"))?;
        }
        Ok(self)
    }

    /// One value from the command line; `place` is how an error names it, such as `--resp`.
    pub fn argument(&mut self, name: &str, value: &str, place: &str) -> Result<&mut Self, ConfigError> {
        self.add(Origin::CommandLine, vec![(name.to_owned(), value.to_owned(), place.to_owned())])
    }

    /// Where the value of a setting comes from so far; nothing for a name that no setting has.
    pub fn origin(&self, name: &str) -> Option<Origin> {
        super::position(name).map(|position| self.origins[position])
    }

    /// What was collected, checked as a whole.
    pub fn finish(self) -> Result<Settings, ConfigError> {
        let mut config = self.config;
        config.node = config.node_name();
        if let Some(sentence) = config.contradiction() {
            return Err(ConfigError::Contradiction(sentence));
        }
        Ok(Settings::with_origins(config, self.origins, self.file))
    }

    fn add(&mut self, origin: Origin, entries: Vec<(String, String, String)>) -> Result<&mut Self, ConfigError> {
        let mut seen = Vec::new();
        for (name, value, place) in entries {
            let Some(position) = super::position(&name) else {
                return Err(ConfigError::UnknownSetting { name, place });
            };
            if seen.contains(&position) {
                return Err(ConfigError::SetTwice { name, place });
            }
            seen.push(position);
            (SETTINGS[position].parse_into)(&mut self.config, &value).map_err(|error| ConfigError::WrongValue {
                name,
                place,
                error,
            })?;
            self.origins[position] = origin;
        }
        Ok(self)
    }
}

/// Whether the parts of a list are lines of this setting.
fn has_lines(name: &str) -> bool {
    super::setting(name).is_some_and(|setting| matches!(setting.rule, Rule::Lines))
}

/// The text that a TOML value stands for, unless it is a table or the like.
fn text_of(value: &DeValue<'_>, between: &str) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(flag) => Some(if *flag { "yes" } else { "no" }.to_owned()),
        DeValue::Array(parts) => text_of_list(parts, between),
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

fn text_of_list(parts: &DeArray<'_>, between: &str) -> Option<String> {
    let texts: Option<Vec<String>> = parts.iter().map(|part| part.get_ref().as_str().map(str::to_owned)).collect();
    Some(texts?.join(between))
}

/// Whether the rest of a variable's name is one Kubernetes sets for services: `X_SERVICE_HOST`, `X_PORT_6379_TCP`...
fn is_service_link(name: &str) -> bool {
    let name = format!("_{name}");
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

/// Where the variables of the environment begin.
const ENVIRONMENT_PREFIX: &str = "PELAGO_";
