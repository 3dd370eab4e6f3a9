//! Small files of a node's directory that are written as a whole, and the directories they lie in: what was made is durable
//! when the call returns. Not for the store, which has a seam of its own to the disk.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A file that its owner alone may read.
pub(crate) const PRIVATE_MODE: u32 = 0o600;
/// A file that everybody may read whom the process's mask does not exclude.
pub(crate) const COMMON_MODE: u32 = 0o666;

/// Replaces a file, or makes it, with these rights; a crash leaves the old one or the new one. If it cannot be written, as on
/// a full disk, the old one stays and nothing lies beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    if let Err(error) = write(&beside, bytes, mode).and_then(|()| fs::rename(&beside, path)) {
        // What there is of it is of no use to anybody. The next attempt begins anew, also if this fails.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_directory_of(path)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    if mode != COMMON_MODE {
        // Neither what the process's mask takes away counts here, nor what a crash has left beside the file.
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a directory, and those above it that are not there.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_directory(above)?;
    }
    fs::create_dir(path)?;
    sync_directory_of(path)
}

/// Makes the name of a file or directory durable.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn who_reads_a_file_that_is_replaced_sees_the_old_one_as_a_whole() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/settings");
        make_directory(path.parent().unwrap()).unwrap();
        make_directory(path.parent().unwrap()).unwrap();
        replace(&path, b"the first text", PRIVATE_MODE).unwrap();
        let mut reader = File::open(&path).unwrap();
        replace(&path, b"the second", PRIVATE_MODE).unwrap();
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!((read.as_str(), fs::read(&path).unwrap().as_slice()), ("the first text", b"the second".as_slice()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, PRIVATE_MODE);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn on_a_full_disk_the_old_file_stays_and_nothing_lies_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("settings");
        replace(&path, b"old", COMMON_MODE).unwrap();
        // A device without any room stands where the new file is written.
        std::os::unix::fs::symlink("/dev/full", home.path().join("settings.new")).unwrap();
        let error = replace(&path, b"new", COMMON_MODE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_is_in_the_way_of_a_directory_is_told() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a"), "a file").unwrap();
        assert!(make_directory(&home.path().join("a/b")).is_err());
        assert!(make_directory(&home.path().join("a")).is_err());
    }
}
