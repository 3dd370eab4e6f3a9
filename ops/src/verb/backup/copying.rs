//! Copying the files of a cut: pieces are asked for ahead, across files, so that a far node is not waited for at each.

use super::place::{Place, Spot};
use super::source::{Piece, Source};
use super::stopped;
use crate::failure::{Failure, Result};
use crate::stop::Stop;
use server::persistence::backup::{BackupChecksum, BackupFile};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// How many bytes came over the network, and how many were there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub copied: u64,
    pub reused: u64,
}

/// The files of a cut on their way.
pub(super) struct Copying<'c> {
    place: &'c Place,
    source: &'c mut Source,
    /// Files that are not begun, with their lengths and where they are made.
    waiting: VecDeque<(String, u64, Spot)>,
    /// Files that are begun, oldest first. Of the last one pieces are asked for; of the others all were.
    begun: VecDeque<Making>,
    /// Pieces that were asked for: answers come in this order.
    asked: VecDeque<Asked>,
    done: Vec<BackupFile>,
    amount: Amount,
}

/// A file that is being made.
struct Making {
    name: String,
    spot: Spot,
    path: PathBuf,
    file: File,
    length: u64,
    /// Bytes that were here at first.
    here: u64,
    /// Where the next piece begins.
    next: u64,
    /// Pieces that are not answered yet.
    unanswered: usize,
    checksum: BackupChecksum,
    /// Something of it may not be durable.
    must_sync: bool,
    /// The cut before has something else here: what still comes is passed over.
    differs: bool,
    amount: Amount,
}

/// A piece that was asked for.
struct Asked {
    offset: u64,
    bytes: u64,
    /// What is here of it; all of it or nothing.
    here: Option<Vec<u8>>,
}

/// Pieces that are asked for before the first has come: so much is on the way.
const PIECES_AHEAD: usize = 4;

impl<'c> Copying<'c> {
    /// Copies all files of the node's cut, as far as they are not here. `note` hears how far it is.
    pub(super) fn all(
        place: &'c Place,
        source: &'c mut Source,
        stop: &Stop,
        note: &dyn Fn(Amount),
    ) -> Result<(Vec<BackupFile>, Amount)> {
        let files = source.cut.files.clone();
        let waiting = files.into_iter().map(|(name, length)| {
            let spot = place.first_spot(&name);
            (name, length, spot)
        });
        let waiting = waiting.collect();
        let (begun, asked) = (VecDeque::new(), VecDeque::new());
        let mut copying = Self { place, source, waiting, begun, asked, done: Vec::new(), amount: Amount::default() };
        while copying.ask_ahead()? {
            copying.take_answer()?;
            note(copying.so_far());
            if stop.is_told() {
                return Err(stopped());
            }
        }
        copying.done.sort_by(|one, other| one.name.cmp(&other.name));
        Ok((copying.done, copying.amount))
    }

    /// Asks for what is next, as far as there may be pieces on the way. False if everything is here.
    fn ask_ahead(&mut self) -> Result<bool> {
        loop {
            self.end_files()?;
            if self.asked.len() >= PIECES_AHEAD {
                return Ok(true);
            }
            match self.begun.back_mut().filter(|making| making.wants_more()) {
                Some(making) => self.asked.push_back(making.ask(self.source)?),
                None => match self.waiting.pop_front() {
                    Some((name, length, spot)) => {
                        let path = self.place.path(&spot.stored);
                        self.begun.push_back(Making::begin(name, length, spot, path)?);
                    }
                    None => return Ok(!self.asked.is_empty()),
                },
            }
        }
    }

    fn take_answer(&mut self) -> Result<()> {
        let oldest = self.begun.iter_mut().find(|making| making.unanswered > 0);
        let (Some(making), Some(asked)) = (oldest, self.asked.pop_front()) else { return Ok(()) };
        making.take(asked, self.source.piece()?)
    }

    /// Ends files of which everything has come. One that differs from the cut before is made anew, elsewhere.
    fn end_files(&mut self) -> Result<()> {
        while let Some(making) = self.begun.pop_front_if(|making| making.unanswered == 0 && !making.wants_more()) {
            if making.differs {
                let spot = self.place.other_spot(&making.name);
                self.waiting.push_back((making.name, making.length, spot));
                continue;
            }
            if making.must_sync {
                making.file.sync_all().map_err(|error| failed("make durable", &making.path, error))?;
            }
            self.amount.copied += making.amount.copied;
            self.amount.reused += making.amount.reused;
            self.done.push(BackupFile {
                checksum: making.checksum.text(),
                name: making.name,
                stored: making.spot.stored,
                bytes: making.length,
            });
        }
        Ok(())
    }

    fn so_far(&self) -> Amount {
        let begun = self.begun.iter().filter(|making| !making.differs).map(|making| making.amount);
        begun.fold(self.amount, |sum, more| Amount {
            copied: sum.copied + more.copied,
            reused: sum.reused + more.reused,
        })
    }
}

impl Making {
    fn begin(name: String, length: u64, spot: Spot, path: PathBuf) -> Result<Self> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|error| failed("write", &path, error))?;
        let here = file.metadata().map_err(|error| failed("read", &path, error))?.len();
        let kept = spot.kept;
        Ok(Self {
            name,
            spot,
            path,
            file,
            length,
            here,
            next: 0,
            unanswered: 0,
            checksum: BackupChecksum::default(),
            // SUBTLE: what an interrupted run has left may be right and not durable.
            must_sync: length > kept,
            differs: false,
            amount: Amount::default(),
        })
    }

    fn wants_more(&self) -> bool {
        self.next < self.length && !self.differs
    }

    /// Asks for the next piece: what is here is offered, and what is not begins a piece of its own.
    fn ask(&mut self, source: &mut Source) -> Result<Asked> {
        let offset = self.next;
        let is_here = offset < self.here;
        let end = if is_here { self.here.min(self.length) } else { self.length };
        let bytes = (end - offset).min(source.piece_bytes);
        let here = if is_here {
            let mut found = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            self.file.read_exact_at(&mut found, offset).map_err(|error| failed("read", &self.path, error))?;
            Some(found)
        } else {
            None
        };
        let checksum = here.as_deref().map(BackupChecksum::of);
        source.ask(&self.name, offset, bytes, checksum.as_deref())?;
        self.next += bytes;
        self.unanswered += 1;
        Ok(Asked { offset, bytes, here })
    }

    fn take(&mut self, asked: Asked, piece: Piece<'_>) -> Result<()> {
        self.unanswered -= 1;
        let Asked { offset, bytes, here } = asked;
        match piece {
            _ if self.differs => {}
            Piece::Same => {
                // The node has seen no checksum to which this would be the answer.
                let Some(here) = here else { return Err(self.wrong_length(0, bytes)) };
                self.checksum.add(&here);
                self.amount.reused += bytes;
            }
            Piece::Bytes(came) if came.len() as u64 == bytes => {
                let must_stay = usize::try_from(self.spot.kept.saturating_sub(offset).min(bytes)).unwrap_or(usize::MAX);
                self.differs = here.is_some_and(|here| here[..must_stay] != came[..must_stay]);
                if self.differs {
                    return Ok(());
                }
                self.file.write_all_at(came, offset).map_err(|error| failed("write", &self.path, error))?;
                self.checksum.add(came);
                self.must_sync = true;
                self.amount.copied += bytes;
            }
            Piece::Bytes(came) => return Err(self.wrong_length(came.len(), bytes)),
        }
        Ok(())
    }

    fn wrong_length(&self, came: usize, bytes: u64) -> Failure {
        Failure::Arguments(format!("{} was answered with {came} bytes instead of {bytes}", self.name))
    }
}

fn failed(doing: &'static str, path: &std::path::Path, error: io::Error) -> Failure {
    Failure::File { doing, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_calls_the_same_what_was_not_offered_is_not_believed() {
        let home = tempfile::tempdir().unwrap();
        let spot = Spot { stored: "image".to_owned(), kept: 0 };
        let mut making = Making::begin("image".to_owned(), 8, spot, home.path().join("image")).unwrap();
        making.unanswered = 2;
        let offered = Asked { offset: 0, bytes: 4, here: Some(vec![1; 4]) };
        making.take(offered, Piece::Same).unwrap();
        let refusal = making.take(Asked { offset: 4, bytes: 4, here: None }, Piece::Same).unwrap_err();
        assert_eq!(refusal.to_string(), "image was answered with 0 bytes instead of 4");
        assert_eq!(making.amount, Amount { copied: 0, reused: 4 });
    }
}
