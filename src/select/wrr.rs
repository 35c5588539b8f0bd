//! Weighted round robin in the classic LVS order: weights 4, 3, 2 give A A B A B C A B C.
//!
//! LVS walks a level down from the greatest weight in steps of the greatest common divisor and lets every server of at least that weight
//! serve once a level (Zhang, "Linux Virtual Server for Scalable Network Services", 2000; kernel: net/netfilter/ipvs/ip_vs_wrr.c). Between
//! two distinct weights all levels look the same, so the whole order is a few segments "these servers, so many times", whatever the
//! weights, and any turn is found without walking there.

use crate::types::{RealserverId, Weight};

/// The order of one whole round, in which each member serves weight / divisor times.
#[derive(Debug, Default)]
pub struct Sequence {
    segments: Box<[Segment]>,
    /// Turns of a whole round.
    round: u64,
}

#[derive(Debug)]
struct Segment {
    /// First turn that is no longer in this segment.
    end: u64,
    /// Who serves once a level, in the order of the file.
    members: Box<[RealserverId]>,
}

impl Sequence {
    /// The order of `members`, which come in the order of the file.
    pub fn new(members: &[(RealserverId, Weight)]) -> Self {
        let divisor = members.iter().map(|(_, weight)| weight.get()).fold(0, greatest_common_divisor);
        let mut weights: Vec<u16> = members.iter().map(|(_, weight)| weight.get()).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        weights.dedup();
        let mut end = 0;
        let segments = weights.iter().enumerate().map(|(index, &level)| {
            let next_level = weights.get(index + 1).copied().unwrap_or(0);
            let serving: Box<[_]> =
                members.iter().filter(|(_, weight)| weight.get() >= level).map(|(id, _)| *id).collect();
            let n_levels = u64::from((level - next_level) / divisor);
            end += n_levels * serving.len() as u64;
            Segment { end, members: serving }
        });
        let segments: Box<[_]> = segments.collect();
        Self { round: segments.last().map_or(0, |segment| segment.end), segments }
    }

    /// Who serves turn `turn`; `None` if there is nobody at all.
    pub fn at(&self, turn: u64) -> Option<RealserverId> {
        let turn = turn.checked_rem(self.round)?;
        let index = self.segments.partition_point(|segment| segment.end <= turn);
        let start = index.checked_sub(1).and_then(|before| self.segments.get(before)).map_or(0, |before| before.end);
        let members = &self.segments.get(index)?.members;
        let place = (turn - start).checked_rem(members.len() as u64)?;
        members.get(usize::try_from(place).ok()?).copied()
    }

    /// Turns of a whole round, 0 without members.
    pub fn round(&self) -> u64 {
        self.round
    }
}

/// Who serves turn `turn` among `members`, which come in the order of the file with their shares: [`Sequence::at`] without a sequence.
///
/// For members that are together too rarely to have a sequence ready. Looks at each a few times for every distinct share, and allocates
/// nothing. `None` if there is nobody.
pub fn turn_among<T>(members: impl Iterator<Item = (T, u64)> + Clone, turn: u64) -> Option<T> {
    let shares = || members.clone().map(|(_, share)| share).filter(|&share| share > 0);
    let divisor = shares().fold(0, greatest_common_divisor);
    let mut turn = turn.checked_rem(shares().sum::<u64>().checked_div(divisor)?)?;
    let mut level = shares().max()?;
    loop {
        let next_level = shares().filter(|&share| share < level).max().unwrap_or(0);
        let serving = members.clone().filter(|(_, share)| *share >= level);
        let n_serving = u64::try_from(serving.clone().count()).ok()?;
        let n_turns = n_serving.checked_mul((level - next_level).checked_div(divisor)?)?;
        if turn < n_turns {
            let place = usize::try_from(turn.checked_rem(n_serving)?).ok()?;
            return serving.map(|(member, _)| member).nth(place);
        }
        turn -= n_turns;
        level = next_level;
        if level == 0 {
            return None;
        }
    }
}

/// Of 0 and `b`, `b`.
fn greatest_common_divisor<N: Copy + PartialEq + Default + std::ops::Rem<Output = N>>(a: N, b: N) -> N {
    if b == N::default() { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[u16]) -> Vec<(RealserverId, Weight)> {
        (0..).map(RealserverId).zip(weights.iter().filter_map(|&weight| Weight::new(weight))).collect()
    }

    fn letters(weights: &[u16], n_turns: u64) -> String {
        let sequence = Sequence::new(&members(weights));
        (0..n_turns)
            .filter_map(|turn| sequence.at(turn))
            .map(|id| char::from(b'A' + u8::try_from(id.0).expect("few")))
            .collect()
    }

    #[test]
    fn weights_4_3_2_give_aababcabc() {
        assert_eq!(letters(&[4, 3, 2], 18), "AABABCABCAABABCABC");
    }

    #[test]
    fn order_follows_the_file_and_the_divisor_shortens_the_round() {
        assert_eq!(letters(&[2, 3, 4], 9), "CBCABCABC");
        assert_eq!(letters(&[400, 300, 200], 9), "AABABCABC");
        assert_eq!(letters(&[1, 1, 1], 6), "ABCABC");
        assert_eq!(letters(&[7], 3), "AAA");
        assert_eq!(letters(&[], 3), "");
    }

    /// The kernel's loop, one step at a time.
    fn lvs(weights: &[u16]) -> Vec<RealserverId> {
        let members = members(weights);
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
        let mut order = Vec::new();
        let mut level = weights.iter().copied().max().unwrap_or(0);
        while level > 0 {
            order.extend(members.iter().filter(|(_, weight)| weight.get() >= level).map(|(id, _)| *id));
            level -= divisor;
        }
        order
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_weights_give_what_lvs_gives(weights in prop::collection::vec(1u16..=200, 1..12), offset in 0u64..1_000_000) {
            let sequence = Sequence::new(&members(&weights));
            let expected = lvs(&weights);
            prop_assert_eq!(sequence.round(), expected.len() as u64);
            for turn in offset..offset + 40 {
                let place = usize::try_from(turn % expected.len() as u64).expect("small");
                prop_assert_eq!(sequence.at(turn), Some(expected[place]));
                let members = members(&weights).into_iter().map(|(id, weight)| (id, u64::from(weight.get())));
                prop_assert_eq!(turn_among(members, turn), Some(expected[place]));
            }
        }
    }
}
