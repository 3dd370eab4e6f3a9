use super::*;
use std::collections::BTreeMap;

type Rows = Vec<(String, Vec<u8>)>;

/// Opens a catalogue that must be sound.
fn sound(directory: &Path) -> SledCatalogue {
    let (catalogue, moved) = SledCatalogue::open(directory).unwrap();
    assert_eq!(moved, None);
    catalogue
}

/// A flushed catalogue with some history, closed; returns what it holds.
fn filled(directory: &Path) -> Rows {
    let catalogue = sound(directory);
    for round in 0..5u8 {
        for row in 0..40 {
            catalogue.put(&format!("row {row}"), &vec![round ^ row; 20 + 40 * usize::from(row)]).unwrap();
        }
        catalogue.remove(&format!("row {round}")).unwrap();
        catalogue.flush().unwrap();
    }
    catalogue.rows("").unwrap()
}

#[test]
fn rows_survive_closing_and_opening() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    let rows = filled(&directory);
    let catalogue = sound(&directory);
    assert_eq!(catalogue.rows("").unwrap(), rows);
    assert_eq!(catalogue.get("row 4").unwrap(), None);
    assert_eq!(catalogue.get("row 39").unwrap().unwrap().len(), 20 + 40 * 39);
    assert_eq!(catalogue.rows("row 3").unwrap().len(), 11);
}

#[test]
fn writes_after_the_last_flush_are_no_damage() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    filled(&directory);
    let catalogue = sound(&directory);
    catalogue.put("not flushed", b"may or may not survive").unwrap();
    drop(catalogue);
    sound(&directory);
}

#[test]
fn large_rows_survive_as_well() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    let row: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7) as u8).collect();
    let catalogue = sound(&directory);
    catalogue.put("large", &row).unwrap();
    catalogue.flush().unwrap();
    drop(catalogue);
    assert_eq!(sound(&directory).get("large").unwrap(), Some(row));
}

#[test]
fn a_second_opening_is_refused_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let first = sound(home.path());
    let refused = SledCatalogue::open(home.path()).unwrap_err();
    assert!(matches!(refused, CatalogueError::InUse(_)), "{refused}");
    assert!(refused.to_string().ends_with("a node's directory serves one process at a time"));
    first.put("still", b"good").unwrap();
}

#[test]
fn a_row_beyond_the_limits_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let catalogue = sound(home.path());
    let long = "k".repeat(crate::limits::KEY_BYTES_MAX + 1);
    assert!(matches!(catalogue.put(&long, b""), Err(CatalogueError::TooLong { .. })));
    let row = vec![0; crate::limits::ROW_BYTES_MAX + 1];
    assert!(matches!(catalogue.put("k", &row), Err(CatalogueError::TooLong { .. })));
}

/// Whatever happens to the files, what is read afterwards is all that was written, or it is reported as damage.
#[test]
fn damaged_files_are_noticed_and_moved_aside() {
    let home = tempfile::tempdir().unwrap();
    let original = home.path().join("original");
    let rows = filled(&original);
    let length = fs::metadata(original.join(DATABASE_FILE)).unwrap().len() as usize;
    type Damage = Box<dyn Fn(&mut Vec<u8>)>;
    let mut damages: Vec<(String, &str, Damage)> = Vec::new();
    for part in 0..24 {
        let at = length * part / 24;
        let flip = move |bytes: &mut Vec<u8>| bytes.iter_mut().skip(at).take(64).for_each(|byte| *byte ^= 0xa5);
        damages.push((format!("flipped at {at}"), DATABASE_FILE, Box::new(flip)));
        damages.push((format!("cut at {at}"), DATABASE_FILE, Box::new(move |bytes| bytes.truncate(at))));
        let zero = move |bytes: &mut Vec<u8>| bytes[at..].fill(0);
        damages.push((format!("zero from {at}"), DATABASE_FILE, Box::new(zero)));
    }
    damages.push(("foreign settings".into(), "conf", Box::new(|bytes| *bytes = b"nonsense".to_vec())));
    damages.push(("empty settings".into(), "conf", Box::new(Vec::clear)));
    damages.push(("a foreign seal".into(), "seal", Box::new(|bytes| bytes[0] ^= 1)));

    let mut outcomes = BTreeMap::new();
    for (number, (name, file, damage)) in damages.iter().enumerate() {
        let directory = home.path().join(format!("copy-{number}"));
        copy(&original, &directory);
        let mut bytes = fs::read(directory.join(file)).unwrap();
        damage(&mut bytes);
        fs::write(directory.join(file), bytes).unwrap();

        let (catalogue, moved) = SledCatalogue::open(&directory).unwrap();
        match &moved {
            None => assert_eq!(catalogue.rows("").unwrap(), rows, "{name} went unnoticed"),
            Some(moved) => {
                assert_eq!(catalogue.rows("").unwrap(), [], "{name}");
                assert!(moved.path.ends_with(format!("copy-{number}.damaged-1")) && moved.path.is_dir());
                catalogue.put("begins", b"again").unwrap();
                catalogue.flush().unwrap();
            }
        }
        *outcomes.entry(moved.is_some()).or_insert(0) += 1;
    }
    assert!(outcomes.get(&true).is_some_and(|noticed| *noticed > 20), "{outcomes:?}");
}

#[test]
fn a_lost_or_older_database_is_noticed_by_the_seal() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    let older = home.path().join("older");
    filled(&directory);
    copy(&directory, &older);
    let catalogue = sound(&directory);
    catalogue.put("numbers", b"one more is burnt").unwrap();
    catalogue.flush().unwrap();
    drop(catalogue);

    fs::copy(older.join(DATABASE_FILE), directory.join(DATABASE_FILE)).unwrap();
    let (_, moved) = SledCatalogue::open(&directory).unwrap();
    assert!(moved.unwrap().reason.starts_with("only "));

    filled(&older);
    fs::remove_file(older.join(DATABASE_FILE)).unwrap();
    let (_, moved) = SledCatalogue::open(&older).unwrap();
    assert!(moved.is_some());
}

#[test]
fn what_the_disk_forbids_is_not_taken_for_damage() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    fs::write(&directory, b"a file is in the way").unwrap();
    let error = SledCatalogue::open(&directory).unwrap_err();
    assert!(matches!(error, CatalogueError::File { .. }), "{error}");
    assert!(directory.is_file());
}

#[test]
fn damaged_catalogues_are_kept_side_by_side() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("catalogue");
    for number in 1..=3 {
        drop(sound(&directory));
        fs::write(directory.join("seal"), b"no seal").unwrap();
        let (_, moved) = SledCatalogue::open(&directory).unwrap();
        assert!(moved.unwrap().path.ends_with(format!("catalogue.damaged-{number}")));
    }
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), target.join(entry.file_name())).unwrap()),
        }
    }
}
