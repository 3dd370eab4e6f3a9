//! One connection from its handshake to its end: proof and admission, greeting, then the tasks of its lanes.

use crate::event::{ConsumerGone, LinkId, TransportEvent};
use crate::frame::{self, FrameAssembler, PREAMBLE_BYTES};
use crate::identity::CertificateFacts;
use crate::lane_queue::cost;
use crate::limits;
use crate::links::{Candidate, Link, Settled};
use crate::pairing::{Hello, Verdict, Welcome};
use crate::quic::Shared;
use crate::reason::{self, CloseCode, LinkError};
use bytes::{Bytes, BytesMut};
use protocol::{Lane, NodeIdentity};
use quinn::{Connection, RecvStream, SendStream, WriteError};
use std::sync::Arc;

/// Makes a connection a link, or says why not. The peer is told, when there is something to tell.
pub(crate) async fn establish(
    shared: &Arc<Shared>,
    connection: Connection,
    expected: Option<NodeIdentity>,
) -> Result<LinkId, LinkError> {
    let outcome = greet(shared, &connection, expected).await;
    if let Err(error) = &outcome
        && let Some((code, words)) = error.to_tell()
    {
        reason::close(&connection, code, &words);
    }
    outcome
}

async fn greet(
    shared: &Arc<Shared>,
    connection: &Connection,
    expected: Option<NodeIdentity>,
) -> Result<LinkId, LinkError> {
    let peer = admit(shared, connection, expected)?;
    let candidate = Candidate {
        peer,
        address: crate::quic::plain(connection.remote_address()),
        dialed_by_us: expected.is_some(),
        connection: connection.clone(),
    };
    // The smaller identity decides which of several connections stays, whoever dialed.
    if shared.identity < peer { arbitrate(shared, candidate).await } else { follow(shared, candidate).await }
}

/// Whether this peer may have a link at all.
fn admit(shared: &Shared, connection: &Connection, expected: Option<NodeIdentity>) -> Result<NodeIdentity, LinkError> {
    let facts = CertificateFacts::of_peer(connection)?;
    // The dialer's TLS has checked this as the server's name; of a client TLS knows only the authority.
    if !facts.clusters.contains(&shared.cluster) {
        return Err(LinkError::OtherCluster(shared.cluster));
    }
    if facts.identity == shared.identity {
        return Err(LinkError::Itself);
    }
    match expected {
        Some(expected) if expected != facts.identity => {
            return Err(LinkError::OtherNode { expected, found: facts.identity });
        }
        Some(_) | None => {}
    }
    (shared.admission)(&facts.identity).map_err(LinkError::NotAdmitted)?;
    Ok(facts.identity)
}

async fn arbitrate(shared: &Arc<Shared>, candidate: Candidate) -> Result<LinkId, LinkError> {
    let connection = candidate.connection.clone();
    let peer = candidate.peer;
    let mut incoming = accept_lane(&connection, Lane::Control).await?;
    let mut words = [0; Hello::BYTES];
    read_greeting(&connection, &mut incoming, &mut words).await?;
    let hello = Hello::decode(&words).ok_or(LinkError::BadGreeting)?;
    let mut outgoing = open_lane(&connection, Lane::Control).await?;

    let mut events = shared.events.reserve(2).await.map_err(|ConsumerGone| LinkError::ShuttingDown)?;
    let (link, welcome) = {
        let mut table = shared.table();
        if table.is_closing() {
            return Err(LinkError::ShuttingDown);
        }
        let welcome = table.arbitrate(peer, hello).ok_or(LinkError::Superseded)?;
        (table.install(candidate, Settled::ByUs(hello), &mut events), welcome)
    };
    drop(events);
    let id = link.id;
    shared.spawn(run(shared.clone(), link, None, incoming, async move {
        outgoing.write_all(&welcome.encode()).await.map(|()| outgoing)
    }));
    Ok(id)
}

async fn follow(shared: &Arc<Shared>, candidate: Candidate) -> Result<LinkId, LinkError> {
    let connection = candidate.connection.clone();
    let peer = candidate.peer;
    let greeting = {
        let mut table = shared.table();
        if candidate.dialed_by_us && table.is_linked(&peer) {
            return Err(LinkError::Superseded);
        }
        Greeting { shared: shared.clone(), peer, hello: table.greet(peer) }
    };
    let mut outgoing = open_lane(&connection, Lane::Control).await?;
    let words = greeting.hello.encode();
    outgoing.write_all(&words).await.map_err(|error| write_error(&connection, &error))?;
    let mut incoming = accept_lane(&connection, Lane::Control).await?;
    let mut words = [0; Welcome::BYTES];
    read_greeting(&connection, &mut incoming, &mut words).await?;
    let welcome = Welcome::decode(&words).ok_or(LinkError::BadGreeting)?;

    let mut events = shared.events.reserve(2).await.map_err(|ConsumerGone| LinkError::ShuttingDown)?;
    let link = {
        let mut table = shared.table();
        if table.is_closing() {
            return Err(LinkError::ShuttingDown);
        }
        match table.follow(peer, welcome) {
            Verdict::Take => table.install(candidate, Settled::ByPeer(welcome), &mut events),
            Verdict::Refuse => return Err(LinkError::Superseded),
        }
    };
    drop(events);
    let id = link.id;
    shared.spawn(run(shared.clone(), link, Some(greeting), incoming, async move { Ok(outgoing) }));
    Ok(id)
}

/// A connection that this follower has greeted, until it is over.
struct Greeting {
    shared: Arc<Shared>,
    peer: NodeIdentity,
    hello: Hello,
}

impl Drop for Greeting {
    fn drop(&mut self) {
        self.shared.table().forget_greeting(self.peer, self.hello.number);
    }
}

/// A link's life: starts its lanes, waits for its end, reports it.
async fn run(
    shared: Arc<Shared>,
    link: Arc<Link>,
    greeting: Option<Greeting>,
    incoming: RecvStream,
    outgoing: impl Future<Output = Result<SendStream, WriteError>> + Send + 'static,
) {
    shared.spawn(read_lane(shared.clone(), link.clone(), Lane::Control, incoming));
    let writers = (shared.clone(), link.clone());
    shared.spawn(async move {
        let (shared, link) = writers;
        let Ok(control) = outgoing.await else { return };
        // Streams arrive in the order in which they are opened: QUIC numbers them.
        let Ok(batches) = open_lane(&link.connection, Lane::Batches).await else { return };
        let Ok(state) = open_lane(&link.connection, Lane::State).await else { return };
        shared.spawn(write_lane(shared.clone(), link.clone(), Lane::Batches, batches));
        shared.spawn(write_lane(shared.clone(), link.clone(), Lane::State, state));
        shared.spawn(open_last_lane(shared.clone(), link.clone()));
        write_lane(shared, link, Lane::Control, control).await;
    });
    shared.spawn(read_bulk_lanes(shared.clone(), link.clone()));

    let error = link.connection.closed().await;
    link.queues.iter().for_each(|queue| queue.close());
    drop(greeting);
    // Without a consumer nobody is left to be told.
    if let Ok(mut events) = shared.events.reserve(1).await {
        shared.table().remove(&link, link.ending(&error), &mut events);
    }
}

/// The lane of messages. A peer of an earlier version lets no stream be opened for it, and is sent none.
async fn open_last_lane(shared: Arc<Shared>, link: Arc<Link>) {
    if let Ok(messages) = open_lane(&link.connection, Lane::Messages).await {
        write_lane(shared, link, Lane::Messages, messages).await;
    }
}

async fn read_bulk_lanes(shared: Arc<Shared>, link: Arc<Link>) {
    for lane in [Lane::Batches, Lane::State, Lane::Messages] {
        match accept_lane(&link.connection, lane).await {
            Ok(stream) => shared.spawn(read_lane(shared.clone(), link.clone(), lane, stream)),
            Err(LinkError::Connection(_)) => return,
            Err(error) => return link.close(CloseCode::Misbehaved, &error.to_string()),
        }
    }
}

/// Brings what arrives on a lane to the consumer, as fast as the consumer takes it.
async fn read_lane(shared: Arc<Shared>, link: Arc<Link>, lane: Lane, mut stream: RecvStream) {
    let mut assembler = FrameAssembler::new(lane);
    // An error of the connection is reported by the link's own task.
    while let Ok(chunk) = stream.read_chunk(limits::READ_CHUNK_BYTES_MAX, true).await {
        let Some(chunk) = chunk else {
            return link.close(CloseCode::Misbehaved, &format!("the peer ended the {lane:?} lane"));
        };
        let mut rest = &chunk.bytes[..];
        loop {
            match assembler.take(&mut rest) {
                Ok(None) => break,
                Ok(Some(bytes)) => {
                    if let Err(ConsumerGone) = shared.events.deliver(link.id, lane, bytes).await {
                        return;
                    }
                }
                Err(error) => {
                    shared.frames_refused();
                    return link.close(CloseCode::Misbehaved, &error.to_string());
                }
            }
        }
    }
}

/// Writes what is queued on a lane, until the link is over.
async fn write_lane(shared: Arc<Shared>, link: Arc<Link>, lane: Lane, mut stream: SendStream) {
    let queue = link.queue(lane);
    let mut frames = Vec::new();
    while queue.take(&mut frames).await {
        let mut waiting = frames.drain(..).peekable();
        while waiting.peek().is_some() {
            let (mut chunks, cost) = gather(&mut waiting);
            if stream.write_all_chunks(&mut chunks).await.is_err() {
                return;
            }
            if queue.written(cost) && shared.events.send(TransportEvent::Room { link: link.id, lane }).await.is_err() {
                return;
            }
        }
    }
}

/// Takes frames worth one write: small ones copied together behind their headers, longer ones as they are. Also says
/// what they count in the queue.
fn gather(frames: &mut impl Iterator<Item = Bytes>) -> (Vec<Bytes>, usize) {
    let (mut chunks, mut small) = (Vec::new(), BytesMut::new());
    let (mut bytes, mut counted) = (0, 0);
    for frame in frames {
        bytes += frame.len() + frame::HEADER_BYTES;
        counted += cost(&frame);
        small.extend_from_slice(&frame::header(frame.len()));
        if frame.len() <= limits::WRITE_COPY_BYTES_MAX {
            small.extend_from_slice(&frame);
        } else {
            chunks.push(small.split().freeze());
            chunks.push(frame);
        }
        if bytes >= limits::WRITE_GATHER_BYTES {
            break;
        }
    }
    if !small.is_empty() {
        chunks.push(small.freeze());
    }
    (chunks, counted)
}

async fn open_lane(connection: &Connection, lane: Lane) -> Result<SendStream, LinkError> {
    let mut stream = connection.open_uni().await?;
    // A stream that is closed already is found at the next write.
    let _ = stream.set_priority(priority(lane));
    stream.write_all(&frame::preamble(lane)).await.map_err(|error| write_error(connection, &error))?;
    Ok(stream)
}

async fn accept_lane(connection: &Connection, lane: Lane) -> Result<RecvStream, LinkError> {
    let mut stream = connection.accept_uni().await?;
    let mut found = [0; PREAMBLE_BYTES];
    read_greeting(connection, &mut stream, &mut found).await?;
    frame::check_preamble(found, lane).map_err(|_| LinkError::BadGreeting)?;
    Ok(stream)
}

async fn read_greeting(connection: &Connection, stream: &mut RecvStream, words: &mut [u8]) -> Result<(), LinkError> {
    stream.read_exact(words).await.map_err(|_| match connection.close_reason() {
        Some(error) => LinkError::Connection(error),
        None => LinkError::BadGreeting,
    })
}

fn write_error(connection: &Connection, error: &WriteError) -> LinkError {
    match (connection.close_reason(), error) {
        (Some(error), _) => LinkError::Connection(error),
        (None, WriteError::ConnectionLost(error)) => LinkError::Connection(error.clone()),
        (None, WriteError::Stopped(_) | WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
            LinkError::BadGreeting
        }
    }
}

/// QUIC sends the greater first.
const fn priority(lane: Lane) -> i32 {
    match lane {
        Lane::Control => 3,
        Lane::Batches => 2,
        Lane::Messages => 1,
        Lane::State => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_frames_are_gathered_and_large_ones_go_as_they_are() {
        let large = Bytes::from(vec![1; 100_000]);
        let frames = [Bytes::from_static(b"ab"), Bytes::new(), large.clone(), Bytes::from_static(b"c")];
        let mut waiting = frames.iter().cloned();
        let (chunks, counted) = gather(&mut waiting);
        assert_eq!(counted, frames[..3].iter().map(cost).sum::<usize>());
        assert_eq!(chunks.len(), 2);
        assert_eq!(chunks[1].as_ptr(), large.as_ptr());
        let (rest, _) = gather(&mut waiting);
        let mut assembler = FrameAssembler::new(Lane::Batches);
        let stream: Vec<u8> = chunks.iter().chain(&rest).flatten().copied().collect();
        let mut input = &stream[..];
        for frame in &frames {
            assert_eq!(assembler.take(&mut input).unwrap().as_ref(), Some(frame));
        }
        assert!(input.is_empty());
    }
}
