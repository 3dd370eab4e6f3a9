//! Offline verification: reads every byte of a store and says what is wrong with it. Changes nothing.

use crate::checkpoint::{MANIFEST_COPY, Manifest, image_of, read_image};
use crate::fs::{DAMAGED, Fs, StoreError, UNFINISHED};
use crate::segment::{HeadFound, SegmentEnd, StoreOwner, read_head, scan, segment_name, segment_number};
use crate::store::Problem;

/// What a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Segments of the journal.
    pub segments: usize,
    /// Their bytes.
    pub journal_bytes: u64,
    /// Records that are sound.
    pub records: u64,
    /// The number of the last checkpoint; 0 if there is none.
    pub checkpoint: u64,
    /// Its images.
    pub images: usize,
    /// Their bytes.
    pub image_bytes: u64,
    /// Keys in them.
    pub keys: u64,
    /// Files that were moved aside earlier.
    pub moved_aside: Vec<String>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

/// Verifies the store in a directory that no node uses. With an owner its files must be that owner's; without one, they
/// must be of one owner.
pub fn check(fs: &dyn Fs, owner: Option<StoreOwner>) -> Result<CheckReport, StoreError> {
    let files = fs.list().map_err(|error| StoreError::file("list", "the store's directory", error))?;
    let numbers: Vec<u64> = files.iter().filter_map(|file| segment_number(&file.name)).collect();
    let mut report = CheckReport::default();
    report.moved_aside.extend(files.iter().filter(|file| file.name.ends_with(DAMAGED)).map(|file| file.name.clone()));
    let owner = match owner {
        Some(owner) => Some(owner),
        None => find_owner(fs, &numbers)?,
    };
    let mut from = 0;
    if let Some(owner) = owner {
        let (manifest, damaged) = Manifest::read(fs, owner)?;
        match &manifest {
            None if !damaged.is_empty() => report.problems.push(Problem::Manifest),
            None => {}
            Some(manifest) => {
                report.problems.extend(damaged.into_iter().map(Problem::ManifestCopy));
                from = manifest.position;
                check_images(fs, owner, manifest, &mut report)?;
            }
        }
    }
    check_journal(fs, &numbers, from, &mut report)?;
    Ok(report)
}

fn find_owner(fs: &dyn Fs, numbers: &[u64]) -> Result<Option<StoreOwner>, StoreError> {
    for &number in numbers {
        if let HeadFound::Whole(head, _) = read_head(fs, number)? {
            return Ok(Some(head.owner));
        }
    }
    Ok(None)
}

fn check_images(
    fs: &dyn Fs,
    owner: StoreOwner,
    manifest: &Manifest,
    report: &mut CheckReport,
) -> Result<(), StoreError> {
    report.checkpoint = manifest.number;
    report.keys = manifest.keys;
    for (&group, &facts) in &manifest.images {
        report.images += 1;
        report.image_bytes += facts.bytes;
        if let Some(fault) = read_image(fs, owner, group, facts, &mut |_| {})? {
            let name = crate::checkpoint::image_name(facts.checkpoint, group);
            report.problems.push(Problem::Image { name, fault });
        }
    }
    Ok(())
}

fn check_journal(fs: &dyn Fs, numbers: &[u64], from: u64, report: &mut CheckReport) -> Result<(), StoreError> {
    let mut heads = Vec::new();
    for &number in numbers {
        match read_head(fs, number)? {
            HeadFound::Whole(head, _) => heads.push((number, head.first)),
            HeadFound::Torn if Some(&number) == numbers.last() => {
                report.problems.push(Problem::Torn { name: segment_name(number), at: 0 });
            }
            HeadFound::Torn | HeadFound::Damaged => {
                report.problems.push(Problem::SegmentHead { name: segment_name(number) })
            }
        }
    }
    let mut expected = heads.first().map_or(from, |&(_, first)| first.min(from));
    for (at, &(number, first)) in heads.iter().enumerate() {
        let name = segment_name(number);
        report.segments += 1;
        let Some(scanned) = scan(fs, number, &mut |_, _| report.records += 1)? else { continue };
        report.journal_bytes += scanned.bytes;
        if first > expected && first > from {
            report.problems.push(Problem::SegmentMissing { name: name.clone(), records: first - expected.max(from) });
        }
        if !scanned.damaged.is_empty() {
            let records = scanned.damaged.len();
            report.problems.push(Problem::SegmentRecords { name: name.clone(), records });
        }
        let next = heads.get(at + 1).map(|&(_, first)| first);
        match scanned.end {
            SegmentEnd::Whole => {}
            SegmentEnd::Torn { .. } | SegmentEnd::Lost { .. } if next.is_some_and(|next| next <= scanned.next) => {}
            SegmentEnd::Torn { at } => report.problems.push(Problem::Torn { name, at }),
            SegmentEnd::Lost { at } => report.problems.push(Problem::SegmentLost { name, at }),
        }
        expected = scanned.next;
    }
    Ok(())
}

/// Whether a file is part of a store, for those who copy one.
pub fn is_store_file(name: &str) -> bool {
    !name.ends_with(UNFINISHED)
        && !name.ends_with(DAMAGED)
        && (segment_number(name).is_some()
            || image_of(name).is_some()
            || [crate::checkpoint::MANIFEST, MANIFEST_COPY, crate::store::SOUND].contains(&name))
}
