//! One HTTP request. What a scraper makes of an answer is `metrics`' business.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Clone, Debug)]
pub struct Page {
    /// Such as 200.
    pub status: u16,
    /// What follows the header.
    pub body: String,
}

const SILENCE_MAX: Duration = Duration::from_secs(30);

/// `GET path`, with the connection closed afterwards.
pub fn get(address: &str, path: &str) -> Result<Page, String> {
    let failed = |error: std::io::Error| format!("{address}{path}: {error}");
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its header")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("the answer has no status")?;
    Ok(Page { status, body: body.to_owned() })
}
