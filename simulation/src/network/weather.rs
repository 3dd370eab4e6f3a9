//! What happens to each datagram between nodes, decided from the seed.

use crate::random::Random;
use crate::trace::Trace;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a path treats datagrams; the rates are in millionths.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// Datagrams that are lost.
    pub lost: u32,
    /// Datagrams that come twice.
    pub doubled: u32,
    /// Datagrams that are held back while later ones pass.
    pub delayed: u32,
    /// For how long at most, in milliseconds.
    pub delay_ms_max: u64,
}

/// What happens to one datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It travels, after so many milliseconds more than usual.
    Travels(u64),
    /// It travels, and once more after so many milliseconds.
    Twice(u64),
}

/// What went over the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that were lost.
    pub lost: u64,
    /// Those that came twice.
    pub doubled: u64,
    /// Those that were held back.
    pub delayed: u64,
}

/// The conditions of all paths, and what they did.
#[derive(Clone)]
pub struct Weather(Arc<Mutex<State>>);

struct State {
    everywhere: Conditions,
    /// How many faults cut each path.
    cuts: BTreeMap<(IpAddr, IpAddr), u32>,
    random: Random,
    traffic: Traffic,
    trace: Trace,
    now_ms: u64,
}

/// A second copy comes within this time.
const SECOND_COPY_MS_MAX: u64 = 30;

impl Weather {
    /// Fine weather.
    pub fn new(seed: u64) -> Self {
        let random = Random::new(seed, "weather");
        let (everywhere, cuts) = (Conditions::default(), BTreeMap::new());
        let state = State { everywhere, cuts, random, traffic: Traffic::default(), trace: Trace::new(seed), now_ms: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// What the simulated clock says.
    pub fn set_now(&self, now_ms: u64) {
        self.state().now_ms = now_ms;
    }

    /// Sets how all paths treat datagrams.
    pub fn set_everywhere(&self, conditions: Conditions) {
        self.state().everywhere = conditions;
    }

    /// Cuts a path in this direction, or takes one cut back: it is open when all who cut it have mended it.
    pub fn set_cut(&self, source: IpAddr, target: IpAddr, is_cut: bool) {
        let mut state = self.state();
        let count = state.cuts.entry((source, target)).or_default();
        *count = if is_cut { *count + 1 } else { count.saturating_sub(1) };
    }

    /// Fine weather again, everywhere.
    pub fn clear(&self) {
        let mut state = self.state();
        state.everywhere = Conditions::default();
        state.cuts.clear();
    }

    /// Decides what happens to a datagram.
    pub fn fate(&self, source: IpAddr, target: IpAddr, bytes: usize) -> Fate {
        let mut state = self.state();
        let conditions = state.everywhere;
        let is_cut = state.cuts.get(&(source, target)).is_some_and(|&count| count > 0);
        let fate = if is_cut || state.random.in_a_million(conditions.lost) {
            Fate::Lost
        } else if state.random.in_a_million(conditions.doubled) {
            Fate::Twice(1 + state.random.word() % SECOND_COPY_MS_MAX)
        } else if state.random.in_a_million(conditions.delayed) {
            Fate::Travels(1 + state.random.word() % conditions.delay_ms_max.max(1))
        } else {
            Fate::Travels(0)
        };
        state.traffic.datagrams += 1;
        state.traffic.bytes += bytes as u64;
        state.traffic.lost += u64::from(fate == Fate::Lost);
        state.traffic.doubled += u64::from(matches!(fate, Fate::Twice(_)));
        state.traffic.delayed += u64::from(matches!(fate, Fate::Travels(1..)));
        let now_ms = state.now_ms;
        state.trace.note(&format!("{now_ms} {source} {target} {bytes} {fate:?}"));
        fate
    }

    /// What went over the network so far.
    pub fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    /// The hash of every datagram so far: when, from where, to where, how long, and what became of it.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace.hash()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
