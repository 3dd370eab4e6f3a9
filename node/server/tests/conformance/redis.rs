//! A real `redis-server`, on a socket of its own in a directory of its own.

use super::Server;
use super::reply::Answer;
use super::script::Audience;
use resp::Version;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The reference.
pub struct Redis {
    process: Child,
    directory: PathBuf,
    connection: BufReader<UnixStream>,
}

impl Redis {
    /// Starts one; nothing if it is not installed or another version than the scripts are about.
    pub fn start() -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output().ok()?;
        if !String::from_utf8_lossy(&version.stdout).contains(" v=7.0.") {
            return None;
        }
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("pelago-conformance-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("redis.sock");
        let mut process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(log.any(|line| line.contains("ready to accept connections")), "redis-server did not start");
        // Its pipe must be read to the end, or it waits for us one day.
        std::thread::spawn(move || log.for_each(drop));
        let connection = BufReader::new(UnixStream::connect(socket).unwrap());
        Some(Self { process, directory, connection })
    }
}

impl Server for Redis {
    const AUDIENCE: Audience = Audience::Redis;

    fn begin(&mut self, version: Version) {
        let version = if version == Version::Resp3 { "3" } else { "2" };
        for request in [&["RESET"][..], &["HELLO", version], &["FLUSHALL"]] {
            let args: Vec<Vec<u8>> = request.iter().map(|word| word.as_bytes().to_vec()).collect();
            let answer = self.call(&args);
            assert!(!matches!(answer, Answer::Error(_)), "{request:?}: {answer}");
        }
    }

    fn call(&mut self, args: &[Vec<u8>]) -> Answer {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for argument in args {
            request.extend(format!("${}\r\n", argument.len()).bytes());
            request.extend(argument);
            request.extend(b"\r\n");
        }
        self.connection.get_mut().write_all(&request).unwrap();
        Answer::read(&mut self.connection).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It is killed and its directory goes; there is nobody left to tell if either fails.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
