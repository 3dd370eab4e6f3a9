//! Bits flip, files are cut short or lost: nothing that is not right is ever returned, and everything is reported.

use crate::model::{Chance, OWNER, SmallNode, recover};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::{CheckReport, FlushPolicy, FoundStore, Fs, Problem, SimulatedFs, StoreError, StoreOwner};

fn check(fs: &SimulatedFs, owner: Option<StoreOwner>) -> Result<CheckReport, StoreError> {
    storage::check(Arc::new(fs.clone()), owner)
}

/// A store with checkpoints and a journal of some segments behind them.
fn filled(seed: u64) -> (SimulatedFs, BTreeSet<u64>) {
    let fs = SimulatedFs::new(seed);
    let mut chance = Chance(seed);
    let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
    for round in 0..60 {
        node.write();
        node.pass(1);
        if round == 20 || round == 40 {
            assert!(node.checkpoint(&mut chance).unwrap());
        }
    }
    node.pass(1);
    fs.end_process();
    let all = recover(&fs).unwrap().1.all();
    (fs, all)
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let (fs, whole) = filled(1);
    let mut noticed = 0;
    for file in fs.list().unwrap() {
        for bit in (0..file.bytes * 8).step_by(37) {
            let copy = fs.backup();
            assert!(copy.flip(&file.name, bit));
            let (_, back) = recover(&copy).unwrap();
            let all = back.all();
            assert!(all.is_subset(&whole), "{} bit {bit}: foreign records", file.name);
            if all != whole {
                let told = back.problems.iter().any(Problem::is_damage);
                assert!(told, "{} bit {bit}: {:?}", file.name, back.problems);
                noticed += 1;
            }
            let report = check(&copy, Some(OWNER)).unwrap();
            let is_marker = ["sound", "witness"].contains(&file.name.as_str());
            assert!(is_marker || !report.problems.is_empty(), "{} bit {bit} is not reported", file.name);
        }
    }
    assert!(noticed > 300, "{noticed}");
    assert_eq!(check(&fs, Some(OWNER)).unwrap().problems, []);
}

#[test]
fn a_lost_or_cut_file_is_noticed() {
    let (fs, whole) = filled(2);
    for file in fs.list().unwrap() {
        let without = fs.backup();
        without.remove(&file.name).unwrap();
        let (_, back) = recover(&without).unwrap();
        assert!(back.all().is_subset(&whole));
        assert!(back.all() == whole || back.problems.iter().any(Problem::is_damage), "{}", file.name);
        let report = check(&without, Some(OWNER)).unwrap();
        let told = |problems: &[Problem]| problems.iter().any(Problem::is_damage);
        assert_eq!(told(&report.problems), told(&back.problems), "{}: {:?}", file.name, report.problems);
        for part in 0..4 {
            let cut = fs.backup();
            let bytes = cut.read(&file.name, 0, (file.bytes * part / 4) as usize).unwrap();
            cut.remove(&file.name).unwrap();
            cut.create(&file.name).unwrap().append(&bytes).unwrap();
            let (_, back) = recover(&cut).unwrap();
            assert!(back.all().is_subset(&whole));
            assert!(back.all() == whole || !back.problems.is_empty(), "{} cut to {part}/4", file.name);
        }
    }
}

/// What the disk cannot read is lost like what it reads wrongly: a start is in the way of nobody.
#[test]
fn a_lost_sector_costs_what_lies_behind_it_and_no_start() {
    let (fs, whole) = filled(5);
    let mut salvaged = 0;
    for file in fs.list().unwrap() {
        for part in 0..4 {
            let copy = fs.backup();
            assert!(copy.lose_sector(&file.name, file.bytes * part / 4));
            let (_, back) = recover(&copy).unwrap();
            let (all, name) = (back.all(), &file.name);
            assert!(all.is_subset(&whole), "{name} at {part}/4: foreign records");
            let told = back.problems.iter().any(Problem::is_damage);
            assert!(told || all == whole, "{name} at {part}/4: {:?}", back.problems);
            salvaged += back.problems.iter().filter(|p| matches!(p, Problem::SegmentLost { at: 1.., .. })).count();
            let report = check(&copy, Some(OWNER)).unwrap();
            let is_marker = ["sound", "witness"].contains(&name.as_str());
            assert!(is_marker || !report.problems.is_empty(), "{name} at {part}/4 is not reported");
            // The node starts, goes on, and is whole again after its next checkpoint.
            let (mut node, _) = SmallNode::start(&copy, 2, FlushPolicy::Always).unwrap();
            let number = node.write();
            assert!(node.checkpoint(&mut Chance(3)).unwrap(), "{name} at {part}/4");
            copy.end_process();
            let (_, back) = recover(&copy).unwrap();
            let is_whole = !back.problems.iter().any(Problem::is_damage) && back.all().contains(&number);
            assert!(is_whole, "{name} at {part}/4: {:?}", back.problems);
        }
    }
    assert!(salvaged > 0, "what lies before a lost sector is read");
}

/// Too many files are open, say, for a moment.
#[test]
fn an_error_that_says_nothing_about_a_file_ends_a_start_and_costs_nothing() {
    let (fs, whole) = filled(9);
    let names = |fs: &SimulatedFs| fs.list().unwrap().into_iter().map(|file| file.name).collect::<Vec<String>>();
    let before = names(&fs);
    let is_whole = |fs: &SimulatedFs, operation| {
        let (found, back) = recover(fs).unwrap();
        assert!(back.problems.is_empty() && back.all() == whole, "operation {operation}: {:?}", back.problems);
        (back.sound.is_some(), found.witness().is_some_and(|witness| witness.is_original))
    };
    let mut reads = 0;
    for operation in 1.. {
        let copy = fs.backup();
        copy.fail_operation(operation);
        // Once the store is read, a start goes on without the disk.
        let is_read = SmallNode::start(&copy, 2, FlushPolicy::Always).is_ok();
        let is_through = copy.operations() < operation;
        copy.fail_operation(0);
        copy.end_process();
        if !is_read {
            is_whole(&copy, operation);
        }
        assert!(!names(&copy).iter().any(|name| name.ends_with(".damaged")), "operation {operation}");

        let target = fs.operations() + operation;
        fs.fail_operation(target);
        let outcome = recover(&fs).map(drop);
        let is_read = fs.operations() < target;
        fs.fail_operation(0);
        if is_read {
            assert!(outcome.is_ok() && reads > 10, "{reads}");
            if is_through {
                return;
            }
            continue;
        }
        reads = operation;
        assert!(matches!(outcome, Err(StoreError::File { .. })), "operation {operation}: {outcome:?}");
        assert_eq!(names(&fs), before);
        assert_eq!(is_whole(&fs, operation), (true, true));
    }
}

#[test]
fn nothing_is_removed_from_the_store_of_another_node() {
    let (fs, _) = filled(4);
    fs.create("checkpoint.new").unwrap();
    let is_there = || fs.list().unwrap().iter().any(|file| file.name == "checkpoint.new");
    let other = StoreOwner { identity: [9; 32], ..OWNER };
    assert!(matches!(storage::remove_leftovers(&fs, other), Err(StoreError::Foreign(_))) && is_there());
    storage::remove_leftovers(&fs, OWNER).unwrap();
    assert!(!is_there());
}

#[test]
fn a_manifest_that_becomes_unreadable_while_the_node_runs_is_replaced_by_the_next_checkpoint() {
    for name in ["checkpoint", "checkpoint.copy"] {
        let fs = SimulatedFs::new(6);
        let (mut node, _) = SmallNode::start(&fs, 1, FlushPolicy::Always).unwrap();
        node.write();
        assert!(node.checkpoint(&mut Chance(6)).unwrap());
        let last = node.write();
        assert!(fs.lose_sector(name, 0));
        assert!(node.checkpoint(&mut Chance(6)).unwrap(), "{name}");
        fs.end_process();
        let (_, back) = recover(&fs).unwrap();
        assert!(back.problems.is_empty() && back.all().contains(&last), "{name}: {:?}", back.problems);
    }
}

#[test]
fn what_is_damaged_is_moved_aside_and_the_store_goes_on() {
    let (fs, _) = filled(3);
    let image = fs.list().unwrap().into_iter().find(|file| file.name.starts_with("image-")).unwrap();
    fs.flip(&image.name, 8 * 60);
    let (mut node, back) = SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    assert!(matches!(back.problems.as_slice(), [Problem::Image { .. }]), "{:?}", back.problems);
    let aside = format!("{}.damaged", image.name);
    assert!(fs.list().unwrap().iter().any(|file| file.name == aside));
    let number = node.write();
    assert!(node.checkpoint(&mut Chance(3)).unwrap());
    fs.end_process();
    let (_, back) = recover(&fs).unwrap();
    assert!(back.problems.is_empty() && back.all().contains(&number));
    assert_eq!(check(&fs, None).unwrap().figures.moved_aside, [aside]);
}

#[test]
fn another_nodes_store_is_refused() {
    let (fs, _) = filled(4);
    let other = StoreOwner { identity: [9; 32], ..OWNER };
    let refused = FoundStore::open(std::sync::Arc::new(fs), other).unwrap_err();
    assert!(matches!(refused, StoreError::Foreign(_)), "{refused}");
    assert!(refused.to_string().ends_with("give this node its own directory"));
}

/// Whose it is may be read from what is left of it.
#[test]
fn images_are_verified_although_no_segment_has_a_head() {
    let (fs, _) = filled(5);
    let names = || fs.list().unwrap().into_iter().map(|file| file.name);
    for name in names().filter(|name| name.starts_with("journal-")) {
        assert!(fs.flip(&name, 70));
    }
    let image = names().find(|name| name.starts_with("image-")).unwrap();
    assert!(fs.flip(&image, 8 * 60));
    let report = check(&fs, None).unwrap();
    assert!(report.figures.images > 0 && report.figures.checkpoint > 0, "{report:?}");
    assert!(report.problems.iter().any(|problem| matches!(problem, Problem::Image { .. })), "{:?}", report.problems);
    ["checkpoint", "checkpoint.copy"].iter().for_each(|name| assert!(fs.flip(name, 200)));
    assert!(check(&fs, None).unwrap().problems.contains(&Problem::Manifest));
}

#[test]
fn images_without_the_manifest_that_names_them_are_damage() {
    let (fs, whole) = filled(6);
    for file in fs.list().unwrap() {
        if file.name.starts_with("checkpoint") || file.name.starts_with("journal-") || file.name == "sound" {
            fs.remove(&file.name).unwrap();
        }
    }
    let (_, back) = recover(&fs).unwrap();
    assert!(back.all() != whole && back.problems.contains(&Problem::Manifest), "{:?}", back.problems);
    assert!(check(&fs, None).unwrap().problems.contains(&Problem::Manifest));
}

#[test]
fn a_segment_that_was_moved_aside_is_not_missed_later() {
    let (fs, _) = filled(7);
    let last = fs.list().unwrap().into_iter().rfind(|file| file.name.starts_with("journal-")).unwrap();
    assert!(fs.flip(&last.name, 70));
    let (_, back) = SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    assert!(back.problems.contains(&Problem::SegmentHead { name: last.name }));
    fs.end_process();
    let (_, back) = recover(&fs).unwrap();
    assert!(!back.problems.iter().any(|p| matches!(p, Problem::LastSegmentMissing { .. })), "{:?}", back.problems);
}

#[test]
fn what_is_moved_aside_now_is_kept_before_what_was_before() {
    let (fs, _) = filled(8);
    for number in 0..20 {
        fs.create(&format!("journal-{number:016}.damaged")).unwrap();
    }
    let image = fs.list().unwrap().into_iter().find(|file| file.name.starts_with("image-")).unwrap().name;
    assert!(fs.flip(&image, 8 * 60));
    SmallNode::start(&fs, 2, FlushPolicy::Always).unwrap();
    let aside: Vec<String> =
        fs.list().unwrap().into_iter().map(|file| file.name).filter(|name| name.ends_with(".damaged")).collect();
    assert_eq!(aside.len(), storage::limits::DAMAGED_FILES_MAX, "{aside:?}");
    assert!(aside.contains(&format!("{image}.damaged")) && aside.contains(&"journal-0000000000000019.damaged".into()));
}
