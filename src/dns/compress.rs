//! Name compression (RFC 1035 §4.1.4): which names stand in a message already, and where.

use super::query::{QUESTION_AT, take_plain_name};
use crate::name;

/// Names that are remembered; a message with more is correct and a little longer than it might be.
const NAMES_MAX: usize = 48;

/// The names of one message that can be pointed at, every suffix for itself.
pub(super) struct Names {
    places: [Place; NAMES_MAX],
    n_places: usize,
}

#[derive(Clone, Copy)]
struct Place {
    /// Octet of the message where the name starts, below 2^14.
    at: u16,
    /// Octets of the name uncompressed: most comparisons end here.
    n_octets: u8,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { places: [Place { at: 0, n_octets: 0 }; NAMES_MAX], n_places: 0 }
    }

    /// Whether no name is remembered, not even the question's.
    pub(super) fn is_empty(&self) -> bool {
        self.n_places == 0
    }

    /// Remembers the question's name and every suffix of it, the message `written` so far having a question.
    pub(super) fn add_question(&mut self, written: &[u8]) {
        if let Some(Ok((qname, _))) = written.get(QUESTION_AT..).map(take_plain_name) {
            self.add(qname, qname.len(), QUESTION_AT);
        }
    }

    /// Finds the longest suffix of `name` in the message `written` so far: how many octets of `name` come before it, and where it is.
    /// Letters may differ in case (RFC 4343 §4.1).
    pub(super) fn compress(&self, name: &[u8], written: &[u8]) -> (usize, Option<u16>) {
        let mut suffix = name;
        // The root is shorter than a pointer to it.
        while suffix.len() > 1 {
            if let Some(place) = self.places().iter().find(|place| place.is(suffix, written)) {
                return (name.len() - suffix.len(), Some(place.at));
            }
            let Some(parent) = name::parent(suffix) else { break };
            suffix = parent;
        }
        (name.len(), None)
    }

    /// Remembers the suffixes of `name` that start within its first `n_octets`, the name having been written at `start`.
    pub(super) fn add(&mut self, name: &[u8], n_octets: usize, start: usize) {
        let mut suffix = name;
        while suffix.len() > 1 {
            let skipped = name.len() - suffix.len();
            let Some(at) = u16::try_from(start + skipped).ok().filter(|&at| at < 0x4000) else { return };
            let (Some(place), Ok(suffix_octets)) = (self.places.get_mut(self.n_places), u8::try_from(suffix.len()))
            else {
                return;
            };
            if skipped >= n_octets {
                return;
            }
            *place = Place { at, n_octets: suffix_octets };
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
}

impl Place {
    /// Whether the name here is `name`.
    fn is(self, name: &[u8], written: &[u8]) -> bool {
        if usize::from(self.n_octets) != name.len() {
            return false;
        }
        let mut at = usize::from(self.at);
        for label in name::labels(name) {
            // Pointers lead backwards, as we wrote them; each label is compared once, so this ends.
            let Some(start) = label_start(written, at) else { return false };
            let Some((&length, rest)) = written.get(start..).and_then(<[u8]>::split_first) else { return false };
            let is_same = usize::from(length) == label.len()
                && rest.get(..label.len()).is_some_and(|other| other.eq_ignore_ascii_case(label));
            if !is_same {
                return false;
            }
            at = start + 1 + label.len();
        }
        true
    }
}

/// Where the label at `at` starts, over a pointer if there is one. A pointer of ours never leads to another.
fn label_start(written: &[u8], at: usize) -> Option<usize> {
    match *written.get(at)? {
        high @ 192.. => Some(usize::from(high & 0x3f) << 8 | usize::from(*written.get(at + 1)?)),
        _ => Some(at),
    }
}
