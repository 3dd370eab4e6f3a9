//! Searches for places in an area: `GEOSEARCH`, and `GEORADIUS` as it was before.

use super::cell::{Area, Position, Shape};
use super::{place_of, position, unit_m, write_distance, write_position};
use crate::command::sorted_set::range::store;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use keyspace::SortedElements;
use resp::Reply;

/// The rows of searches.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "geosearch",
        arity: -7,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: geosearch,
        since: "6.2.0",
        summary: "Query a sorted set representing a geospatial index to fetch members inside an area of a box or a circle",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "geosearchstore",
        arity: -8,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::TWO,
        handler: geosearchstore,
        since: "6.2.0",
        summary: "Query a sorted set representing a geospatial index to fetch members inside an area of a box or a circle, and store the result in another key",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around the shape provided as the filter and M is the number of items inside the shape",
        merge: Merge::Writes(
            "The target loses what its region had observed and gains the result: GEOSEARCHSTORE ‖ GEOSEARCHSTORE leaves the members of both results, of one in both the later stamp; GEOSEARCHSTORE ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "georadius",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Computed(keys_around),
        handler: georadius,
        since: "3.2.0",
        summary: "Query a sorted set representing a geospatial index to fetch members matching a given maximum distance from a point",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index",
        merge: Merge::Writes(
            "Without STORE it only reads; with it: the target loses what its region had observed and gains the result: GEORADIUS ‖ GEORADIUS leaves the members of both results, of one in both the later stamp; GEORADIUS ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "georadiusbymember",
        arity: -5,
        flags: Flags::WRITE.union(Flags::DENY_OOM),
        keys: Keys::Computed(keys_around_member),
        handler: georadiusbymember,
        since: "3.2.0",
        summary: "Query a sorted set representing a geospatial index to fetch members matching a given maximum distance from a member",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index",
        merge: Merge::Writes(
            "Without STORE it only reads; with it: the target loses what its region had observed and gains the result: GEORADIUSBYMEMBER ‖ GEORADIUSBYMEMBER leaves the members of both results, of one in both the later stamp; GEORADIUSBYMEMBER ‖ ZADD x to the target: x stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "georadius_ro",
        arity: -6,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: georadius_ro,
        since: "3.2.10",
        summary: "A read-only variant for GEORADIUS",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: georadiusbymember_ro,
        since: "3.2.10",
        summary: "A read-only variant for GEORADIUSBYMEMBER",
        group: Group::Geo,
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area delimited by center and radius and M is the number of items inside the index",
        merge: Merge::Reads,
        subcommands: &[],
    },
];

fn keys_around(args: &[&[u8]]) -> Option<Vec<usize>> {
    Some(radius_keys(args, 6))
}

fn keys_around_member(args: &[&[u8]]) -> Option<Vec<usize>> {
    Some(radius_keys(args, 5))
}

/// The keys of a `GEORADIUS` whose options begin at `first`: the one that is searched, and those that it is told to store
/// in. It stores in the last one alone, but the others are named as well, to `COMMAND GETKEYS` and to access rules.
fn radius_keys(args: &[&[u8]], first: usize) -> Vec<usize> {
    let of_word = |word: &[u8]| {
        let found = args.iter().skip(first).position(|found| found.eq_ignore_ascii_case(word));
        found.map(|at| first + at + 1).filter(|at| *at < args.len())
    };
    let (mut target, mut at) = (None, first);
    while at + 1 < args.len() {
        if is_any(args[at], &[b"store", b"storedist"]) {
            target = Some(at + 1);
            at += 1;
        }
        at += 1;
    }
    let mut keys = vec![1];
    for key in [of_word(b"store"), of_word(b"storedist"), target].into_iter().flatten() {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn is_any(word: &[u8], of: &[&[u8]]) -> bool {
    of.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Which of the commands it is: they differ in where the area is named and in what may be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `GEORADIUS`: a place and a radius in front.
    Around { stores: bool },
    /// `GEORADIUSBYMEMBER`: a member and a radius in front.
    AroundMember { stores: bool },
    /// `GEOSEARCH`.
    Search,
    /// `GEOSEARCHSTORE`.
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        match self {
            Form::Search | Form::SearchStore => true,
            Form::Around { .. } | Form::AroundMember { .. } => false,
        }
    }

    fn may_store(self) -> bool {
        match self {
            Form::Around { stores } | Form::AroundMember { stores } => stores,
            Form::Search | Form::SearchStore => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sorting {
    No,
    NearestFirst,
    FarthestFirst,
}

/// What is searched for, and what is done with it.
struct Search<'a> {
    middle: Option<Position>,
    /// The key is not there, but the middle was named: it need not be known.
    has_middle: bool,
    /// The middle was named by a member.
    from_member: bool,
    shape: Option<Shape>,
    /// Metres of the unit in which distances are answered.
    unit_m: f64,
    with_distance: bool,
    with_score: bool,
    with_place: bool,
    sorting: Sorting,
    /// How many at most; 0: all.
    count: usize,
    /// Any so many will do.
    any: bool,
    target: Option<&'a [u8]>,
    stores_distance: bool,
}

/// A place that was found.
struct Found {
    member: Vec<u8>,
    score: f64,
    place: Position,
    distance_m: f64,
}

fn geosearch(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 1, Form::Search)
}

fn geosearchstore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 2, Form::SearchStore)
}

fn georadius(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 1, Form::Around { stores: true })
}

fn georadiusbymember(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 1, Form::AroundMember { stores: true })
}

fn georadius_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 1, Form::Around { stores: false })
}

fn georadiusbymember_ro(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    search(call, args, 1, Form::AroundMember { stores: false })
}

fn search(call: &mut Call<'_, '_>, args: &[&[u8]], source: usize, form: Form) -> Result<(), CommandError> {
    let db = call.db();
    let members = call.store.sorted_set(db, args[source])?;
    let request = Search::parse(members.as_ref(), args, form)?;
    let found = match (&members, request.middle, request.shape) {
        (Some(members), Some(middle), Some(shape)) => request.find(members, &Area { middle, shape }),
        _ => Vec::new(),
    };
    match request.target {
        Some(target) => {
            let score = |found: &Found| {
                if request.stores_distance { found.distance_m / request.unit_m } else { found.score }
            };
            let event = if form == Form::SearchStore { "geosearchstore" } else { "georadiusstore" };
            store(call, (event, target), found.iter().map(|found| (&*found.member, score(found))))
        }
        None => {
            request.answer(call.reply, &found);
            Ok(())
        }
    }
}

impl<'a> Search<'a> {
    fn parse(members: Option<&SortedElements<'_>>, args: &[&'a [u8]], form: Form) -> Result<Self, CommandError> {
        let mut search = Self {
            middle: None,
            has_middle: false,
            from_member: false,
            shape: None,
            unit_m: 1.0,
            with_distance: false,
            with_score: false,
            with_place: false,
            sorting: Sorting::No,
            count: 0,
            any: false,
            target: None,
            stores_distance: false,
        };
        let words = match form {
            Form::Around { .. } => {
                search.middle = Some(position(args[2], args[3])?);
                search.set_radius(args[4], args[5])?;
                6
            }
            Form::AroundMember { .. } => {
                // SUBTLE: without the key neither member nor radius is looked at, as in Redis.
                if members.is_some() {
                    search.set_member(members, args[2])?;
                    search.set_radius(args[3], args[4])?;
                }
                5
            }
            Form::Search => 2,
            Form::SearchStore => {
                search.target = Some(args[1]);
                3
            }
        };
        search.read_words(members, &args[words..], form)?;
        search.check(args[0], form)?;
        Ok(search)
    }

    fn read_words(
        &mut self,
        members: Option<&SortedElements<'_>>,
        words: &[&'a [u8]],
        form: Form,
    ) -> Result<(), CommandError> {
        let mut rest = words;
        while let [word, after @ ..] = rest {
            let searches = form.is_search();
            rest = match (word.to_ascii_lowercase().as_slice(), after) {
                (b"withdist", _) => set(&mut self.with_distance, after),
                (b"withhash", _) => set(&mut self.with_score, after),
                (b"withcoord", _) => set(&mut self.with_place, after),
                (b"any", _) => set(&mut self.any, after),
                (b"asc", _) => {
                    self.sorting = Sorting::NearestFirst;
                    after
                }
                (b"desc", _) => {
                    self.sorting = Sorting::FarthestFirst;
                    after
                }
                (b"count", [count, after @ ..]) => {
                    let count = number::integer(count)?;
                    self.count = usize::try_from(count)
                        .ok()
                        .filter(|&count| count > 0)
                        .ok_or(CommandError::Plain("ERR COUNT must be > 0"))?;
                    after
                }
                (b"store" | b"storedist", [target, after @ ..]) if form.may_store() => {
                    self.target = Some(target);
                    self.stores_distance = word.eq_ignore_ascii_case(b"storedist");
                    after
                }
                (b"frommember", [member, after @ ..]) if searches && (!self.has_middle || self.from_member) => {
                    self.set_member(members, member)?;
                    after
                }
                (b"fromlonlat", [longitude, latitude, after @ ..]) if searches && !self.from_member => {
                    self.middle = Some(position(longitude, latitude)?);
                    self.has_middle = true;
                    after
                }
                (b"byradius", [radius, unit, after @ ..])
                    if searches && !matches!(self.shape, Some(Shape::Box { .. })) =>
                {
                    self.set_radius(radius, unit)?;
                    after
                }
                (b"bybox", [width, height, unit, after @ ..])
                    if searches && !matches!(self.shape, Some(Shape::Circle { .. })) =>
                {
                    self.set_box(width, height, unit)?;
                    after
                }
                (b"storedist", _) if form == Form::SearchStore => set(&mut self.stores_distance, after),
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(())
    }

    fn check(&mut self, name: &[u8], form: Form) -> Result<(), CommandError> {
        if self.target.is_some() && (self.with_distance || self.with_score || self.with_place) {
            let option = if form == Form::SearchStore { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(CommandError::Detailed(format!(
                "ERR {option} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
            )));
        }
        let name = String::from_utf8_lossy(name);
        if form.is_search() && !self.has_middle {
            return Err(CommandError::Detailed(format!(
                "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {name}"
            )));
        }
        if form.is_search() && self.shape.is_none() {
            return Err(CommandError::Detailed(format!(
                "ERR exactly one of BYRADIUS and BYBOX can be specified for {name}"
            )));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::Plain("ERR the ANY argument requires COUNT argument"));
        }
        // The nearest so many are meant, unless any will do.
        if self.count > 0 && self.sorting == Sorting::No && !self.any {
            self.sorting = Sorting::NearestFirst;
        }
        Ok(())
    }

    fn set_member(&mut self, members: Option<&SortedElements<'_>>, member: &[u8]) -> Result<(), CommandError> {
        (self.has_middle, self.from_member) = (true, true);
        if members.is_some() {
            let place = place_of(members, member);
            self.middle = Some(place.ok_or(CommandError::Plain("ERR could not decode requested zset member"))?);
        }
        Ok(())
    }

    fn set_radius(&mut self, radius: &[u8], unit: &[u8]) -> Result<(), CommandError> {
        let radius = number::double(radius).ok_or(CommandError::Plain("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err(CommandError::Plain("ERR radius cannot be negative"));
        }
        self.unit_m = unit_m(unit)?;
        self.shape = Some(Shape::Circle { radius: radius * self.unit_m });
        Ok(())
    }

    fn set_box(&mut self, width: &[u8], height: &[u8], unit: &[u8]) -> Result<(), CommandError> {
        let width = number::double(width).ok_or(CommandError::Plain("ERR need numeric width"))?;
        let height = number::double(height).ok_or(CommandError::Plain("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err(CommandError::Plain("ERR height or width cannot be negative"));
        }
        self.unit_m = unit_m(unit)?;
        self.shape = Some(Shape::Box { width: width * self.unit_m, height: height * self.unit_m });
        Ok(())
    }

    /// The places inside, as many as are wanted, in the order that is wanted.
    fn find(&self, members: &SortedElements<'_>, area: &Area) -> Vec<Found> {
        let members = members.in_order();
        let enough = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        for scores in area.scores() {
            let (least, beyond) = (scores.start as f64, scores.end as f64);
            let ranks = members.below_score(|score| score < least)..members.below_score(|score| score < beyond);
            for (member, score) in members.range(ranks, false) {
                if found.len() >= enough {
                    break;
                }
                let place = Position::of_score(score);
                if let Some(distance_m) = area.distance_m(place) {
                    found.push(Found { member: member.to_vec(), score, place, distance_m });
                }
            }
        }
        match self.sorting {
            Sorting::No => {}
            Sorting::NearestFirst => found.sort_by(|one, other| one.distance_m.total_cmp(&other.distance_m)),
            Sorting::FarthestFirst => found.sort_by(|one, other| other.distance_m.total_cmp(&one.distance_m)),
        }
        if self.count > 0 {
            found.truncate(self.count);
        }
        found
    }

    fn answer(&self, reply: &mut Reply, found: &[Found]) {
        let parts = usize::from(self.with_distance) + usize::from(self.with_score) + usize::from(self.with_place);
        reply.array(found.len());
        for Found { member, score, place, distance_m } in found {
            if parts > 0 {
                reply.array(parts + 1);
            }
            reply.bulk(member);
            if self.with_distance {
                write_distance(reply, distance_m / self.unit_m);
            }
            if self.with_score {
                reply.integer(*score as i64);
            }
            if self.with_place {
                write_position(reply, *place);
            }
        }
    }
}

fn set<'w, 'a>(option: &mut bool, after: &'w [&'a [u8]]) -> &'w [&'a [u8]] {
    *option = true;
    after
}
