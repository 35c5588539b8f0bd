//! A value for every address of a family, as sorted ranges.
//!
//! Built from left to right, read by binary search. The table that queries use has an index of its own.

/// An address as a number: `u32` for IPv4, `u128` for IPv6, `u64` for IPv6 where the second half does not matter.
pub(super) trait Bits: Copy + Ord {
    const ZERO: Self;
    /// The next higher address; `None` after the last.
    fn next(self) -> Option<Self>;
    /// The next lower address; `None` before the first.
    fn previous(self) -> Option<Self>;
    /// How many leading bits are the same.
    fn common_bits(self, other: Self) -> u8;
    /// The `count` bits after the first `skip`, as a number; both at most 16.
    fn bits(self, skip: u32, count: u32) -> usize;
}

macro_rules! impl_bits {
    ($number:ty) => {
        impl Bits for $number {
            const ZERO: Self = 0;

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }

            #[allow(clippy::cast_possible_truncation)] // at most 128
            fn common_bits(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            #[allow(clippy::cast_possible_truncation)] // at most 16 bits are left
            fn bits(self, skip: u32, count: u32) -> usize {
                (self << skip).checked_shr(Self::BITS - count).unwrap_or(0) as usize
            }
        }
    };
}

impl_bits!(u32);
impl_bits!(u64);
impl_bits!(u128);

/// A value for every address. Neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges<A, V> {
    /// The first address of each range, ascending, the first one 0. As long as `values`, never empty.
    starts: Vec<A>,
    values: Vec<V>,
}

impl<A: Bits, V: Copy + PartialEq> Ranges<A, V> {
    /// `value` everywhere.
    pub(super) fn constant(value: V) -> Self {
        Self { starts: vec![A::ZERO], values: vec![value] }
    }

    /// Lays `stretches` (first address, last address, value), ascending and disjoint, over `background`.
    pub(super) fn from_stretches(background: V, stretches: impl IntoIterator<Item = (A, A, V)>) -> Self {
        let mut ranges = Self { starts: Vec::new(), values: Vec::new() };
        let mut free = Some(A::ZERO);
        for (first, last, value) in stretches {
            // What begins before its predecessor has ended is cut, so that no input makes the order wrong.
            let Some(from) = free.filter(|&from| from <= last) else { continue };
            if from < first {
                ranges.push(from, background);
            }
            ranges.push(first.max(from), value);
            free = last.next();
        }
        if let Some(from) = free {
            ranges.push(from, background);
        }
        ranges
    }

    /// First and last address of each range (`None` is the last there is), with its value, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, Option<A>, V)> {
        let ends = self.starts.iter().skip(1).map(|next| next.previous()).chain([None]);
        self.starts.iter().zip(ends).zip(&self.values).map(|((start, end), value)| (*start, end, *value))
    }

    /// Appends a range that begins at `start`, above all before it.
    fn push(&mut self, start: A, value: V) {
        debug_assert!(self.starts.last().map_or(start == A::ZERO, |&last| last < start), "ranges come in order");
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// The value at `address`.
    pub(super) fn get(&self, address: A) -> Option<V> {
        let after = self.starts.partition_point(|&start| start <= address);
        self.values.get(after.checked_sub(1)?).copied()
    }

    /// Combines both, address by address; `f` is asked once for each stretch in which neither changes.
    pub(super) fn zip<W: Copy + PartialEq, R: Copy + PartialEq>(
        &self,
        other: &Ranges<A, W>,
        mut f: impl FnMut(V, W) -> R,
    ) -> Ranges<A, R> {
        let mut combined = Ranges { starts: Vec::with_capacity(self.starts.len()), values: Vec::new() };
        combined.values.reserve(self.values.len());
        let (mut left, mut right) = (0, 0);
        while let (Some(&left_value), Some(&right_value)) = (self.values.get(left), other.values.get(right)) {
            let start = self.starts[left].max(other.starts[right]);
            combined.push(start, f(left_value, right_value));
            match (self.starts.get(left + 1), other.starts.get(right + 1)) {
                (Some(left_next), Some(right_next)) => {
                    left += usize::from(left_next <= right_next);
                    right += usize::from(right_next <= left_next);
                }
                (Some(_), None) => left += 1,
                // The last of both: past the end, which ends the loop.
                (None, _) => right += 1,
            }
        }
        combined
    }

    /// The ranges apart: their first addresses, and as many values.
    pub(super) fn into_parts(self) -> (Vec<A>, Vec<V>) {
        (self.starts, self.values)
    }
}

impl<V: Copy + PartialEq> Ranges<u128, V> {
    /// The same by the first half of an address; given back as they are if one begins within a /64.
    pub(super) fn by_first_half(self) -> Result<Ranges<u64, V>, Self> {
        let first_half =
            |start: &u128| u64::try_from(start >> 64).ok().filter(|&half| u128::from(half) << 64 == *start);
        match self.starts.iter().map(first_half).collect() {
            Some(starts) => Ok(Ranges { starts, values: self.values }),
            None => Err(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stretches_leave_the_background_between_them() {
        let ranges = Ranges::from_stretches(0, [(0u32, 9, 1), (10, 19, 1), (30, 39, 2), (u32::MAX, u32::MAX, 3)]);
        assert_eq!(ranges.into_parts(), (vec![0, 20, 30, 40, u32::MAX], vec![1, 0, 2, 0, 3]));
    }

    #[test]
    fn no_stretch_is_all_background() {
        assert_eq!(Ranges::from_stretches(7, Vec::<(u128, u128, i32)>::new()), Ranges::constant(7));
    }

    fn stretches() -> impl Strategy<Value = Vec<(u32, u32, u8)>> {
        prop::collection::vec((0u32..300, 0u32..20, 0u8..3), 0..12).prop_map(|mut stretches| {
            stretches.sort();
            stretches.into_iter().map(|(first, length, value)| (first, first + length, value)).collect()
        })
    }

    proptest! {
        #[test]
        fn zip_is_the_same_as_asking_both(left in stretches(), right in stretches()) {
            let left = Ranges::from_stretches(0, left);
            let right = Ranges::from_stretches(0, right);
            let both = left.zip(&right, |left, right| left * 3 + right);
            for address in (0..340).chain([u32::MAX]) {
                let expected = left.get(address).zip(right.get(address)).map(|(left, right)| left * 3 + right);
                prop_assert_eq!(both.get(address), expected);
            }
            let (starts, values) = both.into_parts();
            prop_assert!(starts.is_sorted_by(|a, b| a < b));
            prop_assert!(values.is_sorted_by(|a, b| a != b), "neighbours differ");
        }
    }
}
