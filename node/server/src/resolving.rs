//! Addresses of names. The system's resolver may take as long as it likes, so it is asked on other threads, by a few at a
//! time: whoever has waited long enough goes on without an answer, and what was asked for it still counts until it has ended.

use crate::limits::RESOLVING_MAX;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Who may ask now.
static ASKERS: Semaphore = Semaphore::const_new(RESOLVING_MAX);

/// The addresses of a host, or nothing if there are none, or none in time.
pub async fn look_up(host: &str, port: u16, patience: Duration) -> Option<Vec<SocketAddr>> {
    if let Ok(number) = host.parse::<IpAddr>() {
        return Some(vec![SocketAddr::new(number, port)]);
    }
    let host = host.to_owned();
    let asked = async move {
        let asker = ASKERS.acquire().await.ok()?;
        let asks = move || {
            let found = (host, port).to_socket_addrs().ok().map(Iterator::collect);
            drop(asker);
            found
        };
        tokio::task::spawn_blocking(asks).await.ok().flatten()
    };
    timeout(patience, asked).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_others_that_ask_goes_on_without_an_answer() {
        let all = ASKERS.acquire_many(RESOLVING_MAX as u32).await.unwrap();
        let soon = Duration::from_millis(1);
        assert_eq!(look_up("localhost", 1, soon).await, None);
        assert_eq!(
            look_up("127.0.0.1", 1, soon).await,
            Some(vec![([127, 0, 0, 1], 1).into()]),
            "a number is no question"
        );
        drop(all);
        let found = look_up("localhost", 1, Duration::from_secs(60)).await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
    }
}
