//! The manifest of a backup, and what is believed of it.

use super::*;

fn manifest() -> BackupManifest {
    let file = BackupFile {
        name: "journal-0000000000000001".to_owned(),
        stored: "journal-0000000000000001.2".to_owned(),
        bytes: 4,
        checksum: BackupChecksum::of(b"abcd"),
    };
    BackupManifest {
        format: BACKUP_FORMAT,
        cut: 2,
        cluster: "01".repeat(16),
        identity: "fe".repeat(32),
        vector: [("3".to_owned(), "5".to_owned())].into_iter().collect(),
        files: vec![file],
        ..BackupManifest::default()
    }
}

#[test]
fn a_manifest_is_read_as_it_was_committed_and_never_guessed() {
    let home = tempfile::tempdir().unwrap();
    assert!(matches!(Backup::open(home.path()), Err(BackupError::NoBackup(_))));
    manifest().commit(home.path()).unwrap();
    let read = BackupManifest::read(home.path()).unwrap().unwrap();
    assert_eq!(read, manifest());
    assert_eq!(read.owner().unwrap(), StoreOwner { cluster: [1; 16], identity: [0xfe; 32] });
    let path = home.path().join(BACKUP_MANIFEST);
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        std::fs::write(&path, altered).unwrap();
        match BackupManifest::read(home.path()) {
            Ok(read) => panic!("byte {at}: {read:?}"),
            Err(error) => {
                assert!(matches!(error, BackupError::Manifest(_) | BackupError::Newer(_)), "byte {at}: {error}")
            }
        }
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (name, stored) in [
        ("../etc/passwd", "../etc/passwd"),
        ("journal-0000000000000001", "/etc/passwd"),
        ("journal-0000000000000001", "journal-0000000000000001/../x"),
        ("journal-0000000000000001", "journal-0000000000000001.x"),
        ("image-0000000000000001-001/../../x", "image-0000000000000001-001/../../x"),
        ("backup.json", "backup.json"),
    ] {
        let mut manifest = manifest();
        (manifest.files[0].name, manifest.files[0].stored) = (name.to_owned(), stored.to_owned());
        manifest.commit(home.path()).unwrap();
        assert!(matches!(BackupManifest::read(home.path()), Err(BackupError::Manifest(_))), "{stored}");
    }
}

#[test]
fn what_counts_of_a_file_is_its_beginning() {
    let home = tempfile::tempdir().unwrap();
    let backup = Backup::unfinished(home.path(), manifest());
    let files = home.path().join(BACKUP_FILES);
    std::fs::create_dir(&files).unwrap();
    let path = files.join("journal-0000000000000001.2");
    let damage = || backup.damage(&mut |_| ()).unwrap();
    assert_eq!(damage(), ["journal-0000000000000001.2 is missing"]);
    for (contents, expected) in [
        (&b"abc"[..], &["journal-0000000000000001.2 ends too early"][..]),
        (b"abcd", &[]),
        (b"abcdefg", &[]),
        (b"abce", &["journal-0000000000000001.2: its checksum is wrong"]),
    ] {
        std::fs::write(&path, contents).unwrap();
        assert_eq!(damage(), expected);
    }
    let view = backup.files();
    std::fs::write(&path, b"abcdefg").unwrap();
    use storage::Fs;
    assert_eq!(view.read("journal-0000000000000001", 1, 100).unwrap(), b"bcd");
    assert_eq!(view.list().unwrap().len(), 1);
    assert!(view.remove("journal-0000000000000001").is_err() && view.read("checkpoint", 0, 1).is_err());
}
