//! The users of a node, as connections hold them: a change of a user's rights holds at once for every connection that is that
//! user's, and costs those of users who may do everything one look at a flag.

use super::check::Denied;
use super::file::{self, FileError};
use super::log::AccessLog;
use super::selector::RuleError;
use super::user::{PasswordHash, Rights, hash_of};
use crate::command::table::Entry;
use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of the user that connections begin with.
pub const DEFAULT_USER: &[u8] = b"default";

/// One user. A user that is deleted and made again is another one.
pub struct User {
    name: Box<[u8]>,
    rights: ArcSwap<Rights>,
    is_unrestricted: AtomicBool,
}

impl User {
    fn new(name: &[u8], rights: Rights) -> Self {
        let is_unrestricted = AtomicBool::new(rights.is_unrestricted());
        Self { name: name.into(), rights: ArcSwap::from_pointee(rights), is_unrestricted }
    }

    /// The name: any bytes but spaces and zeros.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What the user may do now.
    pub fn rights(&self) -> Guard<Arc<Rights>> {
        self.rights.load()
    }

    /// Whether the user may do everything.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted.load(Ordering::Relaxed)
    }

    /// Whether the user may make a request. This is the one place that decides it, for clients and for scripts.
    #[inline]
    pub fn may(&self, entry: &Entry, args: &[&[u8]]) -> Result<(), Denied> {
        if self.is_unrestricted() { Ok(()) } else { self.rights.load().allows(entry, args) }
    }

    fn change(&self, rights: Rights) {
        let is_unrestricted = rights.is_unrestricted();
        if !is_unrestricted {
            self.is_unrestricted.store(false, Ordering::Relaxed);
        }
        self.rights.store(Arc::new(rights));
        if is_unrestricted {
            self.is_unrestricted.store(true, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &String::from_utf8_lossy(&self.name)).finish_non_exhaustive()
    }
}

/// Is given all users as lines.
type Tell = Box<dyn Fn(&[Vec<u8>]) + Send>;

/// Where users are kept over a restart.
#[derive(Default)]
enum Keeping {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In the settings, which are told of every change and forget it unless somebody has them written down.
    Settings(Tell),
    /// The operator's file, which is read and written when that is asked for.
    Operators(PathBuf),
    /// The node's own file, written with every change.
    Own(PathBuf),
}

/// All users of a node, and what they were refused.
pub struct Acl {
    users: RwLock<BTreeMap<Box<[u8]>, Arc<User>>>,
    default: Arc<User>,
    /// Held while users change, so that no change is lost.
    change: Mutex<Change>,
    /// What was refused.
    pub log: Mutex<AccessLog>,
}

#[derive(Default)]
struct Change {
    keeping: Keeping,
    /// The password that the settings want of the default user, unless a file of users says otherwise.
    required: Option<PasswordHash>,
}

/// A change of users, which holds at once: taking rights away must not wait for a disk.
#[derive(Debug)]
pub struct Changed<T> {
    /// Who was changed.
    pub what: T,
    /// Whether the change outlives the node, as far as that is the node's business.
    pub kept: Result<(), FileError>,
}

/// A rule that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRule {
    /// The rule.
    pub rule: Vec<u8>,
    /// Why.
    pub error: RuleError,
}

impl Default for Acl {
    fn default() -> Self {
        let default = Arc::new(User::new(DEFAULT_USER, Rights::of_default_user()));
        let users = BTreeMap::from([(default.name.clone(), Arc::clone(&default))]);
        Self { users: RwLock::new(users), default, change: Mutex::default(), log: Mutex::default() }
    }
}

impl Acl {
    /// The user that connections begin with.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// Whether a connection must say who it is before anything else.
    pub fn requires_password(&self) -> bool {
        let rights = self.default.rights();
        !(rights.any_password && rights.is_on)
    }

    /// Whether this is a user still, and was not deleted.
    pub fn has(&self, user: &Arc<User>) -> bool {
        Arc::ptr_eq(user, &self.default) || self.find(user.name()).is_some_and(|found| Arc::ptr_eq(user, &found))
    }

    /// The user with this name.
    pub fn find(&self, name: &[u8]) -> Option<Arc<User>> {
        self.users.read().get(name).cloned()
    }

    /// All users, by name.
    pub fn all(&self) -> Vec<Arc<User>> {
        self.users.read().values().cloned().collect()
    }

    /// The user with this name, if the password is right and the user is on.
    pub fn authenticate(&self, name: &[u8], password: &[u8]) -> Option<Arc<User>> {
        let user = self.find(name);
        // Somebody who guesses names learns nothing from the time it takes.
        let stranger = Rights::new(false);
        let is_right = match &user {
            Some(user) => user.rights().admits(password),
            None => stranger.admits(password),
        };
        user.filter(|_| is_right)
    }

    /// Makes a user, or changes one: all of the rules hold or none.
    pub fn set(
        &self,
        name: &[u8],
        rules: &[&[u8]],
        allows_all_channels: bool,
    ) -> Result<Changed<Arc<User>>, RefusedRule> {
        let change = self.change.lock();
        let known = self.find(name);
        let mut rights = match &known {
            Some(user) => Rights::clone(&user.rights()),
            None => Rights::new(allows_all_channels),
        };
        for rule in rules {
            rights.apply(rule, allows_all_channels).map_err(|error| RefusedRule { rule: rule.to_vec(), error })?;
        }
        let user = match known {
            Some(user) => {
                user.change(rights);
                user
            }
            None => {
                let user = Arc::new(User::new(name, rights));
                self.users.write().insert(name.into(), Arc::clone(&user));
                user
            }
        };
        let kept = self.keep(&change.keeping);
        Ok(Changed { what: user, kept })
    }

    /// Sets the one password of the user that connections begin with; an empty one is none at all. It is kept where the
    /// setting is kept that says so.
    pub fn set_default_password(&self, password: &str) {
        let mut change = self.change.lock();
        change.required = (!password.is_empty()).then(|| hash_of(password.as_bytes()));
        let mut rights = Rights::clone(&self.default.rights());
        rights.require(change.required);
        self.default.change(rights);
    }

    /// Deletes users, and returns those that there were. The caller ends their connections.
    pub fn delete(&self, names: &[&[u8]]) -> Changed<Vec<Arc<User>>> {
        let change = self.change.lock();
        let deleted: Vec<Arc<User>> = {
            let mut users = self.users.write();
            names.iter().filter(|name| **name != DEFAULT_USER).filter_map(|name| users.remove(*name)).collect()
        };
        let kept = if deleted.is_empty() { Ok(()) } else { self.keep(&change.keeping) };
        Changed { what: deleted, kept }
    }

    /// Makes these the users there are; who is not among them is returned. One that stays keeps its connections.
    fn replace(&self, change: &Change, named: Vec<(Vec<u8>, Rights)>) -> Vec<Arc<User>> {
        let mut users = self.users.write();
        let mut before = std::mem::take(&mut *users);
        before.remove(DEFAULT_USER);
        if !named.iter().any(|(name, _)| name == DEFAULT_USER) {
            let mut rights = Rights::of_default_user();
            rights.require(change.required);
            self.default.change(rights);
        }
        users.insert(DEFAULT_USER.into(), Arc::clone(&self.default));
        for (name, rights) in named {
            let known = before.remove(&*name).or_else(|| users.get(&*name).cloned());
            let user = match known {
                Some(user) => {
                    user.change(rights);
                    user
                }
                None => Arc::new(User::new(&name, rights)),
            };
            users.insert(name.into(), user);
        }
        before.into_values().collect()
    }

    /// Begins with the users of the operator's file, which is there from now on for `ACL LOAD` and `ACL SAVE`.
    pub fn begin_with_file(&self, path: &Path, allows_all_channels: bool) -> Result<(), FileError> {
        let users = file::read(path, allows_all_channels)?;
        let mut change = self.change.lock();
        change.keeping = Keeping::Operators(path.to_owned());
        self.replace(&change, users);
        Ok(())
    }

    /// Begins with the users of the settings, which `tell` is told of from now on.
    pub fn begin_with_settings(&self, users: Vec<(Vec<u8>, Rights)>, tell: impl Fn(&[Vec<u8>]) + Send + 'static) {
        let mut change = self.change.lock();
        self.replace(&change, users);
        change.keeping = Keeping::Settings(Box::new(tell));
    }

    /// Begins with the users of the node's own file, if there is one, and writes every change into it from now on. A password
    /// that the settings want goes before one that the file has.
    pub fn begin_with_own_file(&self, path: &Path, allows_all_channels: bool) -> Result<(), FileError> {
        let users = if path.exists() { file::read(path, allows_all_channels)? } else { Vec::new() };
        let mut change = self.change.lock();
        self.replace(&change, users);
        if change.required.is_some() {
            let mut rights = Rights::clone(&self.default.rights());
            rights.require(change.required);
            self.default.change(rights);
        }
        change.keeping = Keeping::Own(path.to_owned());
        Ok(())
    }

    /// Reads the operator's file again. Returns the users that are not in it any more; the caller ends their connections.
    pub fn load(&self, allows_all_channels: bool) -> Result<Vec<Arc<User>>, FileError> {
        let change = self.change.lock();
        let Keeping::Operators(path) = &change.keeping else { return Err(FileError::NoFile) };
        let users = file::read(path, allows_all_channels)?;
        Ok(self.replace(&change, users))
    }

    /// Writes the operator's file.
    pub fn save(&self) -> Result<(), FileError> {
        let change = self.change.lock();
        let Keeping::Operators(path) = &change.keeping else { return Err(FileError::NoFile) };
        file::write(path, &self.lines())
    }

    /// All users, each in a line as files have it.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        let line = |user: &Arc<User>| [b"user ", user.name(), b" ", &*user.rights().describe()].concat();
        self.all().iter().map(line).collect()
    }

    /// Keeps a change, unless only the operator does that. What cannot be written holds nevertheless until the node stops.
    fn keep(&self, keeping: &Keeping) -> Result<(), FileError> {
        match keeping {
            Keeping::Nowhere | Keeping::Operators(_) => Ok(()),
            Keeping::Settings(tell) => {
                tell(&self.lines());
                Ok(())
            }
            Keeping::Own(path) => file::write(path, &self.lines()),
        }
    }
}

impl std::fmt::Debug for Acl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acl").field("users", &self.all()).finish_non_exhaustive()
    }
}
