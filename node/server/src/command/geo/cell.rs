//! Positions on the earth, and the cells that their scores name.
//!
//! A score is the number of a cell: longitude and latitude are halved in turn, 26 times each, and every half adds a bit.
//! A cell of fewer steps is a range of scores. The reach of latitudes is that of the web's maps (EPSG:900913).

use std::f64::consts::PI;
use std::ops::Range;

/// Steps of the cells that scores name: 52 bits, which a double holds.
pub(super) const STEPS: u32 = 26;
const LONGITUDES: [f64; 2] = [-180.0, 180.0];
const LATITUDES: [f64; 2] = [-85.051_128_78, 85.051_128_78];
/// The latitudes of geohashes as others write them.
const GEOHASH_LATITUDES: [f64; 2] = [-90.0, 90.0];
/// Metres; the figure that Redis computes with.
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half the length of the equator as maps have it, in metres: a circle so large is in one cell of one step.
const MERCATOR_MAX_M: f64 = 20_037_726.37;
const GEOHASH_ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// Letters of a geohash.
const GEOHASH_LETTERS: u32 = 11;

/// Degrees east and north.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Position {
    pub(super) longitude: f64,
    pub(super) latitude: f64,
}

/// The cell of so many steps: how many cells lie west and south of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    east: u32,
    north: u32,
    steps: u32,
}

impl Position {
    /// A position; nothing where cells do not reach.
    pub(super) fn new(longitude: f64, latitude: f64) -> Option<Self> {
        let is_in = |value: f64, [from, to]: [f64; 2]| (from..=to).contains(&value);
        (is_in(longitude, LONGITUDES) && is_in(latitude, LATITUDES)).then_some(Self { longitude, latitude })
    }

    /// The score of the member that is here.
    pub(super) fn score(self) -> f64 {
        Cell::of(self, STEPS).bits() as f64
    }

    /// The middle of the cell that a score names. Any score names one.
    pub(super) fn of_score(score: f64) -> Self {
        let [east, north] = apart(bits_of(score));
        let cell = Cell { east, north, steps: STEPS };
        let middle = |[low, high]: [f64; 2], [from, to]: [f64; 2]| ((low + high) / 2.0).clamp(from, to);
        Self { longitude: middle(cell.longitudes(), LONGITUDES), latitude: middle(cell.latitudes(), LATITUDES) }
    }

    /// The geohash that others know the place by. Its last letter says nothing: there are not enough bits for it.
    pub(super) fn geohash(self) -> String {
        let north = part(self.latitude, GEOHASH_LATITUDES, STEPS);
        let bits = woven(part(self.longitude, LONGITUDES, STEPS), north);
        let letter = |index: u32| match index + 1 {
            GEOHASH_LETTERS => GEOHASH_ALPHABET[0],
            letters => GEOHASH_ALPHABET[(bits >> (2 * STEPS - letters * 5) & 0x1f) as usize],
        };
        (0..GEOHASH_LETTERS).map(|index| char::from(letter(index))).collect()
    }

    /// Metres on the sphere (the haversine formula).
    pub(super) fn distance_m(self, other: Self) -> f64 {
        let across = ((radians(other.longitude) - radians(self.longitude)) / 2.0).sin();
        if across == 0.0 {
            return self.distance_north_m(other);
        }
        let (north, other_north) = (radians(self.latitude), radians(other.latitude));
        let along = ((other_north - north) / 2.0).sin();
        let chord = along * along + north.cos() * other_north.cos() * across * across;
        2.0 * EARTH_RADIUS_M * chord.sqrt().asin()
    }

    fn distance_north_m(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (radians(other.latitude) - radians(self.latitude)).abs()
    }
}

/// An area around a position.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) middle: Position,
    pub(super) shape: Shape,
}

/// Its form, in metres.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Circle { radius: f64 },
    Box { width: f64, height: f64 },
}

/// The least and the greatest degrees that an area reaches.
struct Reach {
    west: f64,
    east: f64,
    south: f64,
    north: f64,
}

impl Area {
    /// How far a place is from the middle, if it is inside.
    pub(super) fn distance_m(&self, place: Position) -> Option<f64> {
        match self.shape {
            Shape::Circle { radius } => Some(self.middle.distance_m(place)).filter(|&distance| distance <= radius),
            Shape::Box { width, height } => {
                // The width is measured where the place is: degrees of longitude are shorter near the poles.
                let beside = Position { longitude: self.middle.longitude, latitude: place.latitude };
                let is_inside =
                    self.middle.distance_north_m(place) <= height / 2.0 && place.distance_m(beside) <= width / 2.0;
                is_inside.then(|| self.middle.distance_m(place))
            }
        }
    }

    /// The ranges of scores in which everything inside is, in the order in which they are looked through: the cell of
    /// the middle and those around it that the area reaches.
    pub(super) fn scores(&self) -> Vec<Range<u64>> {
        let reach = self.reach();
        let (mut steps, mut cell) = (self.steps(), Cell::of(self.middle, self.steps()));
        if steps > 1 && !cell.with_neighbours_covers(&reach) {
            steps -= 1;
            cell = Cell::of(self.middle, steps);
        }
        let [west, east] = cell.longitudes();
        let [south, north] = cell.latitudes();
        let goes = |towards_east: i64, towards_north: i64| {
            // Cells of one step are so few that none is left out.
            let is_needless = |towards: i64, low_is_in: bool, high_is_in: bool| match towards {
                -1 => low_is_in,
                1 => high_is_in,
                _ => false,
            };
            steps >= 2
                && (is_needless(towards_east, west < reach.west, east > reach.east)
                    || is_needless(towards_north, south < reach.south, north > reach.north))
        };
        const AROUND: [(i64, i64); 9] = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(AROUND.len());
        for (towards_east, towards_north) in AROUND {
            if goes(towards_east, towards_north) {
                continue;
            }
            // The cell of the last degree is the one past the others, and itself no neighbour of its neighbours.
            let there = match (towards_east, towards_north) {
                (0, 0) => cell,
                _ => cell.neighbour(towards_east, towards_north),
            };
            let range = there.scores();
            // Around the whole earth a cell can be its own neighbour.
            if !ranges.contains(&range) {
                ranges.push(range);
            }
        }
        ranges
    }

    /// Steps of a cell that is about as large as the area.
    fn steps(&self) -> u32 {
        let mut range_m = match self.shape {
            Shape::Circle { radius } => radius,
            Shape::Box { width, height } => ((width / 2.0).powi(2) + (height / 2.0).powi(2)).sqrt(),
        };
        if range_m == 0.0 {
            return STEPS;
        }
        let mut steps = 1_i64;
        while range_m < MERCATOR_MAX_M && steps < i64::from(STEPS) * 2 {
            range_m *= 2.0;
            steps += 1;
        }
        // The area is to be inside of the nine cells around it, also where degrees of longitude are short.
        steps -= 2;
        let latitude = self.middle.latitude.abs();
        steps -= i64::from(latitude > 66.0) + i64::from(latitude > 80.0);
        steps.clamp(1, i64::from(STEPS)) as u32
    }

    fn reach(&self) -> Reach {
        let Position { longitude, latitude } = self.middle;
        let (width, height) = match self.shape {
            Shape::Circle { radius } => (radius, radius),
            Shape::Box { width, height } => (width / 2.0, height / 2.0),
        };
        let up = degrees(height / EARTH_RADIUS_M);
        // The edge that is nearer to a pole spans more degrees.
        let edge = if latitude < 0.0 { latitude - up } else { latitude + up };
        let aside = degrees(width / EARTH_RADIUS_M / radians(edge).cos());
        Reach { west: longitude - aside, east: longitude + aside, south: latitude - up, north: latitude + up }
    }
}

impl Cell {
    fn of(position: Position, steps: u32) -> Self {
        let Position { longitude, latitude } = position;
        Self { east: part(longitude, LONGITUDES, steps), north: part(latitude, LATITUDES, steps), steps }
    }

    fn bits(self) -> u64 {
        woven(self.east, self.north)
    }

    /// The scores of all places in the cell.
    fn scores(self) -> Range<u64> {
        let shift = 2 * (STEPS - self.steps);
        self.bits() << shift..(self.bits() + 1) << shift
    }

    /// The cell beside it; around the earth, and over the poles too.
    fn neighbour(self, towards_east: i64, towards_north: i64) -> Self {
        let beside = |at: u32, towards: i64| (i64::from(at) + towards).rem_euclid(1 << self.steps) as u32;
        Self { east: beside(self.east, towards_east), north: beside(self.north, towards_north), ..self }
    }

    fn longitudes(self) -> [f64; 2] {
        bounds(self.east, LONGITUDES, self.steps)
    }

    fn latitudes(self) -> [f64; 2] {
        bounds(self.north, LATITUDES, self.steps)
    }

    /// Whether what is reached is in this cell and those around it.
    fn with_neighbours_covers(self, reach: &Reach) -> bool {
        let [_, north] = self.neighbour(0, 1).latitudes();
        let [south, _] = self.neighbour(0, -1).latitudes();
        let [_, east] = self.neighbour(1, 0).longitudes();
        let [west, _] = self.neighbour(-1, 0).longitudes();
        north >= reach.north && south <= reach.south && east >= reach.east && west <= reach.west
    }
}

/// The bits of any score. Those that are no cell's become what Redis makes of them where it usually runs, so that both
/// answer the same nonsense.
fn bits_of(score: f64) -> u64 {
    const HALF: f64 = (1_u64 << 63) as f64;
    if score >= 2.0 * HALF {
        0
    } else if score >= HALF {
        score as u64
    } else if score >= -HALF {
        score as i64 as u64
    } else {
        1 << 63
    }
}

/// How many of 2^steps equal parts of a range lie below `value`.
fn part(value: f64, [from, to]: [f64; 2], steps: u32) -> u32 {
    ((value - from) / (to - from) * f64::from(1_u32 << steps)) as u32
}

/// Where a part begins and ends.
fn bounds(part: u32, [from, to]: [f64; 2], steps: u32) -> [f64; 2] {
    let at = |part: f64| from + part / f64::from(1_u32 << steps) * (to - from);
    [at(f64::from(part)), at(f64::from(part) + 1.0)]
}

/// The bits of both in turn; the lowest is one of `north`.
fn woven(east: u32, north: u32) -> u64 {
    spread(east) << 1 | spread(north)
}

/// Takes apart what [`woven`] put together.
fn apart(bits: u64) -> [u32; 2] {
    [gathered(bits >> 1), gathered(bits)]
}

/// Puts a zero above each bit.
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in SPREAD {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Every other bit, from the lowest on.
fn gathered(bits: u64) -> u32 {
    let mut bits = bits & SPREAD[4].1;
    for index in (0..SPREAD.len()).rev() {
        let mask = if index == 0 { u64::from(u32::MAX) } else { SPREAD[index - 1].1 };
        bits = (bits | bits >> SPREAD[index].0) & mask;
    }
    bits as u32
}

/// Shifts that double the room between groups of bits, and the bits that are left then.
const SPREAD: [(u32, u64); 5] = [
    (16, 0x0000_ffff_0000_ffff),
    (8, 0x00ff_00ff_00ff_00ff),
    (4, 0x0f0f_0f0f_0f0f_0f0f),
    (2, 0x3333_3333_3333_3333),
    (1, 0x5555_5555_5555_5555),
];

fn radians(degrees: f64) -> f64 {
    degrees * (PI / 180.0)
}

fn degrees(radians: f64) -> f64 {
    radians / (PI / 180.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Redis' manual.
    const PALERMO: Position = Position { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Position = Position { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn places_have_the_scores_and_geohashes_that_redis_gives_them() {
        assert_eq!((PALERMO.score(), CATANIA.score()), (3_479_099_956_230_698.0, 3_479_447_370_796_909.0));
        let palermo = Position::of_score(PALERMO.score());
        assert_eq!((palermo.longitude, palermo.latitude), (13.361_389_338_970_184, 38.115_556_395_496_3));
        assert_eq!(palermo.geohash(), "sqc8b49rny0");
        assert_eq!(Position::of_score(CATANIA.score()).geohash(), "sqdtr74hyu0");
        let distance = palermo.distance_m(Position::of_score(CATANIA.score()));
        assert_eq!(format!("{distance:.4}"), "166274.1516");
    }

    #[test]
    fn bits_are_woven_and_taken_apart() {
        let mut word = 7_u64;
        for _ in 0..1000 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (east, north) = ((word >> 32) as u32, word as u32);
            let expected: u64 = (0..32)
                .map(|bit| u64::from(east >> bit & 1) << (2 * bit + 1) | u64::from(north >> bit & 1) << (2 * bit))
                .sum();
            assert_eq!(woven(east, north), expected);
            assert_eq!(apart(expected), [east, north]);
        }
    }

    #[test]
    fn the_edge_of_the_earth_is_in_the_area_around_it() {
        for (longitude, latitude) in [(180.0, 0.0), (180.0, LATITUDES[1]), (0.0, LATITUDES[1]), (-180.0, LATITUDES[0])]
        {
            let place = Position { longitude, latitude };
            let ranges = Area { middle: place, shape: Shape::Circle { radius: 10.0 } }.scores();
            let score = place.score() as u64;
            assert!(ranges.iter().any(|range| range.contains(&score)), "{place:?} {ranges:?}");
        }
    }

    #[test]
    fn everything_inside_of_an_area_is_in_its_ranges_of_scores() {
        let mut word = 7_u64;
        let mut draw = |from: f64, to: f64| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            from + (word >> 11) as f64 / (1_u64 << 53) as f64 * (to - from)
        };
        for _ in 0..3000 {
            // Redis' cells do not reach over the poles either: areas there are looked for in vain.
            let middle = Position { longitude: draw(-150.0, 150.0), latitude: draw(-60.0, 60.0) };
            let size = 10_f64.powf(draw(0.0, 5.7));
            let shape = if draw(0.0, 1.0) < 0.5 {
                Shape::Circle { radius: size }
            } else {
                Shape::Box { width: size, height: size * draw(0.2, 3.0) }
            };
            let area = Area { middle, shape };
            let ranges = area.scores();
            for _ in 0..20 {
                let degrees = size / 100_000.0;
                let (longitude, latitude) =
                    (middle.longitude + draw(-degrees, degrees), middle.latitude + draw(-degrees, degrees));
                let Some(place) = Position::new(longitude, latitude) else { continue };
                let score = place.score() as u64;
                let found = area.distance_m(Position::of_score(place.score())).is_some();
                assert!(!found || ranges.iter().any(|range| range.contains(&score)), "{area:?} {place:?}");
            }
        }
    }
}
