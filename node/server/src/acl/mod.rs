//! Who may do what: users with passwords and rules of commands, keys and channels, as Redis 7 has them.
//!
//! `users` holds the users and lends them to connections, `user` is what one may do, `selector` a set of rules, `check` the
//! decision about a request, `describe` rules as text, `categories` of commands, `file` users on disk, `log` what was
//! refused. Users are a matter of one node and are not replicated. Commands that show and change them are in `command::acl`.

pub mod categories;
mod check;
mod describe;
pub mod file;
mod log;
pub mod protected;
mod selector;
#[cfg(test)]
mod tests;
mod user;
mod users;

pub use categories::Categories;
pub use check::Denied;
pub use file::FileError;
pub use log::{AccessLog, Place, Reason, Refusal};
pub use selector::{RuleError, Selector};
pub use user::{Rights, hexadecimal};
pub use users::{Acl, Changed, DEFAULT_USER, RefusedRule, User};

/// The file in a node's directory that has its users, unless the operator keeps them elsewhere.
pub const USERS_FILE: &str = "users.acl";
