//! Counters add up exactly: whatever the order and the grouping of the increments, the text is that of the exact decimal
//! sum, which is also what every region has to print.

use crate::decimal::Decimal;
use crate::random::{Random, for_seeds};
use crdt::Number;
use crdt::encoding::Reader;

fn increment(random: &mut Random) -> i128 {
    let magnitude = random.word() as i128 % 10i128.pow(random.between(1, 12) as u32);
    let sign = if random.chance(40) { -1 } else { 1 };
    // Whole numbers are frequent: they take another way.
    sign * if random.chance(40) { magnitude / 1_000_000 * 1_000_000 } else { magnitude }
}

fn number(millionths: i128) -> Number {
    Number::parse(Decimal(millionths).text().as_bytes()).unwrap()
}

fn there_and_back(number: Number) -> Number {
    let mut bytes = Vec::new();
    number.encode(&mut bytes);
    let mut reader = Reader::new(&bytes);
    let read = Number::decode(&mut reader).unwrap();
    assert!(reader.is_empty());
    read
}

#[test]
fn sums_are_exact_whatever_the_order_and_the_grouping() {
    for_seeds("sums_are_exact", 2000, |seed| {
        let mut random = Random::new(seed);
        let count = random.between(1, 30);
        let mut increments: Vec<i128> = (0..count).map(|_| increment(&mut random)).collect();
        let want = Decimal(increments.iter().sum()).redis_text();
        for _ in 0..3 {
            random.shuffle(&mut increments);
            // A contribution a node, each summed for itself, then all of them.
            let nodes = random.between(1, 5);
            let mut sums = vec![Number::default(); nodes];
            for (index, &increment) in increments.iter().enumerate() {
                sums[index % nodes] = sums[index % nodes].plus(number(increment));
            }
            let sum = sums.iter().fold(Number::default(), |sum, &contribution| sum.plus(there_and_back(contribution)));
            assert_eq!(sum.to_redis_text(), want, "{increments:?}");
        }
    });
}

#[test]
fn what_a_reset_took_away_is_gone_exactly() {
    for_seeds("what_a_reset", 2000, |seed| {
        let mut random = Random::new(seed);
        let (before, after) = (increment(&mut random), increment(&mut random));
        let cumulative = number(before).plus(number(after));
        assert_eq!(
            cumulative.minus(number(before)).to_redis_text(),
            Decimal(after).redis_text(),
            "{before} then {after}"
        );
    });
}

#[test]
fn numbers_are_read_as_they_are_printed() {
    for_seeds("numbers_are_read", 2000, |seed| {
        let value = increment(&mut Random::new(seed));
        assert_eq!(number(value).to_redis_text(), Decimal(value).redis_text());
        assert_eq!(there_and_back(number(value)), number(value));
    });
}

#[test]
fn sums_beyond_64_bits_show_the_nearest_integer_within() {
    let big = Number::integer(i128::from(i64::MAX));
    assert_eq!(big.plus(Number::integer(1)).to_redis_text(), i64::MAX.to_string());
    assert_eq!(big.plus(Number::integer(1)).minus(Number::integer(2)).to_redis_text(), (i64::MAX - 1).to_string());
    let small = Number::integer(i128::from(i64::MIN));
    assert_eq!(small.plus(small).to_redis_text(), i64::MIN.to_string());
}
