//! The lock that workers and the thread of the peers share: of slots and of logs.
//!
//! SUBTLE: whoever waits for it sleeps, after some hundred nanoseconds, and does not yield its processor first. Where there
//! are more threads than processors, a thread that yields is passed over for whole time slices: ten yields before the
//! first sleep, which is how the locks of `parking_lot` begin, took some 20 ms for a lock that is held for 0.1 ms.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// A lock around a value. A panic while it is held does not close it.
#[derive(Debug, Default)]
pub(crate) struct Lock<T>(Mutex<T>);

/// The value, while it is locked.
pub(crate) type LockGuard<'a, T> = MutexGuard<'a, T>;

/// Between two looks at a lock that is waited for with a limit: few need that, since few hold one for long.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

impl<T> Lock<T> {
    /// A value that nobody has locked.
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits until nobody else holds it.
    #[inline]
    pub(crate) fn lock(&self) -> LockGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, unless somebody holds it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, unless somebody holds it for longer than this.
    #[cold]
    pub(crate) fn try_lock_for(&self, time: Duration) -> Option<LockGuard<'_, T>> {
        let began = Instant::now();
        loop {
            match self.try_lock() {
                None if began.elapsed() < time => std::thread::sleep(LOOK_AGAIN),
                locked => return locked,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_under_the_lock_does_not_close_it() {
        let lock = Lock::new(1);
        std::thread::scope(|scope| {
            let broken = scope.spawn(|| {
                let _held = lock.lock();
                panic!("as some command may");
            });
            assert!(broken.join().is_err());
        });
        assert_eq!(*lock.lock(), 1);
        let held = lock.try_lock();
        assert!(held.is_some() && lock.try_lock().is_none());
        assert!(lock.try_lock_for(Duration::ZERO).is_none());
    }
}
