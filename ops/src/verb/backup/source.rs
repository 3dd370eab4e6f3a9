//! The node's side of a backup: `PELAGO BACKUP`.

use crate::client::Client;
use crate::failure::{Failure, Result};
use crate::target::Target;
use crate::wire::{Answer, Wire};
use resp::write_request;
use serde_json::Value;
use server::persistence::backup::{BackupFile, BackupManifest};

/// What the node says that its cut is.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// What the manifest will say, without the files.
    pub manifest: BackupManifest,
    /// The files with their lengths.
    pub files: Vec<(String, u64)>,
}

/// A backup that the node has begun.
#[derive(Debug)]
pub(super) struct Source {
    pub cut: Cut,
    /// Bytes of one piece.
    pub piece_bytes: u64,
    token: String,
    wire: Wire,
    request: Vec<u8>,
}

/// What the node answers for a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'w> {
    /// What is in it.
    Bytes(&'w [u8]),
    /// What was offered.
    Same,
}

impl Cut {
    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Takes it from the node's answer.
    fn of(told: &Value) -> Option<Self> {
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        // Names become paths here: one that no store has, such as one that leads elsewhere, is not an answer.
        let named =
            |file: &Value| file["name"].as_str().filter(|name| BackupFile::may_be_named(name)).map(str::to_owned);
        let file = |file: &Value| Some((named(file)?, file["bytes"].as_u64()?));
        let manifest = BackupManifest {
            version: text("version")?,
            cluster: text("cluster")?,
            identity: text("identity")?,
            node: text("node")?,
            region: text("region")?,
            taken_ms: told["taken_ms"].as_u64()?,
            checkpoint: told["checkpoint"].as_u64()?,
            position: told["position"].as_u64()?,
            vector: serde_json::from_value(told["vector"].clone()).ok()?,
            ..BackupManifest::default()
        };
        let files = told["files"].as_array()?.iter().map(file).collect::<Option<_>>()?;
        Some(Self { manifest, files })
    }
}

impl Source {
    /// Begins a backup: everything that was acknowledged before is in it.
    pub(super) fn begin(target: &Target) -> Result<Self> {
        let mut client: Client = target.connect()?;
        client.wait_at_most(BEGIN_TIME)?;
        let told = client.json(&["PELAGO", "BACKUP", "BEGIN"])?;
        let understood = Cut::of(&told).zip(told["token"].as_str()).zip(told["chunk_bytes_max"].as_u64());
        let Some(((cut, token), piece_bytes)) = understood.filter(|(_, bytes)| *bytes > 0) else {
            return Err(Failure::Answer { address: target.via.clone(), question: "PELAGO BACKUP BEGIN".to_owned() });
        };
        let wire = target.wire()?;
        Ok(Self { cut, piece_bytes, token: token.to_owned(), wire, request: Vec::new() })
    }

    /// Asks for a piece of a file. With the checksum of what is here already the node need not send it.
    pub(super) fn ask(&mut self, name: &str, offset: u64, bytes: u64, here: Option<&str>) -> Result<()> {
        let (offset, bytes) = (offset.to_string(), bytes.to_string());
        let words = ["PELAGO", "BACKUP", "READ", &self.token, name, &offset, &bytes];
        let words = words.into_iter().chain(here.into_iter().flat_map(|checksum| ["UNLESS", checksum]));
        let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
        self.request.clear();
        write_request(&mut self.request, &words);
        self.wire.send(&self.request)
    }

    /// The answer to the first question that has none yet.
    pub(super) fn piece(&mut self) -> Result<Piece<'_>> {
        let address = self.wire.address().to_owned();
        match self.wire.next()? {
            Answer::Text(bytes) => Ok(Piece::Bytes(bytes)),
            Answer::Null => Ok(Piece::Same),
            Answer::Error(text) => Err(Failure::refused(&address, &String::from_utf8_lossy(text))),
            Answer::Status(_) | Answer::Integer(_) | Answer::List(_) => Err(Failure::Protocol { address }),
        }
    }

    /// The node need keep nothing for it any more. If it does not hear that, the lease ends.
    pub(super) fn end(mut self) {
        let _ = self.wire.call(&[b"PELAGO", b"BACKUP", b"END", self.token.as_bytes()]);
    }
}

/// The node flushes its disk before it answers.
const BEGIN_TIME: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cut_is_understood_whole_or_not_at_all() {
        let told = json!({
            "version": "0.1.0", "cluster": "00", "identity": "01", "node": "a-1", "region": "a", "taken_ms": 5,
            "checkpoint": 2, "position": 7, "vector": { "3": "9" }, "files": [{ "name": "checkpoint", "bytes": 8 }],
        });
        let cut = Cut::of(&told).unwrap();
        assert_eq!((cut.bytes(), cut.manifest.node.as_str(), cut.manifest.position), (8, "a-1", 7));
        for name in told.as_object().unwrap().keys() {
            let mut less = told.clone();
            less[name] = Value::Null;
            assert!(Cut::of(&less).is_none(), "without {name}");
        }
        for name in ["../checkpoint", "/etc/passwd", "image-1-2/../../x", "notes", ""] {
            let mut elsewhere = told.clone();
            elsewhere["files"][0]["name"] = json!(name);
            assert!(Cut::of(&elsewhere).is_none(), "a file {name:?}");
        }
    }
}
