//! A volume of its own for a directory: one that is small, and that can go away and come back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in a file. It goes with this value; the directory stays.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    directory: PathBuf,
}

impl Volume {
    /// Makes an empty one and mounts it at a directory, which is made. Where the system does not let us, it says so loudly and
    /// returns nothing.
    pub fn mount(directory: &Path, bytes: u64, for_what: &str) -> Option<Self> {
        let volume = Self { image: directory.with_extension("img"), directory: directory.to_owned() };
        fs::create_dir_all(directory).expect("the place takes directories");
        File::create(&volume.image).and_then(|file| file.set_len(bytes)).expect("the place takes files");
        let made = run("mkfs.ext4", &[], &[volume.image.as_path()]).and_then(|()| volume.attach());
        if let Err(error) = made {
            eprintln!("\n!!! SKIPPED: no volume can be mounted here ({error}): {for_what} is NOT tried\n");
            return None;
        }
        // A new directory has nothing in it.
        fs::remove_dir(directory.join("lost+found")).expect("a new file system has this directory, and it is empty");
        Some(volume)
    }

    /// It goes away and comes back. Nobody has a file of it open.
    pub fn remount(&self) {
        run("umount", &[], &[self.directory.as_path()]).expect("nobody has a file of it open");
        self.attach().expect("it was mounted before");
    }

    /// It goes away, and comes back as a copy that was made of it, if there is one; otherwise one is made. Nobody has a file of
    /// it open.
    pub fn swap_with_copy(&self) {
        run("umount", &[], &[self.directory.as_path()]).expect("nobody has a file of it open");
        let copy = self.image.with_extension("copy");
        let (source, target) = if copy.exists() { (&copy, &self.image) } else { (&self.image, &copy) };
        fs::copy(source, target).expect("there is room for a copy");
        self.attach().expect("it was mounted before");
    }

    /// Takes all space that is left, with one file, which it returns.
    pub fn fill(&self) -> PathBuf {
        let path = self.directory.join("filling");
        let mut file = File::options().create(true).append(true).open(&path).expect("there is room for a name");
        for bytes in [1 << 20, 4 << 10, 1] {
            while std::io::Write::write_all(&mut file, &vec![7; bytes]).is_ok() {}
        }
        path
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o", "loop"], &[self.image.as_path(), self.directory.as_path()])
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Also while somebody has a file of it open; where it was never mounted there is nothing to undo.
        drop(run("umount", &["--lazy"], &[self.directory.as_path()]));
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
