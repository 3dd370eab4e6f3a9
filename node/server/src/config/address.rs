//! An address as people write it: a host name or number, and a port. Resolving it is for those who use it.

use std::fmt;
use std::str::FromStr;

/// `host:port`. The host is kept as written (`localhost`, `10.0.0.1`, `::1`), the port is known to be a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: String,
    port: u16,
}

/// The text was not `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is written host:port, such as 127.0.0.1:6379 or [::1]:6379")]
pub struct AddressError;

impl Address {
    /// The address of `port` at `host`.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The host, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.trim().rsplit_once(':').ok_or(AddressError)?;
        let port = port.parse().map_err(|_| AddressError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or(AddressError)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError)?;
                inner
            }
            None => host,
        };
        let letters_fit = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        let is_number = host.parse::<std::net::Ipv6Addr>().is_ok() && text.trim().starts_with('[');
        if host.is_empty() || host.len() > HOST_BYTES_MAX || !(letters_fit || is_number) {
            return Err(AddressError);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The longest name DNS has.
const HOST_BYTES_MAX: usize = 253;
