//! Backups of a store whose disk is simulated.

use super::*;
use bytes::Bytes;
use crdt::VersionVector;
use storage::{
    CheckpointStart, CheckpointWriter, Command, Disk, DiskFaults, DiskWorker, FlushPolicy, FoundStore, Fs,
    JournalSettings, Life, Record, SimulatedFs,
};

const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };
const LEASE: Duration = Duration::from_secs(60);

/// A store with some records in it, and backups of it.
struct Scene {
    simulated: SimulatedFs,
    disk: Disk,
    backups: Backups,
}

impl Scene {
    fn new() -> Self {
        let simulated = SimulatedFs::new(1);
        let pins = Pins::over(Arc::new(simulated.clone()));
        let mut found = FoundStore::open(Arc::new(pins.clone()), OWNER).unwrap();
        let next = found.replay(&mut |_, _| Ok(())).unwrap().next;
        let store = found.begin(Life { generation: 1, nonce: 1 }, JournalSettings::default(), next).unwrap();
        let worker = DiskWorker::new(store.fs, store.life, store.journal, FlushPolicy::Always);
        let backups = Backups::default();
        backups.set_store(pins, OWNER);
        let mut scene = Self { simulated, disk: Disk::in_place(worker, || 0), backups };
        scene.write();
        scene
    }

    fn write(&mut self) {
        self.disk.append(Record::Slots(Bytes::from_static(&[7; 100])));
        self.disk.command(Command::Flush);
        self.disk.poll(1_000);
    }

    fn begin_at(&self, position: u64) -> ControlReply {
        let (answer, answered) = oneshot::channel();
        let progress = Arc::clone(self.disk.progress());
        self.backups.begin(Beginning { position, progress, lease: LEASE, facts: json!({}) }, answer);
        answered.blocking_recv().unwrap()
    }

    fn begin(&self) -> (String, String) {
        let told: Value = serde_json::from_str(&self.begin_at(self.disk.position()).unwrap()).unwrap();
        let name = told["files"][0]["name"].as_str().unwrap().to_owned();
        (told["token"].as_str().unwrap().to_owned(), name)
    }

    fn read(&self, token: &str, name: &str, unless: Option<u64>) -> ChunkReply {
        let (token, name) = (token.to_owned(), name.to_owned());
        self.backups.read(ChunkWish { token, name, offset: 0, bytes_max: 50, unless }).blocking_recv().unwrap()
    }
}

#[test]
fn who_has_the_bytes_is_not_sent_them() {
    let scene = Scene::new();
    let (token, name) = scene.begin();
    let bytes = scene.read(&token, &name, None).unwrap().unwrap();
    assert_eq!(bytes.len(), 50);
    assert_eq!(scene.read(&token, &name, Some(xxh3_64(&bytes))), Ok(None));
    assert_eq!(scene.read(&token, &name, Some(5)), Ok(Some(bytes)));
    assert!(scene.read("0", &name, None).is_err() && scene.read(&token, "sound", None).is_err());
    assert!(scene.backups.end(token.clone()).blocking_recv().unwrap().is_ok());
    assert!(scene.backups.end(token.clone()).blocking_recv().unwrap().is_err());
    assert_eq!(scene.read(&token, &name, None), Err(GONE.to_owned()));
    let expected = BackupFigures { begun: 1, bytes_read: 150, ..BackupFigures::default() };
    assert_eq!(scene.backups.figures(), expected);
}

#[test]
fn a_full_disk_ends_every_backup_and_none_begins_on_it() {
    let mut scene = Scene::new();
    let (token, name) = scene.begin();
    scene.simulated.set_faults(DiskFaults { capacity_bytes: 0, ..DiskFaults::default() });
    scene.write();
    assert!(matches!(scene.disk.progress().health(), Health::Full(_)));
    assert_eq!(scene.read(&token, &name, None), Err(GONE.to_owned()));
    assert_eq!((scene.backups.figures().cut_short, scene.backups.figures().running), (1, 0));
    let refusal = scene.begin_at(scene.disk.position()).unwrap_err();
    assert!(refusal.contains("does not keep everything now"), "{refusal}");
}

#[test]
fn files_go_when_the_backup_ends_and_not_before() {
    let mut scene = Scene::new();
    let (token, name) = scene.begin();
    scene.write();
    let store = scene.backups.shared.store.lock().clone().unwrap().0;
    store.remove(&name).unwrap();
    assert!(scene.backups.figures().kept_bytes > 100);
    assert!(scene.read(&token, &name, None).is_ok());
    assert!(scene.backups.end(token).blocking_recv().unwrap().is_ok());
    assert_eq!(scene.backups.figures().kept_bytes, 0);
    assert!(!scene.simulated.list().unwrap().iter().any(|file| file.name == name));
}

#[test]
fn a_checkpoint_that_ends_between_the_order_and_the_cut_is_in_the_cut_with_all_that_its_images_hold() {
    let mut scene = Scene::new();
    let ordered = scene.disk.position();
    scene.write();
    // It began at the order, and its image has in it what was written since.
    let start = CheckpointStart { position: ordered, vector: VersionVector::new() };
    let mut writer = CheckpointWriter::begin(Arc::new(scene.simulated.clone()), OWNER, None, start);
    let mut image = writer.image(0, storage::ImageForm::Plain).unwrap();
    image.write(b"what was written since").unwrap();
    writer.finish(image).unwrap();
    writer.commit(VersionVector::new(), Vec::new(), 1, 1_000).unwrap();
    let told: Value = serde_json::from_str(&scene.begin_at(ordered).unwrap()).unwrap();
    assert_eq!(told["position"], scene.disk.position(), "{told}");
    let whole = scene.simulated.list().unwrap().into_iter().find(|file| file.name.starts_with("journal-")).unwrap();
    let files = told["files"].as_array().unwrap();
    assert!(files.contains(&json!({ "name": whole.name, "bytes": whole.bytes })), "{told}");
}

#[test]
fn without_a_store_there_is_nothing_to_copy() {
    let (answer, answered) = oneshot::channel();
    let beginning = Beginning { position: 0, progress: Arc::default(), lease: LEASE, facts: json!({}) };
    Backups::default().begin(beginning, answer);
    assert!(answered.blocking_recv().unwrap().is_err());
}
