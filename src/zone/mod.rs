//! Authoritative data: a master file (RFC 1035 §5) becomes a [`Zone`], immutable and packed, and a name is looked up in it.
//!
//! Says what stands at a name, not what to answer: referrals, CNAME chains and negative answers are made by the DNS code. Knows pools by
//! name only; what they are is decided when a snapshot is made ([`ServedZone`]).
//!
//! The way of the data: [`directory`] finds files → `entry` splits one into entries → `scan` reads directives and records → `rdata` makes wire
//! form → `tree` has the names so far → `build` holds the rules of a zone and packs → `store` keeps names and RRsets → `lookup` finds them by `index`.

mod build;
pub mod directory;
mod entry;
mod fields;
mod file;
mod findings;
mod generate;
mod include;
mod index;
mod location;
mod lookup;
mod rdata;
pub mod rtype;
mod rules;
mod scan;
mod set;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod ttl;
mod words;

use std::{path::Path, sync::Arc};

pub use lookup::Found;
pub use set::{ServedZone, ZoneSet};
pub use store::{Node, Rrset};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Severity, Source},
    name::Name,
    types::Ttl,
};
use index::Index;
use store::{Entry, Place};

/// The record type that hands a name to a pool, as master files spell it. It has no number: it is never on the wire.
pub const POOL: &str = "POOL";

/// An authoritative zone: immutable, built once, packed into a few large allocations.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    /// [`hash_label`](tree::hash_label) of all its labels.
    apex_hash: u64,
    /// See [`store`].
    names: Box<[u8]>,
    index: Index,
    pools: Box<[PoolUse]>,
    soa: Soa,
    n_records: usize,
    n_names: usize,
}

/// The fields of the SOA that are asked for often.
#[derive(Clone, Copy, Debug)]
struct Soa {
    serial: u32,
    negative_ttl: Ttl,
}

/// A pool that POOL records of a zone name, at the place of the first of them.
#[derive(Clone, Debug)]
pub struct PoolUse {
    /// The pool's name.
    pub name: Box<str>,
    /// The file.
    pub path: Arc<Path>,
    /// Line of the name, from 1.
    pub line: u32,
    /// Byte in the line where the name starts, from 0.
    column: u32,
    /// The line itself: the zone does not keep its file's text.
    line_text: Box<str>,
}

impl PoolUse {
    /// A finding that points at the pool's name in the zone file.
    pub fn diagnostic(&self, severity: Severity, message: impl Into<String>) -> Diagnostic {
        // A source is pointed into by byte; empty lines before the one that was kept give that one its number.
        let n_before = self.line.saturating_sub(1) as usize;
        let mut text = "\n".repeat(n_before);
        text.push_str(&self.line_text);
        let start = n_before + self.column as usize;
        let source = Source::new(&self.path, text);
        Diagnostic { severity, ..Diagnostic::error(&source, start..start + self.name.len(), message) }
    }
}

impl Zone {
    /// Reads the zone in `text`, the content of the master file at `path`: names are relative to the file's name without `.zone` until the
    /// file says otherwise, and files that it includes are read from `path`'s directory. The SOA's owner is the apex.
    ///
    /// # Errors
    /// Everything that is wrong, each at its place, and what is only strange as well. Without errors the warnings come with the zone.
    pub fn from_text(path: &Path, text: &str) -> Result<(Zone, Diagnostics), Diagnostics> {
        scan::scan(path, text).zone
    }

    /// Reads the zone in `text` as a primary has sent it: what breaks the rules of a zone is a warning here as far as it can be served, records
    /// outside of the zone are left out, and of different TTLs in one RRset the least counts.
    ///
    /// # Errors
    /// As for [`from_text`](Self::from_text), but fewer.
    pub fn from_transfer(path: &Path, text: &str) -> Result<(Zone, Diagnostics), Diagnostics> {
        scan::scan_as(path, text, true).zone
    }

    /// The zone's topmost name.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA's serial.
    pub fn serial(&self) -> u32 {
        self.soa.serial
    }

    /// How many records, POOL records included.
    pub fn n_records(&self) -> usize {
        self.n_records
    }

    /// How many names have records.
    pub fn n_names(&self) -> usize {
        self.n_names
    }

    /// Every pool that a POOL record names, each once; [`Node::pool`] gives an index into it.
    pub fn pools(&self) -> &[PoolUse] {
        &self.pools
    }

    /// The SOA.
    #[expect(clippy::expect_used, reason = "no zone is built without")]
    pub fn soa(&self) -> Rrset<'_> {
        Entry::read(&self.names, Place::APEX).and_then(|apex| apex.node().rrset(rtype::SOA)).expect("a zone has a SOA")
    }

    /// The TTL of the SOA in negative answers: the lesser of its own TTL and MINIMUM (RFC 2308 §3, §5).
    pub fn negative_ttl(&self) -> Ttl {
        self.soa.negative_ttl
    }

    /// One step of the way of [`iter`](Self::iter), for who cannot hold a borrow meanwhile: the name at `place`, first 0, and the next place.
    /// `None` at the end.
    pub fn walk(&self, place: usize) -> Option<(usize, Name, Node<'_>)> {
        let mut entries = self.read_from(u32::try_from(place).ok()?);
        let (_, wire, node) = entries.next()?;
        let next = entries.next().map_or(usize::MAX, |(place, ..)| place as usize);
        Some((next, Name::from_wire(&wire).ok()?, node))
    }

    /// Every name, empty non-terminals included, the apex first and a name before those below it.
    pub fn iter(&self) -> impl Iterator<Item = (Name, Node<'_>)> {
        self.read_all().filter_map(|(wire, node)| Some((Name::from_wire(&wire).ok()?, node)))
    }
}
