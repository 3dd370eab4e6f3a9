//! Keeps one peer dialed: waits while there is a link, tries again and again while there is none.
//!
//! Of two nodes that know each other's address the smaller identity dials; the other stands by and dials only when no
//! link comes about, so that two connections at once are rare.

use crate::backoff::Backoff;
use crate::event::TransportEvent;
use crate::limits;
use crate::link;
use crate::quic::Shared;
use crate::reason::LinkError;
use protocol::NodeIdentity;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Dials until the task is ended.
pub(crate) async fn keep_dialed(
    shared: Arc<Shared>,
    peer: NodeIdentity,
    mut address: watch::Receiver<String>,
    mut linked: watch::Receiver<bool>,
) {
    let stands_by = peer < shared.identity;
    let mut backoff = Backoff::new(limits::DIAL_WAIT_MIN, limits::DIAL_WAIT_MAX);
    let mut standby = limits::STANDBY_FIRST;
    let mut tries = 0;
    loop {
        if stands_by && comes_about(&mut linked, standby).await || *linked.borrow_and_update() {
            if stay_linked(&mut linked).await.is_err() {
                return;
            }
            backoff.reset();
            standby = limits::STANDBY;
            continue;
        }
        standby = Duration::ZERO;
        let to = address.borrow_and_update().clone();
        tries += 1;
        let began = Instant::now();
        match dial_once(&shared, peer, &to, tries).await {
            Ok(_) => {
                if stay_linked(&mut linked).await.is_err() {
                    return;
                }
                standby = limits::STANDBY;
                if began.elapsed() >= limits::LINK_PROVEN_AFTER {
                    backoff.reset();
                    continue; // a link that was good is dialed again at once
                }
            }
            Err(error) if error.is_superseded() => {}
            Err(error) => {
                let says_removed = error.says_removed();
                let event = TransportEvent::DialFailed { peer, error: error.to_string(), says_removed };
                if shared.events.send(event).await.is_err() {
                    return;
                }
            }
        }
        let wait = backoff.wait(shared.jitter.word());
        tokio::select! {
            biased;
            changed = address.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
        }
    }
}

/// Waits that long for a link that the peer makes.
async fn comes_about(linked: &mut watch::Receiver<bool>, most: Duration) -> bool {
    most > Duration::ZERO && matches!(timeout(most, linked.wait_for(|linked| *linked)).await, Ok(Ok(_)))
}

/// Waits until there is no link any more.
async fn stay_linked(linked: &mut watch::Receiver<bool>) -> Result<(), watch::error::RecvError> {
    linked.wait_for(|linked| !*linked).await.map(|_| ())
}

async fn dial_once(
    shared: &Arc<Shared>,
    peer: NodeIdentity,
    address: &str,
    tries: usize,
) -> Result<crate::LinkId, LinkError> {
    if peer == shared.identity {
        return Err(LinkError::Itself);
    }
    let attempt = async {
        let target = shared.resolve(address, tries).await?;
        let connecting = shared.connect(target).map_err(|error| LinkError::Dial(address.to_owned(), error))?;
        link::establish(shared, connecting.await?, Some(peer)).await
    };
    timeout(shared.dial_time, attempt).await.unwrap_or_else(|_| Err(LinkError::Silent(address.to_owned())))
}
