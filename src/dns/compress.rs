//! Name compression (RFC 1035 §4.1.4): which names stand in a message already, and where.
//!
//! A name is remembered with every suffix of it, each with its length, by which most comparisons end at once.

use super::query::{QUESTION_AT, take_plain_name};
use crate::name;

/// Names that are remembered; a message with more is correct and a little longer than it might be.
const PLACES_MAX: usize = 48;

/// The names of one message that can be pointed at.
pub(super) struct Names {
    places: [Place; PLACES_MAX],
    n_places: usize,
}

/// A name in the message.
#[derive(Clone, Copy)]
struct Place {
    /// Octet of the message where it starts, below 2^14.
    at: u16,
    /// Octets of it uncompressed.
    n_octets: u8,
    /// So many of them stand here; the others at the place `rest`.
    n_here: u8,
    rest: u8,
}

/// Number of the place of names that end where they stand.
const NOWHERE: u8 = u8::MAX;

/// How much of a name stands in a message.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Octets of the name that come before what stands there.
    pub(super) n_new: usize,
    /// Where the rest stands; that of the root would be longer than the root.
    pub(super) pointer: Option<u16>,
    place: u8,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { places: [Place { at: 0, n_octets: 0, n_here: 0, rest: NOWHERE }; PLACES_MAX], n_places: 0 }
    }

    /// Whether no name is remembered, not even the question's.
    pub(super) fn is_empty(&self) -> bool {
        self.n_places == 0
    }

    /// Remembers the question's name and every suffix of it, the message `written` so far having a question.
    pub(super) fn add_question(&mut self, written: &[u8]) {
        if let Some(Ok((qname, _))) = written.get(QUESTION_AT..).map(take_plain_name) {
            self.add(qname, Known { n_new: qname.len(), pointer: None, place: NOWHERE }, QUESTION_AT);
        }
    }

    /// Finds the longest suffix of `name` in the message `written` so far. Letters may differ in case (RFC 4343 §4.1).
    pub(super) fn find(&self, name: &[u8], written: &[u8]) -> Known {
        let mut suffix = name;
        while suffix.len() > 1 {
            let is_same = |(_, place): &(u8, &Place)| {
                usize::from(place.n_octets) == suffix.len() && self.is(**place, suffix, written)
            };
            if let Some((number, place)) = (0..).zip(self.places()).find(is_same) {
                return Known { n_new: name.len() - suffix.len(), pointer: Some(place.at), place: number };
            }
            let Some(parent) = name::parent(suffix) else { break };
            suffix = parent;
        }
        Known { n_new: name.len(), pointer: None, place: NOWHERE }
    }

    /// Remembers the suffixes of `name` that are new to the message, the name having been written at `start` and `known` of it before.
    pub(super) fn add(&mut self, name: &[u8], known: Known, start: usize) {
        let mut suffix = name;
        while suffix.len() > 1 {
            let skipped = name.len() - suffix.len();
            let Some(n_here) = known.n_new.checked_sub(skipped).filter(|&n_here| n_here > 0) else { return };
            let at = u16::try_from(start + skipped).ok().filter(|&at| at < 0x4000);
            let lengths = u8::try_from(suffix.len()).ok().zip(u8::try_from(n_here).ok());
            let (Some(place), Some(at), Some((n_octets, n_here))) = (self.places.get_mut(self.n_places), at, lengths)
            else {
                return;
            };
            *place = Place { at, n_octets, n_here, rest: known.place };
            self.n_places += 1;
            let Some(parent) = name::parent(suffix) else { return };
            suffix = parent;
        }
    }

    /// What is remembered now, for [`rewind`](Self::rewind).
    pub(super) fn mark(&self) -> usize {
        self.n_places
    }

    /// Forgets what was added since `mark`.
    pub(super) fn rewind(&mut self, mark: usize) {
        self.n_places = mark.min(self.n_places);
    }

    fn places(&self) -> &[Place] {
        self.places.get(..self.n_places).unwrap_or_default()
    }

    /// Whether the name at `place` is `name`.
    fn is(&self, place: Place, name: &[u8], written: &[u8]) -> bool {
        let (mut place, mut name) = (place, name);
        // What a place refers to was there before it, so this ends.
        loop {
            let at = usize::from(place.at);
            let (Some((head, tail)), Some(here)) =
                (name.split_at_checked(usize::from(place.n_here)), written.get(at..at + usize::from(place.n_here)))
            else {
                return false;
            };
            // Length octets are no letters. Most names are written alike, and that is found out sooner.
            if head != here && !head.eq_ignore_ascii_case(here) {
                return false;
            }
            if tail.is_empty() {
                return true;
            }
            let Some(&rest) = self.places.get(usize::from(place.rest)) else { return false };
            (place, name) = (rest, tail);
        }
    }
}
