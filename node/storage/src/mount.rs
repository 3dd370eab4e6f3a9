//! Which mount of its file system a file is seen under: another one after the volume went away and came back, and then what
//! the system had not written by then may be gone, although the host has stayed up.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A word that is another one for each mount, until the host boots again; 0 where the system does not say.
///
/// SUBTLE: where a file system shows itself below `/sys/fs`, that is asked. The mount's own number is another one in each
/// container and in each service with a view of its own on the files, so a crash of the process would look like a loss.
pub(crate) fn mount_of(path: &Path, facts: &Metadata) -> u64 {
    shown_file_system(facts.dev()).unwrap_or_else(|| own_number(path))
}

/// The inode that `/sys` gave the file system on this device when it was mounted first.
fn shown_file_system(device: u64) -> Option<u64> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let device = std::fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let name = device.file_name()?;
    let shown = SHOWN.iter().map(|kind| Path::new("/sys/fs").join(kind).join(name));
    shown.into_iter().find_map(|directory| std::fs::metadata(directory).ok()).map(|facts| facts.ino())
}

/// Those that have a directory named for the device. ext2 and ext3 are ext4's.
const SHOWN: [&str; 3] = ["ext4", "xfs", "f2fs"];

#[cfg(target_os = "linux")]
fn own_number(path: &Path) -> u64 {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    // Since Linux 6.8. The older number is given to the next mount when its own is gone.
    let unique = StatxFlags::from_bits_retain(0x4000);
    let facts = statx(CWD, path, AtFlags::empty(), unique).ok();
    facts.filter(|facts| facts.stx_mask & unique.bits() != 0).map_or(0, |facts| facts.stx_mnt_id)
}

#[cfg(not(target_os = "linux"))]
fn own_number(_path: &Path) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_while_the_volume_does() {
        let home = tempfile::tempdir().unwrap();
        let mount = |name: &str| {
            let path = home.path().join(name);
            std::fs::write(&path, "a file").unwrap();
            mount_of(&path, &std::fs::metadata(&path).unwrap())
        };
        assert_eq!(mount("a"), mount("b"));
        let (path, facts) = (Path::new("/proc/self"), std::fs::metadata("/proc/self").unwrap());
        assert!(mount_of(path, &facts) == 0 || mount_of(path, &facts) != mount("a"));
    }
}
