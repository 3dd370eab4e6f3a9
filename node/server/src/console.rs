//! What operators see of a node and ask of it: metrics, the cluster as this node knows it, the wish to stop.
//!
//! Only the meeting place: others fill it (`peers` the cluster, the process its allocator) and `INFO`, `/metrics` and
//! `SHUTDOWN` use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::{Notify, watch};

use crate::info::ClusterStatus;
use crate::metrics::Metrics;

/// Tells what is known of the cluster now. It must not block.
type ClusterView = Arc<dyn Fn() -> ClusterStatus + Send + Sync>;

/// How a node is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After its peers have what was written here, as far as that takes a bounded time.
    Orderly,
    /// At once.
    Now,
}

/// One node's meeting place of operators and what they look at.
pub struct Console {
    /// What the node counts.
    pub metrics: Metrics,
    cluster: RwLock<Option<ClusterView>>,
    stop: watch::Sender<Option<Stop>>,
    /// Whether no client is served any more.
    served_last: watch::Sender<bool>,
    /// Somebody wants the certificate's files read again.
    reload: Notify,
    /// Counts the rounds of the thread for replication.
    pulse: AtomicU64,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            metrics: Metrics::default(),
            cluster: RwLock::default(),
            stop: watch::Sender::new(None),
            served_last: watch::Sender::new(false),
            reload: Notify::new(),
            pulse: AtomicU64::new(0),
        }
    }
}

impl Console {
    /// Says how to learn what is known of the cluster.
    pub fn set_cluster_view(&self, view: impl Fn() -> ClusterStatus + Send + Sync + 'static) {
        *self.cluster.write() = Some(Arc::new(view));
    }

    /// What is known of the cluster; nothing on a node that is alone.
    pub fn cluster(&self) -> ClusterStatus {
        let view = self.cluster.read().clone();
        view.map(|view| view()).unwrap_or_default()
    }

    /// Asks the node to stop. A wish to stop at once is not taken back by an orderly one.
    pub fn request_stop(&self, stop: Stop) {
        self.stop.send_modify(|wish| {
            if *wish != Some(Stop::Now) {
                *wish = Some(stop);
            }
        });
    }

    /// Takes the wish back; false if there was none.
    pub fn cancel_stop(&self) -> bool {
        self.stop.send_replace(None).is_some()
    }

    /// The wish to stop, if somebody has it.
    pub fn stop_requested(&self) -> Option<Stop> {
        *self.stop.borrow()
    }

    /// Says that no client is served any more: nothing will be written after this.
    pub fn note_served_last(&self) {
        self.served_last.send_replace(true);
    }

    /// Waits until no client is served any more. What is written before counts as acknowledged.
    pub async fn served_last(&self) {
        let mut served = self.served_last.subscribe();
        // The sender lives as long as the console that is borrowed here.
        let _ = served.wait_for(|served| *served).await;
    }

    /// Asks that the certificate's files be read again.
    pub fn request_reload(&self) {
        self.reload.notify_one();
    }

    /// Waits until somebody wants the certificate's files read again.
    pub async fn reloading(&self) {
        self.reload.notified().await;
    }

    /// Says that the thread for replication works.
    pub fn beat(&self) {
        self.pulse.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that another look finds changed if the thread for replication works.
    pub fn pulse(&self) -> u64 {
        self.pulse.load(Ordering::Relaxed)
    }

    /// Waits until somebody wants the node to stop.
    pub async fn stopping(&self) -> Stop {
        self.wished(|_| true).await
    }

    /// Waits until somebody wants the node to stop at once.
    pub async fn stopping_now(&self) {
        self.wished(|stop| stop == Stop::Now).await;
    }

    async fn wished(&self, is_meant: impl Fn(Stop) -> bool) -> Stop {
        let mut wishes = self.stop.subscribe();
        loop {
            let wish = *wishes.borrow_and_update();
            if let Some(stop) = wish.filter(|&stop| is_meant(stop)) {
                return stop;
            }
            if wishes.changed().await.is_err() {
                // The sender lives as long as the console that is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("stop", &*self.stop.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wish_to_stop_reaches_who_waits_and_can_be_taken_back() {
        let console = Console::default();
        assert!(!console.cancel_stop());
        console.request_stop(Stop::Orderly);
        assert!(console.cancel_stop());
        assert_eq!(console.stop_requested(), None);
        let ((), stop) = tokio::join!(async { console.request_stop(Stop::Now) }, console.stopping());
        assert_eq!(stop, Stop::Now);
        console.request_stop(Stop::Orderly);
        assert_eq!(console.stopping().await, Stop::Now);
    }

    #[test]
    fn a_node_alone_knows_an_empty_cluster() {
        let console = Console::default();
        assert_eq!(console.cluster(), ClusterStatus::default());
        console.set_cluster_view(|| ClusterStatus { node: "eu-west-1".to_owned(), ..ClusterStatus::default() });
        assert_eq!(console.cluster().node, "eu-west-1");
    }
}
