use super::*;
use crate::config::{Config, Settings};

const SECOND: u64 = 1_000;

fn outbox() -> (Outbox, Arc<Outboxes>) {
    let all = Arc::new(Outboxes::default());
    (Outbox::new(Arc::clone(&all)), all)
}

fn limits(text: &str) -> OutputLimits {
    let settings = Settings::new(Config::default());
    settings.set(&[("client-output-buffer-limit", text)]).unwrap();
    settings.load().client_output_buffer_limit
}

/// Posts a message of so many bytes, at a moment in milliseconds.
fn post(outbox: &Outbox, length: usize, limits: &OutputLimits, now: UnixMillis) -> Posted {
    let write = |reply: &mut Reply| reply.append(&vec![b'x'; length]);
    outbox.post(&mut Message::new(&write), || Version::Resp2, 0, limits, now)
}

fn collected(outbox: &Outbox) -> usize {
    let (mut reply, mut length) = (Reply::new(Version::Resp2), 0);
    loop {
        let has_more = outbox.collect(&mut reply, Vec::new).has_more;
        length += reply.len();
        reply.truncate(0);
        if !has_more {
            return length;
        }
    }
}

#[test]
fn what_was_posted_comes_out_in_order_and_in_pieces_that_are_written_at_once() {
    let (outbox, all) = outbox();
    let mut expected = Vec::new();
    for index in 0..300_u32 {
        let text = index.to_string().repeat(1 + index as usize * 7 % 900);
        expected.extend_from_slice(text.as_bytes());
        let write = |reply: &mut Reply| reply.append(text.as_bytes());
        let posted = outbox.post(&mut Message::new(&write), || Version::Resp2, 0, &OutputLimits::default(), 0);
        assert_eq!(posted, if index == 0 { Posted::Wake } else { Posted::Behind });
    }
    assert_eq!(all.waiting_bytes(), expected.len() as u64);
    let mut out = Vec::new();
    loop {
        let mut reply = Reply::new(Version::Resp2);
        let has_more = outbox.collect(&mut reply, Vec::new).has_more;
        assert!(reply.len() < OUTPUT_BYTES_FLUSH + 2 * OUTBOX_PIECE_BYTES);
        out.extend_from_slice(reply.bytes());
        assert_eq!(outbox.is_filled(), has_more);
        if !has_more {
            break;
        }
    }
    assert!(out == expected);
    assert_eq!((outbox.bytes(), all.waiting_bytes()), (0, 0));
}

#[test]
fn a_message_is_written_once_for_each_version_and_a_large_one_is_shared() {
    let count = std::cell::Cell::new(0);
    let write = |reply: &mut Reply| {
        count.set(count.get() + 1);
        reply.push(1);
        reply.bulk(&[b'x'; 5_000]);
    };
    let mut message = Message::new(&write);
    let boxes: Vec<_> = (0..10).map(|_| outbox().0).collect();
    for (index, outbox) in boxes.iter().enumerate() {
        let version = if index % 2 == 0 { Version::Resp2 } else { Version::Resp3 };
        outbox.post(&mut message, || version, 0, &OutputLimits::default(), 0);
    }
    assert_eq!(count.get(), 2);
    // Five receivers and the message itself.
    assert_eq!(Arc::strong_count(message.bytes(Version::Resp3)), 6);
}

#[test]
fn beyond_the_hard_limit_all_that_waits_is_dropped_and_nothing_more_is_taken() {
    let (outbox, all) = outbox();
    let limits = limits("normal 1mb 0 0");
    for _ in 0..1023 {
        assert_ne!(post(&outbox, 1024, &limits, 0), Posted::Overrun);
    }
    assert_ne!(post(&outbox, 1024, &limits, 0), Posted::Overrun);
    assert_eq!(post(&outbox, 1, &limits, 0), Posted::Overrun);
    assert_eq!(outbox.overrun(), Some(Overrun { waiting: 1024 * 1024 + 1, limit: "hard" }));
    assert_eq!((outbox.bytes(), all.waiting_bytes(), outbox.is_filled()), (0, 0, false));
    assert_eq!(post(&outbox, 1, &limits, 0), Posted::Closed);
}

#[test]
fn above_the_soft_limit_there_is_some_time_and_it_begins_anew_once_it_was_below() {
    let (outbox, _) = outbox();
    let limits = limits("normal 0 10kb 5");
    assert_eq!(post(&outbox, 11_000, &limits, 0), Posted::Wake);
    assert_eq!(post(&outbox, 1, &limits, 5 * SECOND), Posted::Behind);
    assert_eq!(collected(&outbox), 11_001);
    assert_eq!(post(&outbox, 11_000, &limits, 6 * SECOND), Posted::Wake);
    assert_eq!(post(&outbox, 1, &limits, 11 * SECOND), Posted::Behind);
    assert_eq!(post(&outbox, 1, &limits, 11 * SECOND + 1), Posted::Overrun);
    assert_eq!(outbox.overrun().map(|overrun| overrun.limit), Some("soft"));
}

#[test]
fn without_a_hard_limit_there_is_one_nevertheless() {
    let (outbox, _) = outbox();
    let most = usize::try_from(OUTBOX_BYTES_MAX).unwrap();
    assert_eq!(post(&outbox, most, &OutputLimits::default(), 0), Posted::Wake);
    assert_eq!(post(&outbox, 1, &OutputLimits::default(), 0), Posted::Overrun);
}

#[test]
fn what_waits_for_all_together_is_limited_for_those_who_are_behind() {
    let all = Arc::new(Outboxes::default());
    let [slow, quick] = [(); 2].map(|()| Outbox::new(Arc::clone(&all)));
    all.waiting_bytes.store(OUTBOXES_BYTES_MAX, Ordering::Relaxed);
    let limits = OutputLimits::default();
    assert_eq!(post(&slow, 1, &limits, 0), Posted::Wake);
    assert_eq!(post(&quick, 1, &limits, 0), Posted::Wake);
    assert_eq!(collected(&quick), 1);
    assert_eq!(post(&quick, 1, &limits, 0), Posted::Wake);
    assert_eq!(post(&slow, 1, &limits, 0), Posted::Overrun);
    assert_eq!(slow.overrun().map(|overrun| overrun.limit), Some("all"));
}

#[test]
fn what_waits_in_an_outbox_that_goes_is_given_back() {
    let (outbox, all) = outbox();
    post(&outbox, 100, &OutputLimits::default(), 0);
    assert!(all.waiting_bytes() >= 100);
    drop(outbox);
    assert_eq!(all.waiting_bytes(), 0);
}
