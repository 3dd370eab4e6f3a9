//! Protected mode: while nobody needs a password, only this machine may connect.

use crate::config::Config;
use std::net::SocketAddr;

use super::Acl;

/// What somebody who connects from `address` is told instead of being served.
pub fn refusal(acl: &Acl, config: &Config, address: SocketAddr) -> Option<&'static str> {
    let is_let_in = !config.protected_mode || address.ip().to_canonical().is_loopback();
    (!is_let_in && acl.default_user().rights().any_password).then_some(SENTENCE)
}

/// Redis' own words.
const SENTENCE: &str = "DENIED Redis is running in protected mode because protected mode is enabled and no password is set for \
    the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from \
    external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the \
    command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is \
    running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this \
    change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and \
    setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for \
    testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. \
    NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_come_in_only_with_a_password_or_when_that_is_allowed() {
        let (acl, mut config) = (Acl::default(), Config::default());
        let is_let_in = |acl: &Acl, config: &Config, ip: &str| {
            refusal(acl, config, SocketAddr::new(ip.parse().unwrap(), 5)).is_none()
        };
        for ip in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(is_let_in(&acl, &config, ip), "{ip}");
        }
        for ip in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(!is_let_in(&acl, &config, ip), "{ip}");
        }
        config.protected_mode = false;
        assert!(is_let_in(&acl, &config, "10.0.0.1"));
        config.protected_mode = true;
        acl.set_default_password("secret");
        assert!(is_let_in(&acl, &config, "10.0.0.1"));
    }
}
