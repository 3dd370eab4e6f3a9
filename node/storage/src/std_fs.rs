//! The real disk: a directory of the operating system.

use crate::fs::{FileFacts, FileId, Fs, FsFile};
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
        let mut bytes = Vec::new();
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
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
        let facts = fs::metadata(self.path(name))?;
        let born = facts.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born_ns = born.map_or(0, |born| u64::try_from(born.as_nanos()).unwrap_or(u64::MAX));
        Ok(FileId { inode: facts.ino(), born_ns })
    }
}

impl FsFile for StdFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
