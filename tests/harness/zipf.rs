//! Which keys a cache is asked for: a few of them most of the time (Zipf's law).

use crate::random::Random;

/// Numbers below a bound; the number `n` is drawn in proportion to `1 / (n + 1)^exponent`.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// For each number, how likely it or a smaller one is drawn.
    up_to: Vec<f64>,
}

impl Zipf {
    /// Numbers below `bound`.
    pub fn new(bound: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=bound)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|share| *share /= sum);
        Self { up_to }
    }

    /// Draws one.
    pub fn draw(&self, random: &mut Random) -> usize {
        let point = (random.word() >> 11) as f64 / (1u64 << 53) as f64;
        self.up_to.partition_point(|share| *share < point).min(self.up_to.len().saturating_sub(1))
    }
}
