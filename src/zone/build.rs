//! Collects the records of a zone, holds them against the rules of a zone, and packs them.
//!
//! Records come in the file's order; they are sorted by name and type once, at the end. What one record alone can do wrong was found
//! before; here are the rules between records, in [`rules`].

use std::{collections::HashMap, sync::Arc};

use super::{
    PoolUse, Soa, Zone,
    findings::{Findings, Spot},
    index::Index,
    rtype, rules,
    store::{Marks, Packer, Place},
    tree::{Full, NodeId, Tree},
};
use crate::{name::Name, types::Ttl};

/// Stands for POOL among the types of staged records; 0 is no type (RFC 6895 §3.1), and no such record gets this far.
pub(super) const POOL_TYPE: u16 = 0;

/// Octets of a name in the store beside its label.
const NAME_HEAD_OCTETS: usize = 8;
/// Octets of a record in a message before its rdata, the owner being a pointer.
const RECORD_HEAD_OCTETS: usize = 12;
/// Most octets of an RRset's records: a message less its header, its longest question and OPT.
const RRSET_OCTETS_MAX: usize = 65_535 - 12 - 259 - 11;

/// A record as it waits to be packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staged {
    pub(super) node: NodeId,
    pub(super) rtype: u16,
    n_octets: u16,
    pub(super) ttl: Ttl,
    /// Where its rdata is, or the index of its pool.
    at: u32,
    pub(super) spot: Spot,
}

/// The records of a zone that is being read.
#[derive(Debug)]
pub(super) struct Builder {
    pub(super) tree: Tree,
    records: Vec<Staged>,
    rdata: Vec<u8>,
    soas: Vec<Staged>,
    pools: Vec<PoolUse>,
    pool_index: HashMap<Box<str>, u32>,
    /// Whether the records come from a primary, and not from an operator.
    pub(super) is_copy: bool,
}

impl Builder {
    /// A builder with room for what a file of `n_octets` may hold.
    pub(super) fn new(n_octets: usize, is_copy: bool) -> Self {
        // A record with its line end takes some thirty bytes of text at least.
        let records = Vec::with_capacity(n_octets / 32);
        let (pools, pool_index) = (Vec::new(), HashMap::new());
        Self { tree: Tree::new(), records, rdata: Vec::new(), soas: Vec::new(), pools, pool_index, is_copy }
    }

    /// Where the rdata of the next record is appended before [`add`](Self::add).
    pub(super) fn rdata(&mut self) -> &mut Vec<u8> {
        &mut self.rdata
    }

    /// Adds a record, its rdata being what was appended since `rdata_start`; at most 65,535 octets.
    pub(super) fn add(
        &mut self,
        node: NodeId,
        rtype: u16,
        ttl: Ttl,
        rdata_start: usize,
        spot: Spot,
    ) -> Result<(), Full> {
        let at = u32::try_from(rdata_start).map_err(|_| Full)?;
        let n_octets = u16::try_from(self.rdata.len() - rdata_start).map_err(|_| Full)?;
        let record = Staged { node, rtype, n_octets, ttl, at, spot };
        if rtype == rtype::SOA {
            self.soas.push(record);
        }
        self.records.push(record);
        Ok(())
    }

    /// Adds a POOL record; `pool` makes the place of the pool's first use.
    pub(super) fn add_pool(
        &mut self,
        node: NodeId,
        ttl: Ttl,
        name: &str,
        spot: Spot,
        pool: impl FnOnce() -> PoolUse,
    ) -> Result<(), Full> {
        let at = match self.pool_index.get(name) {
            Some(&index) => index,
            None => {
                let index = u32::try_from(self.pools.len()).map_err(|_| Full)?;
                self.pools.push(pool());
                self.pool_index.insert(name.into(), index);
                index
            }
        };
        self.records.push(Staged { node, rtype: POOL_TYPE, n_octets: 0, ttl, at, spot });
        Ok(())
    }

    /// The rdata of a record in wire form, empty for a POOL.
    pub(super) fn rdata_of(&self, record: &Staged) -> &[u8] {
        let octets = self.rdata.get(record.at as usize..).and_then(|octets| octets.get(..usize::from(record.n_octets)));
        if record.rtype == POOL_TYPE { &[] } else { octets.unwrap_or_default() }
    }

    /// Where the SOA is.
    pub(super) fn soa_spot(&self) -> Option<Spot> {
        self.soas.first().map(|soa| soa.spot)
    }

    /// The name of a pool, by POOL record.
    pub(super) fn pool_of(&self, record: &Staged) -> &str {
        self.pools.get(record.at as usize).map_or("", |pool| &pool.name)
    }

    /// Makes the zone. `None` if there were errors, now or before; they are in `findings`.
    pub(super) fn finish(mut self, findings: &mut Findings<'_>) -> Option<Zone> {
        let soa = self.only_soa(findings)?;
        let mut records = std::mem::take(&mut self.records);
        // A file that keeps the records of a name together is sorted already, or nearly.
        records.sort_by_key(|record| (record.node, record.rtype));
        let mut at_names = records.chunk_by(|left, right| left.node == right.node).peekable();
        let n_name_octets = self.tree.len() * NAME_HEAD_OCTETS + self.tree.n_label_octets();
        let mut packer = Packer::with_capacity(self.rdata.len() + records.len() * 14 + n_name_octets);
        let mut places = vec![Place::APEX; self.tree.len()];
        let mut packed = Vec::with_capacity(self.tree.len());
        let (mut n_names, mut n_records) = (0, 0);
        // A name comes after the one above it.
        for node in self.tree.ids() {
            let is_here = |at_name: &&[Staged]| at_name.first().is_some_and(|first| first.node == node);
            let at_name = at_names.next_if(is_here).unwrap_or_default();
            if !self.tree.is_within(node, soa.node) {
                findings.set_lenient(self.is_copy);
                rules::refuse_outside(&self, findings, soa.node, at_name);
                findings.set_lenient(false);
                continue;
            }
            // What a primary serves we serve too, sloppy or not.
            findings.set_lenient(self.is_copy);
            rules::check_name(&self, findings, soa.node, at_name);
            findings.set_lenient(false);
            n_names += usize::from(!at_name.is_empty());
            let parent = places.get(self.tree.parent(node).0 as usize).copied().unwrap_or_default();
            match self.pack_name(findings, &mut packer, soa.node, parent, node, at_name) {
                Ok((place, n_packed)) => {
                    n_records += n_packed;
                    // The apex is where every search starts; none leads there.
                    if node != soa.node {
                        packed.push((self.tree.hash(node), place));
                    }
                    if let Some(slot) = places.get_mut(node.0 as usize) {
                        *slot = place;
                    }
                }
                Err(Full) => {
                    let spot = at_name.first().map_or(soa.spot, |first| first.spot);
                    findings.error(spot, "zone is too large: more than 4 GiB of records");
                }
            }
            if findings.is_full() {
                return None;
            }
        }
        let apex = Name::from_wire(&self.tree.wire(soa.node)).ok()?;
        let serial_and_minimum = soa_numbers(self.rdata_of(&soa));
        let Some((serial, minimum)) = serial_and_minimum else {
            findings.error(soa.spot, "SOA has no serial");
            return None;
        };
        let zone = Zone {
            apex,
            apex_hash: self.tree.hash(soa.node),
            names: packer.finish(),
            index: Index::new(packed.into_iter()),
            pools: std::mem::take(&mut self.pools).into(),
            soa: Soa { serial, negative_ttl: soa.ttl.min(minimum) },
            n_records,
            n_names,
        };
        rules::check_zone(&self, findings, &zone, &soa, &records);
        (!findings.has_errors()).then_some(zone)
    }

    /// The SOA. There must be one and no other; without one nothing else can be judged.
    fn only_soa(&self, findings: &mut Findings<'_>) -> Option<Staged> {
        let Some((&first, others)) = self.soas.split_first() else {
            // Where something could not be read, that may have been the SOA.
            if !findings.has_errors() {
                let whole = Spot { file: super::findings::FileId(0), start: 0, end: 0 };
                findings.error_hint(
                    whole,
                    "zone has no SOA",
                    "the first record of a zone is its SOA; its owner is the apex",
                );
            }
            return None;
        };
        for other in others {
            if findings.is_full() {
                break;
            }
            let line = findings.line(first.spot, other.spot);
            findings.error(other.spot, format!("second SOA; the zone's is on {line}"));
        }
        Some(first)
    }

    /// Packs one name and what stands there; returns its place and how many records that are.
    fn pack_name(
        &mut self,
        findings: &mut Findings<'_>,
        packer: &mut Packer,
        apex: NodeId,
        parent: Place,
        node: NodeId,
        at_name: &[Staged],
    ) -> Result<(Place, usize), Full> {
        for record in at_name {
            match record.rtype {
                rtype::NS if node != apex => self.tree.mark(node, Marks::CUT),
                rtype::DNAME => self.tree.mark(node, Marks::DNAME),
                _ => {}
            }
        }
        let pool = at_name.iter().find(|record| record.rtype == POOL_TYPE).map(|record| (record.at, record.ttl));
        let place = packer.start_name(parent, self.tree.label(node), self.tree.marks(node), pool)?;
        let mut n_packed = usize::from(pool.is_some());
        for rrset in at_name.chunk_by(|left, right| left.rtype == right.rtype) {
            let Some(first) = rrset.first().filter(|first| first.rtype != POOL_TYPE) else { continue };
            if let [only] = rrset {
                packer.add_rrset(only.rtype, only.ttl, std::iter::once(self.rdata_of(only)))?;
                n_packed += 1;
                continue;
            }
            let distinct = rules::without_duplicates(self, rrset);
            let octets: usize = distinct.iter().map(|record| RECORD_HEAD_OCTETS + usize::from(record.n_octets)).sum();
            if octets > RRSET_OCTETS_MAX {
                let message = format!("{} records of one name and type fit no message", distinct.len());
                findings.error_hint(first.spot, message, "a DNS message is at most 65,535 octets");
                continue;
            }
            n_packed += distinct.len();
            // The TTLs differ only where that is right, or where a primary is sloppy (RFC 2181 §5.2).
            let least =
                rrset.iter().map(|record| record.ttl).min().filter(|_| self.is_copy && first.rtype != rtype::RRSIG);
            let ttl = least.unwrap_or(first.ttl);
            packer.add_rrset(first.rtype, ttl, distinct.iter().map(|record| self.rdata_of(record)))?;
        }
        Ok((place, n_packed))
    }
}

/// Serial and MINIMUM of a SOA's rdata: both stand at fixed places before its end.
fn soa_numbers(rdata: &[u8]) -> Option<(u32, Ttl)> {
    let numbers = rdata.last_chunk::<20>()?;
    let (serial, rest) = numbers.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*serial), Ttl::from_wire(u32::from_be_bytes(*rest.last_chunk()?))))
}

/// The place of a pool's first use: the line is copied, the rest of the file is not kept.
pub(super) fn pool_use(
    findings: &Findings<'_>,
    name: &str,
    name_spot: Spot,
    entry_line: u32,
    entry_start: u32,
) -> PoolUse {
    let text = findings.text(name_spot.file);
    let (before, after) = text.split_at_checked(name_spot.start as usize).unwrap_or((text, ""));
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = before.len() + after.find(['\n', '\r']).unwrap_or(after.len());
    let in_entry = before.get(entry_start as usize..).unwrap_or_default();
    let lines_before = u32::try_from(in_entry.bytes().filter(|&byte| byte == b'\n').count()).unwrap_or(u32::MAX);
    PoolUse {
        name: name.into(),
        path: findings.path(name_spot.file).cloned().unwrap_or_else(|| Arc::from(std::path::Path::new(""))),
        line: entry_line.saturating_add(lines_before),
        column: u32::try_from(before.len() - line_start).unwrap_or(u32::MAX),
        line_text: text.get(line_start..line_end).unwrap_or_default().into(),
    }
}
