//! Where to import from: `redis://[user[:password]@]host[:port][/database]`.

use crate::failure::{Failure, Result};
use crate::wire::Wire;
use std::str::FromStr;

/// A Redis or Valkey to import from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Host and port.
    pub address: String,
    user: Option<String>,
    password: Option<String>,
    /// Only this database, if one is named.
    pub database: Option<u32>,
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.starts_with("rediss://") {
            return Err(
                "TLS is not spoken here; let a tunnel such as stunnel speak it, and give its address".to_owned()
            );
        }
        let rest =
            text.strip_prefix("redis://").ok_or("it begins with redis://, as in redis://:password@host:6379/0")?;
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let (user, password) = match credentials.map(|credentials| credentials.split_once(':')) {
            None => (None, None),
            // A password alone may stand without the colon.
            Some(None) => (None, Some(decoded(credentials.unwrap_or_default())?)),
            Some(Some((user, password))) => (Some(decoded(user)?), Some(decoded(password)?)),
        };
        let (host, database) = place.split_once('/').unwrap_or((place, ""));
        let database = match database {
            "" => None,
            number => Some(number.parse().map_err(|_| format!("{number:?} is no number of a database"))?),
        };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:6379") };
        if address.starts_with(':') {
            return Err("the host is missing".to_owned());
        }
        Ok(Self { address, user: user.filter(|user| !user.is_empty()), password, database })
    }
}

impl Source {
    /// Connects. The password may also come from the environment.
    pub fn connect(&self) -> Result<Wire> {
        let given = std::env::var(PASSWORD_VARIABLE).ok();
        let password = self.password.as_deref().filter(|password| !password.is_empty()).or(given.as_deref());
        Wire::connect(&self.address, self.user.as_deref(), password).map_err(|failure| match failure {
            Failure::Password { address } => Failure::Arguments(format!(
                "{address} wants a password; give it in the address or in {PASSWORD_VARIABLE}"
            )),
            other => other,
        })
    }

    /// Whether this database is to be imported.
    pub fn wants(&self, database: u32) -> bool {
        self.database.is_none_or(|wanted| wanted == database)
    }

    /// What it is called in a key, without its password.
    pub fn name(&self) -> String {
        let database = self.database.map_or_else(|| "all".to_owned(), |number| number.to_string());
        format!("{}/{database}", self.address)
    }
}

/// Bytes written as `%40`.
fn decoded(text: &str) -> std::result::Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or("a % in a name or password is written as %25")?);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "names and passwords are UTF-8".to_owned())
}

/// The environment variable of the source's password.
const PASSWORD_VARIABLE: &str = "PELAGO_SOURCE_PASSWORD";

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: &str, user: Option<&str>, password: Option<&str>, database: Option<u32>) -> Source {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Source { address: address.to_owned(), user: own(user), password: own(password), database }
    }

    #[test]
    fn addresses_are_taken_apart() {
        for (text, expected) in [
            ("redis://h", source("h:6379", None, None, None)),
            ("redis://h:7/3", source("h:7", None, None, Some(3))),
            ("redis://:p@h:7", source("h:7", None, Some("p"), None)),
            ("redis://u:p%40x:y@h:7/", source("h:7", Some("u"), Some("p@x:y"), None)),
            ("redis://p@h", source("h:6379", None, Some("p"), None)),
            ("redis://[::1]:7", source("[::1]:7", None, None, None)),
        ] {
            assert_eq!(text.parse::<Source>(), Ok(expected), "{text}");
        }
        for text in ["h:6379", "rediss://h", "redis://", "redis://h/x", "redis://u:%4@h", "redis://u:%ff@h"] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
