//! Name compression (RFC 1035 §4.1.4): which names stand in a message already, and where.
//!
//! What is remembered are labels, each with the name that follows it, so a name is looked up from the right, one comparison a label, whatever
//! pointers the message has.

use super::query::{QUESTION_AT, take_plain_name};
use crate::name::NAME_OCTETS_MAX;

/// Labels that are remembered; a message with more is correct and a little longer than it might be.
const PLACES_MAX: usize = 48;

/// The names of one message that can be pointed at.
pub(super) struct Names {
    places: [Place; PLACES_MAX],
    n_places: usize,
}

/// A label in the message and what follows it: one name.
#[derive(Clone, Copy)]
struct Place {
    /// Octet of the message where the label starts, below 2^14.
    at: u16,
    /// Octets of the name uncompressed.
    n_octets: u8,
    /// Where the rest of the name is: which place, or [`ROOT`].
    rest: u8,
}

/// Number of the name that nobody points at: it is shorter than a pointer.
const ROOT: u8 = u8::MAX;

/// How much of a name stands in a message.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Octets of the name that come before what stands there.
    pub(super) n_new: usize,
    /// Where the rest stands, if it is more than the root.
    pub(super) pointer: Option<u16>,
    place: u8,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { places: [Place { at: 0, n_octets: 0, rest: ROOT }; PLACES_MAX], n_places: 0 }
    }

    /// Whether no name is remembered, not even the question's.
    pub(super) fn is_empty(&self) -> bool {
        self.n_places == 0
    }

    /// Remembers the question's name and every suffix of it, the message `written` so far having a question.
    pub(super) fn add_question(&mut self, written: &[u8]) {
        if let Some(Ok((qname, _))) = written.get(QUESTION_AT..).map(take_plain_name) {
            self.add(qname, Known { n_new: qname.len(), pointer: None, place: ROOT }, QUESTION_AT);
        }
    }

    /// Finds the longest suffix of `name` in the message `written` so far. Letters may differ in case (RFC 4343 §4.1).
    pub(super) fn find(&self, name: &[u8], written: &[u8]) -> Known {
        let mut known = Known { n_new: name.len(), pointer: None, place: ROOT };
        let mut starts = [0; NAME_OCTETS_MAX / 2];
        for &start in label_starts(name, &mut starts).iter().rev() {
            let start = usize::from(start);
            let Some(suffix) = name.get(start..) else { break };
            let is_same = |&(_, place): &(u8, &Place)| {
                usize::from(place.n_octets) == suffix.len() && place.rest == known.place && place.is(suffix, written)
            };
            let Some((number, place)) = (0..).zip(self.places()).find(is_same) else { break };
            known = Known { n_new: start, pointer: Some(place.at), place: number };
        }
        known
    }

    /// Remembers the suffixes of `name` that are new to the message, the name having been written at `start` and `known` of it before.
    pub(super) fn add(&mut self, name: &[u8], known: Known, start: usize) {
        let mut starts = [0; NAME_OCTETS_MAX / 2];
        let mut rest = known.place;
        for &label in label_starts(name, &mut starts).iter().rev().skip_while(|&&at| usize::from(at) >= known.n_new) {
            let at = u16::try_from(start + usize::from(label)).ok().filter(|&at| at < 0x4000);
            let (Some(at), Some(place)) = (at, self.places.get_mut(self.n_places)) else { return };
            let (Ok(n_octets), Ok(number)) =
                (u8::try_from(name.len() - usize::from(label)), u8::try_from(self.n_places))
            else {
                return;
            };
            *place = Place { at, n_octets, rest };
            rest = number;
            self.n_places += 1;
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
}

impl Place {
    /// Whether the label here is the first one of `name`.
    fn is(self, name: &[u8], written: &[u8]) -> bool {
        let (here, first) = (written.get(usize::from(self.at)..).and_then(first_label), first_label(name));
        here.zip(first).is_some_and(|(here, first)| here.eq_ignore_ascii_case(first))
    }
}

/// The first label of a name with its length octet, which is no letter.
fn first_label(name: &[u8]) -> Option<&[u8]> {
    name.get(..=usize::from(*name.first()?))
}

/// Where the labels of an uncompressed name start, the root's left out.
fn label_starts<'s>(name: &[u8], starts: &'s mut [u8; NAME_OCTETS_MAX / 2]) -> &'s [u8] {
    let (mut at, mut n_labels) = (0u8, 0);
    while let Some(&length) = name.get(usize::from(at)).filter(|&&length| length > 0) {
        let (Some(start), Some(next)) =
            (starts.get_mut(n_labels), at.checked_add(length).and_then(|at| at.checked_add(1)))
        else {
            break;
        };
        *start = at;
        n_labels += 1;
        at = next;
    }
    starts.get(..n_labels).unwrap_or_default()
}
