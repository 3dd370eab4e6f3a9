//! Ctrl-C and SIGTERM as a flag, for verbs that work until they are told to stop and then end in order.

use crate::failure::{Failure, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Whether the verb was told to stop.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens from now on. A second signal ends the program at once.
    pub fn on_signals() -> Result<Self> {
        let failed = |error| Failure::System { doing: "listen for signals", error };
        let stop = Self(Arc::new(AtomicBool::new(false)));
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = runtime
            .block_on(async { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) })
            .map_err(failed)?;
        let listen = move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
                    if told.0.swap(true, Ordering::Relaxed) {
                        std::process::exit(1);
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(failed)?;
        Ok(stop)
    }

    #[cfg(test)]
    pub fn never() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    #[cfg(test)]
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time.
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
