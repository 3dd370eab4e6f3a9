//! The settings of a node: what they are (`table`), how they are written (`value`), where they come from (`sources`),
//! and their values while the node runs (`Settings`).
//!
//! Sources in order, later ones winning: defaults, `pelago.toml`, `PELAGO_NAME` in the environment,
//! `--set name=value`, `CONFIG SET`. A name that is not in the table is refused with the nearest one that is.

mod address;
mod document;
mod log_modules;
mod memory_share;
mod nearest;
mod notify_events;
mod output_limits;
mod rewrite;
mod settings;
mod sources;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use address::{Address, AddressError};
pub use document::document;
pub use nearest::nearest_setting;
pub use notify_events::NotifyEvents;
pub use output_limits::{ClientClass, OutputLimit, OutputLimits};
pub use rewrite::RewriteError;
pub use settings::{Reader, SetError, Settings};
pub use sources::{ConfigError, Origin, Sources};
pub use table::{Applies, Config, Group, SETTINGS, Setting};
pub use value::{LOG_LEVELS, Rule, Secret, SettingValue, Unit, ValueError};

/// The row of the setting called `name`, in any case, by its name or an older one.
pub fn setting(name: &str) -> Option<&'static Setting> {
    position(name).map(|position| &SETTINGS[position])
}

/// Where the setting called `name` stands in the table.
fn position(name: &str) -> Option<usize> {
    SETTINGS.iter().position(|setting| setting.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

impl Config {
    /// A path of a setting, from the node's directory.
    pub fn path(&self, path: &std::path::Path) -> std::path::PathBuf {
        self.dir.join(path)
    }

    /// The QUIC address that other nodes are told.
    pub fn advertised(&self) -> &Address {
        self.advertise.as_ref().unwrap_or(&self.peer)
    }

    /// The node's name: the one that was set, or the region's with `-1`.
    pub fn node_name(&self) -> String {
        if self.node.is_empty() && !self.region.is_empty() { format!("{}-1", self.region) } else { self.node.clone() }
    }

    /// What does not fit together although each value alone is fine; one sentence.
    pub fn contradiction(&self) -> Option<String> {
        if self.link_silence < self.heartbeat * 3 {
            return Some(format!(
                "link-silence-ms ({}) must be at least three times heartbeat-ms ({}), or links that are fine are cut",
                self.link_silence.as_millis(),
                self.heartbeat.as_millis()
            ));
        }
        if !self.resp_plain && self.tls_port == 0 {
            return Some("resp-plain is no and tls-port is 0, so that no client could connect".to_owned());
        }
        if !self.wan_delay.is_zero() && !self.development {
            return Some(format!(
                "wan-delay-ms is {}, which is for trials: start the node with development = yes, or set it to 0",
                self.wan_delay.as_millis()
            ));
        }
        if !self.aclfile.as_os_str().is_empty() && !self.user.is_empty() {
            return Some("users are either in the file of aclfile or in user, not in both".to_owned());
        }
        if let Some(http) = &self.http
            && *http == self.resp
            && http.port() != 0
        {
            return Some(format!("resp and http are both {http}, but each needs an address of its own"));
        }
        None
    }
}
