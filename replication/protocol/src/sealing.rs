//! How members agree where an ended number is closed: what each of them does next, from the membership and what it
//! holds.
//!
//! A number ends when its node goes on under another one (only that node says so) or is removed. Then
//!
//! 1. every member *reports*, through the membership, what it holds. It is not linked with the life that wrote under the
//!    number any more, nor with anybody removed, so whatever it takes of the number afterwards comes from members. What
//!    all have reported together is therefore all that there is, and the greatest report bounds it for ever;
//! 2. members get what others have, as always: by pulling or by state;
//! 3. who holds everything up to the greatest report, once all members have reported and nothing waits anywhere,
//!    *seals* the number there. Several may do so; they find the same stamp.
//!
//! A member that cannot be heard may hold a tail: nobody seals without it. One that is removed need not be heard, and one
//! that lost its memory tells anew that it holds less; but what others had from either must be heard: only reports count
//! that knew of all removals and of all ended lives.
//!
//! Batches that wait for what nobody has would hold all this up: a batch in line waits for an ended number that must be
//! sealed first (the earliest batch that waits anywhere waits for nothing that waits itself, so there always is one), and
//! batches beyond a gap that nobody can fill are forgotten.
//!
//! Those who sealed may end before anybody else has come so far. Then no vector ever reaches the seal: a member that is
//! linked with all and finds nobody with more than it has itself tells in view of the seal, so do the others, and what is
//! left is sealed in another round, at the same stamp.
//!
//! SUBTLE: a state session that broke off leaves slots of which more of a number is known than any vector says. Who knows
//! most of this kind gets the state of the others that do, and then all of it counts as seen: nobody will ever know more.
//! It goes on from there as state does. What lies between [`crdt::membership::Seal::whole`] and its `at` may be known in
//! part for ever, but in the same part everywhere.
//!
//! An operator may have a removed node's number sealed without those who cannot be reached ([`crate::Hub::at_hand`]):
//! at what this node and those linked with it hold, for nobody else would ever bring the rest.

use crate::NodeIdentity;
use crdt::membership::{Holding, Report, View, Waiting};
use crdt::{NodeNumber, Stamp};
use std::collections::BTreeMap;

/// Something to do for an ended number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SealStep {
    /// Tell in the membership that this number of our own has ended.
    End(NodeNumber),
    /// Tell what is held here.
    Report(NodeNumber, Holding),
    /// Forget the batches that wait beyond a gap.
    Forget(NodeNumber),
    /// Get the state of this member, then say so with [`Sealing::fetched`].
    Fetch(NodeIdentity),
    /// Raise the vector to `at`, and seal the number in the membership.
    Seal {
        /// The number.
        number: NodeNumber,
        /// Where.
        at: Stamp,
        /// Up to where all of it is known.
        whole: Stamp,
    },
}

/// What a member remembers while numbers are being sealed.
#[derive(Debug, Default)]
pub struct Sealing {
    /// Whose state was merged here, and the last report that had been seen when that began.
    fetched: BTreeMap<NodeIdentity, Stamp>,
    /// The session that runs for it.
    fetching: Option<(NodeIdentity, Stamp)>,
}

/// Why a number cannot be sealed here on an operator's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotAtHand {
    /// This member, which is linked with, holds more of it.
    HeldBy(NodeIdentity),
    /// Batches of it are being applied.
    Applying,
}

/// Who asks, and what it knows of the others.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The member.
    pub identity: NodeIdentity,
    /// The number it uses.
    pub number: NodeNumber,
    /// What it knows of the members.
    pub view: &'a View,
    /// How far it has applied a number.
    pub applied: &'a dyn Fn(NodeNumber) -> Stamp,
    /// Whether it is linked with all members, and none of them has more of a number than it has itself.
    pub has_most: &'a dyn Fn(NodeNumber) -> bool,
}

impl Sealing {
    /// What to do now. `held` says what is held of a number here; it is asked only where it matters.
    pub fn steps(&self, asker: &Asker<'_>, held: &dyn Fn(NodeNumber) -> Holding) -> Vec<SealStep> {
        let mut steps: Vec<SealStep> = ended_lives(asker).map(SealStep::End).collect();
        steps.extend(asker.view.ended().filter_map(|number| self.step(asker, number, held)));
        steps
    }

    /// A session that brings the state of this member has begun.
    pub fn begin_fetching(&mut self, peer: NodeIdentity, view: &View) {
        let seen = view.ended().filter_map(|number| view.report(number, peer)).map(|report| report.stamp).max();
        self.fetching = Some((peer, seen.unwrap_or(Stamp::ZERO)));
    }

    /// A session with this member has come to its end: its state is here.
    pub fn fetched(&mut self, peer: NodeIdentity) {
        if let Some((_, seen)) = self.fetching.take_if(|(fetching, _)| *fetching == peer) {
            self.fetched.insert(peer, seen);
        }
    }

    /// Whose state comes now, if anybody's: a session that is over without its end has brought nothing.
    pub fn note_source(&mut self, source: Option<NodeIdentity>) {
        self.fetching.take_if(|(fetching, _)| Some(*fetching) != source);
    }

    fn step(&self, asker: &Asker<'_>, number: NodeNumber, held: &dyn Fn(NodeNumber) -> Holding) -> Option<SealStep> {
        let (view, me) = (asker.view, asker.identity);
        let sealed = view.sealed(number).map(|seal| seal.at);
        // A seal that is not reached is reached with time, unless nobody is left who has come so far.
        let is_told = view.reports(number).next().is_some();
        if let Some(at) = sealed
            && !is_told
            && ((asker.applied)(number) >= at || !(asker.has_most)(number))
        {
            return None;
        }
        let mine = held(number);
        if must_report(view.report(number, me), view.fenced(), mine) {
            return Some(SealStep::Report(number, mine));
        }
        if !view.reports_missing(number).is_empty() {
            return None;
        }
        // Those too whose admission is refused: they have links, and take batches like any other.
        let reports: Vec<(NodeIdentity, Report)> = view
            .members()
            .iter()
            .filter_map(|member| Some((member.identity, *view.report(number, member.identity)?)))
            .collect();
        let any = |waiting| reports.iter().any(|(_, report)| report.holding.waiting == waiting);
        let whole = reports.iter().map(|(_, report)| report.holding.applied).max()?;
        if mine.applied < whole || any(Waiting::InLine) {
            return None;
        }
        if mine.waiting == Waiting::BeyondGap {
            return Some(SealStep::Forget(number));
        }
        if any(Waiting::BeyondGap) {
            return None;
        }
        let whole = whole.max(mine.applied);
        let reach = reports.iter().map(|(_, report)| report.holding.reach).max()?;
        let at = sealed.unwrap_or(Stamp::ZERO).max(reach).max(whole);
        if reach <= whole {
            return Some(SealStep::Seal { number, at, whole });
        }
        let mut partial: Vec<&(NodeIdentity, Report)> =
            reports.iter().filter(|(_, report)| report.holding.reach > whole).collect();
        partial.sort_unstable_by_key(|(identity, report)| (report.holding.reach, *identity));
        if partial.last().is_none_or(|(identity, _)| *identity != me) {
            return None;
        }
        let lacks = |(identity, report): &&&(NodeIdentity, Report)| {
            *identity != me && self.fetched.get(identity).is_none_or(|&seen| seen < report.stamp)
        };
        match partial.iter().find(lacks) {
            Some((identity, _)) if self.fetching.is_none() => Some(SealStep::Fetch(*identity)),
            Some(_) => None,
            None => Some(SealStep::Seal { number, at, whole }),
        }
    }
}

/// Our own numbers that came before the one in use, and were not said to have ended. One that was granted after it is not
/// among them: it may yet be used.
fn ended_lives<'a>(asker: &Asker<'a>) -> impl Iterator<Item = NodeNumber> + 'a {
    let (view, current) = (asker.view, asker.number);
    let numbers = view.numbers_of(asker.identity);
    let before = if numbers.contains(&current) { numbers } else { &[] };
    let before = before.iter().copied().take_while(move |&number| number != current);
    before.filter(move |&number| !view.has_ended(number))
}

/// Whether what was told last does not stand for what is held now. More than was told may be held: others have told that.
fn must_report(told: Option<&Report>, fenced: u32, now: Holding) -> bool {
    let Some(told) = told else { return true };
    let then = told.holding;
    let waited = then.waiting != Waiting::Nothing && then.waiting != now.waiting;
    told.fenced != fenced || now.applied < then.applied || now.reach < then.reach || waited
}
