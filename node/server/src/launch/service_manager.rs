//! The service manager that started the process, if one did: it is told when the node listens, when it stops, and that it
//! still works. The way is systemd's `sd_notify`: lines of text in a datagram to the socket that `NOTIFY_SOCKET` names.

use crate::node::Node;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;

/// The service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// It stops a process that says nothing for so long.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names, if it names one. `variable` looks up a variable of the environment.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Option<Self>> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(None) };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let meant_for_us =
            variable("WATCHDOG_PID").is_none_or(|id| id.to_str() == Some(std::process::id().to_string().as_str()));
        let watchdog = variable("WATCHDOG_USEC")
            .and_then(|text| text.to_str()?.parse().ok())
            .filter(|&micros: &u64| meant_for_us && micros > 0)
            .map(Duration::from_micros);
        Ok(Some(Self { socket: UnixDatagram::unbound()?, address, watchdog }))
    }

    /// Tells it about a node that listens, until the process ends, from a thread of its own.
    pub fn follow(self, node: Arc<Node>) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let follow = move || runtime.block_on(self.tell_all(&node));
        std::thread::Builder::new().name("service".to_owned()).spawn(follow).map(drop)
    }

    async fn tell_all(&self, node: &Node) {
        let mut seen = node.console.pulse();
        self.tell("READY=1");
        let look = async {
            // Twice in the time allowed would do; a busy machine may be late.
            let Some(interval) = self.watchdog.map(|allowed| allowed / 3) else { return std::future::pending().await };
            loop {
                tokio::time::sleep(interval).await;
                let pulse = node.console.pulse();
                // A node whose thread for replication hangs takes writes and tells nobody: it is better started again.
                if pulse != seen || node.console.stop_requested().is_some() {
                    self.tell("WATCHDOG=1");
                }
                seen = pulse;
            }
        };
        let stop = async {
            node.console.stopping().await;
            self.tell("STOPPING=1");
            std::future::pending::<()>().await;
        };
        tokio::join!(look, stop);
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::warn!(%error, state, "the service manager could not be told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Stop;

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn the_service_manager_hears_of_start_work_and_end() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some("3000".into()),
            _ => None,
        };
        let node = Arc::new(crate::testing::node());
        ServiceManager::find(variable).unwrap().unwrap().follow(Arc::clone(&node)).unwrap();
        assert_eq!(heard(&socket), "READY=1");
        node.console.beat();
        assert_eq!(heard(&socket), "WATCHDOG=1");
        node.console.request_stop(Stop::Orderly);
        let mut said = heard(&socket);
        while said == "WATCHDOG=1" {
            said = heard(&socket);
        }
        assert_eq!(said, "STOPPING=1");
    }

    #[test]
    fn without_a_service_manager_nothing_is_told() {
        assert!(ServiceManager::find(|_| None).unwrap().is_none());
        let other = |name: &str| match name {
            "NOTIFY_SOCKET" => Some("@pelago".into()),
            "WATCHDOG_USEC" => Some("1000000".into()),
            "WATCHDOG_PID" => Some("1".into()),
            _ => None,
        };
        assert_eq!(ServiceManager::find(other).unwrap().unwrap().watchdog, None);
    }
}
