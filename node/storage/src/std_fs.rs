//! The real disk: a directory of the operating system.

use crate::fs::{FileFacts, FileId, Fs, FsFile};
use crate::mount::mount_of;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// A directory of the operating system's.
#[derive(Clone, Debug)]
pub struct StdFs {
    directory: PathBuf,
}

#[derive(Debug)]
struct StdFile(File);

impl StdFs {
    /// Opens a directory; makes it, durably, if it is not there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        if !directory.is_dir() {
            fs::create_dir_all(directory)?;
            if let Some(above) = directory.parent().filter(|above| !above.as_os_str().is_empty()) {
                File::open(above)?.sync_all()?;
            }
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// A directory that is there and only read.
    pub fn existing(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Bytes that the system is given, or asked for, at a time.
///
/// SUBTLE: Linux copies up to 2 MiB of a call before it looks whether another thread is to have the core, which takes some
/// milliseconds where the memory behind its cache is new. With hundreds of megabytes in one call a worker on the same core
/// had its turn once in 7 ms for a second, and what its clients sent meanwhile piled up.
const PIECE_BYTES: usize = 128 << 10;

fn write_in_pieces(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes.chunks(PIECE_BYTES).try_for_each(|piece| file.write_all(piece))
}

fn read_in_pieces(file: &mut impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < bytes_max {
        let piece = PIECE_BYTES.min(bytes_max - bytes.len());
        if file.take(piece as u64).read_to_end(&mut bytes)? < piece {
            break;
        }
    }
    Ok(bytes)
}

impl Fs for StdFs {
    fn create(&self, name: &str) -> io::Result<Arc<dyn FsFile>> {
        let file = OpenOptions::new().create_new(true).append(true).open(self.path(name))?;
        Ok(Arc::new(StdFile(file)))
    }

    fn list(&self) -> io::Result<Vec<FileFacts>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if let (true, Ok(name)) = (facts.is_file(), entry.file_name().into_string()) {
                files.push(FileFacts { name, bytes: facts.len() });
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    fn read(&self, name: &str, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(name))?;
        file.seek(SeekFrom::Start(offset))?;
        read_in_pieces(&mut file, bytes_max)
    }

    fn rename(&self, old: &str, new: &str) -> io::Result<()> {
        fs::rename(self.path(old), self.path(new))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        File::open(self.path(name))?.sync_data()
    }

    fn space(&self) -> io::Result<u64> {
        let facts = rustix::fs::statvfs(&self.directory)?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }

    fn file_id(&self, name: &str) -> io::Result<FileId> {
        let path = self.path(name);
        let facts = fs::metadata(&path)?;
        let born = facts.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |born| u64::try_from(born.as_nanos()).unwrap_or(u64::MAX));
        Ok(FileId { inode: facts.ino(), born_ns, mount: mount_of(&path, &facts) })
    }
}

impl FsFile for StdFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        write_in_pieces(&mut &self.0, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that notes the largest piece it was given or asked for.
    #[derive(Default)]
    struct Noting {
        bytes: Vec<u8>,
        read: usize,
        largest: usize,
    }

    impl Write for Noting {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            self.largest = self.largest.max(piece.len());
            self.bytes.write(piece)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Noting {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.largest = self.largest.max(out.len());
            let count = (&self.bytes[self.read..]).read(out)?;
            self.read += count;
            Ok(count)
        }
    }

    #[test]
    fn the_system_is_given_and_asked_for_no_more_than_a_piece_at_a_time() {
        for length in [0, 1, PIECE_BYTES, 3 * PIECE_BYTES, 3 * PIECE_BYTES + 5] {
            let written: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            let mut file = Noting::default();
            write_in_pieces(&mut file, &written).unwrap();
            assert!(file.bytes == written && file.largest <= PIECE_BYTES);
            for bytes_max in [length / 2, length, length + 9] {
                (file.read, file.largest) = (0, 0);
                let read = read_in_pieces(&mut file, bytes_max).unwrap();
                assert!(read == written[..bytes_max.min(length)] && file.largest <= PIECE_BYTES, "{bytes_max}");
            }
        }
    }

    #[test]
    fn a_directory_keeps_what_was_appended() {
        let home = tempfile::tempdir().unwrap();
        let fs = StdFs::open(&home.path().join("a/b")).unwrap();
        let file = fs.create("one").unwrap();
        file.append(b"hello ").unwrap();
        file.append(b"world").unwrap();
        file.sync().unwrap();
        fs.sync_directory().unwrap();
        assert_eq!(fs.read("one", 6, 100).unwrap(), b"world");
        assert_eq!(fs.create("one").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs.rename("one", "two").unwrap();
        assert_eq!(fs.list().unwrap(), [FileFacts { name: "two".to_owned(), bytes: 11 }]);
        assert!(fs.space().unwrap() > 0);
        fs.remove("two").unwrap();
        assert_eq!(fs.read("two", 0, 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
