//! Bytes that no honest peer sends: every decoder returns an error or something harmless, and no node falls over.

mod world;

use bytes::Bytes;
use protocol::{AuditFrame, Batch, BatchTail, Lane, MemberView, MessageKind, MessageWriter, Millis};
use world::{World, identity};

/// A cheap row of numbers that repeats with its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }

    /// Noise, with the bytes that decoders stumble over more often than others.
    fn noise(&mut self) -> Vec<u8> {
        let length = self.below(60);
        (0..length)
            .map(|_| match self.below(4) {
                0 => 0xff,
                1 => self.below(22) as u8,
                2 => 250 + self.below(5) as u8,
                _ => self.below(256) as u8,
            })
            .collect()
    }

    /// A copy of an honest frame with some bytes changed, cut or added.
    fn mutate(&mut self, honest: &[u8]) -> Vec<u8> {
        let mut bytes = honest.to_vec();
        for _ in 0..=self.below(3) {
            let place = self.below(bytes.len() as u64) as usize;
            match self.below(4) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.below(256) as u8),
                _ if !bytes.is_empty() => bytes[place] = self.below(256) as u8,
                _ => bytes.push(0xff),
            }
        }
        bytes
    }
}

/// Hands a frame to a node that has a ready link, and lets the node carry out whatever comes of it.
fn hand_in(world: &mut World, lane: Lane, bytes: Vec<u8>) {
    let (now, wall) = (Millis(world.now), world.wall(0));
    let node = &mut world.nodes[0];
    if node.hub.handle_frame(identity(1), lane, Bytes::from(bytes), now, wall).is_err() {
        assert!(node.hub.ready_peers().is_empty(), "a frame error leaves no link");
    }
    while node.hub.poll_event().is_some() {}
    let _ = (node.hub.report(), node.hub.poll_timeout(), node.hub.with_output(now));
    node.hub.handle_timeout(now, wall);
}

/// Everything that node 1 says to node 0 in a session of ordinary life.
fn honest_frames() -> Vec<(Lane, Vec<u8>)> {
    let mut world = World::new(2, 4, |_, settings| {
        settings.ring_bytes = 600;
        settings.state_part_bytes = 60;
    });
    world.record = true;
    for round in 0..40 {
        world.random_write(0);
        world.random_write(1);
        if round == 10 {
            world.cut(0, 1);
        }
        world.run(if round == 20 { 2_000 } else { 10 });
        if round == 25 {
            world.heal();
        }
    }
    let now = Millis(world.now);
    world.nodes[1].set_membership(3, MemberView::default(), now);
    world.nodes[1].hub.request(identity(0), b"question".to_vec());
    world.nodes[1].hub.send_audit(identity(0), b"audit".to_vec());
    world.nodes[1].hub.request_number(now);
    let mut messages = MessageWriter::default();
    messages.put(MessageKind::Channel, b"news", b"text");
    world.nodes[1].hub.send_messages(&messages.frame().expect("there is a message"), &|_| true);
    world.converge(10_000);
    world.random_write(1);
    world.converge(1_000);
    world.recorded
}

#[test]
fn noise_on_every_lane_breaks_the_link_and_nothing_else() {
    let mut random = Random(1);
    let mut world = World::new(2, 1, |_, _| {});
    for _ in 0..60 {
        world.run_until(2_000, "a link", |world| !world.nodes[0].hub.ready_peers().is_empty());
        for _ in 0..60 {
            let lane = Lane::ALL[random.below(Lane::ALL.len() as u64) as usize];
            let bytes = random.noise();
            hand_in(&mut world, lane, bytes);
        }
        world.stop(1);
        world.start(1, world::Store::default(), |_| {});
        world.run(100);
    }
}

#[test]
fn honest_frames_with_a_few_wrong_bytes_break_the_link_and_nothing_else() {
    let honest = honest_frames();
    assert!(Lane::ALL.iter().all(|lane| honest.iter().any(|(other, _)| other == lane)));
    assert!(honest.iter().any(|(lane, frame)| *lane == Lane::State && frame[0] == 5), "state in parts");
    let mut random = Random(2);
    for _ in 0..40 {
        let mut world = World::new(2, 4, |_, _| {});
        world.run_until(2_000, "a link", |world| !world.nodes[0].hub.ready_peers().is_empty());
        for _ in 0..200 {
            let (lane, frame) = &honest[random.below(honest.len() as u64) as usize];
            let bytes = random.mutate(frame);
            hand_in(&mut world, *lane, bytes);
            if world.nodes[0].hub.ready_peers().is_empty() {
                break;
            }
        }
    }
}

#[test]
fn a_batch_or_an_audit_of_noise_is_refused() {
    let mut random = Random(3);
    for _ in 0..50_000 {
        let noise = random.noise();
        assert!(Batch::decode(noise.clone().into()).is_err());
        let _ = AuditFrame::decode(&noise);
    }
}

#[test]
fn a_batch_that_claims_more_than_it_can_hold_takes_no_memory() {
    let stamp = crdt::Stamp::at(world::WALL_START, world::number(1));
    let honest = Batch::seal(
        BatchTail::default(),
        stamp,
        stamp,
        crdt::VersionVector::new(),
        1,
        &[0; 4_000],
        &mut protocol::Compression::default(),
    );
    let bytes = honest.bytes();
    // The size of the changes sits right before them; claim the most that the integer can say there.
    for place in 9..bytes.len() {
        let mut lie = bytes.to_vec();
        lie.splice(place..place + 1, [0xff, 0xff, 0xff, 0xff, 0x07]);
        let checksum = xxhash_rust::xxh3::xxh3_64(&lie[9..]);
        lie[1..9].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(batch) = Batch::decode(lie.into()) {
            assert!(batch.raw_len <= batch.bytes().len() * (protocol::limits::EXPANSION_MAX + 1));
            let _ = batch.open();
        }
    }
}
