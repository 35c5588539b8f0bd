//! Finding a name in a zone: exact, below a cut or a DNAME, by wildcard, or not at all (RFC 1034 §4.3.2, RFC 4592, RFC 6672).
//!
//! Walks down from the apex, one probe a label, and stops at the first cut or DNAME: what is below one is occluded and never answers. Says
//! what was found, not what to answer.

use super::{
    Zone,
    store::{Marks, Node},
    tree::NodeId,
};
use crate::name::NAME_OCTETS_MAX;

/// What stands at a name, or instead of it.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z> {
    /// The name exists. It may be an empty non-terminal, and `*` itself is found exactly too.
    Exact(Node<'z>),
    /// A delegation at or above the name, the topmost; never the apex.
    Cut {
        /// The cut, with its NS and perhaps DS.
        node: Node<'z>,
        /// Length of the cut's name in wire form: it is this long a suffix of the name that was looked for.
        owner_octets: usize,
        /// Whether the name is the cut itself, where DS is the parent's to answer (RFC 4035 §3.1.4.1).
        is_owner: bool,
    },
    /// The name is strictly below a DNAME.
    Dname {
        /// The DNAME's owner.
        node: Node<'z>,
        /// Length of the owner's name in wire form: it is this long a suffix of the name that was looked for.
        owner_octets: usize,
    },
    /// The name does not exist, but `*` right below its closest encloser does (RFC 4592 §3.3).
    Wildcard {
        /// The `*`; may be an empty non-terminal.
        node: Node<'z>,
        /// Length of the closest encloser's name in wire form, a suffix of the name that was looked for.
        encloser_octets: usize,
    },
    /// NXDOMAIN.
    Missing,
}

/// Most labels in a name, the root left out.
const LABELS_MAX: usize = NAME_OCTETS_MAX / 2;

impl Zone {
    /// Finds `qname`: uncompressed wire form, lower case, at or below the apex. Costs one probe a label below the apex; allocates nothing.
    pub fn find(&self, qname: &[u8]) -> Found<'_> {
        let mut starts = [0; LABELS_MAX];
        let Some(starts) = self.label_starts(qname, &mut starts) else { return Found::Missing };
        let mut at = self.apex_id;
        // Octets of the name that `at` stands for.
        let mut owner_octets = self.apex.as_wire().len();
        for &start in starts.iter().rev() {
            let marks = self.tree.extent(at).marks;
            if marks.has(Marks::CUT) {
                return Found::Cut { node: self.read(at), owner_octets, is_owner: false };
            }
            if marks.has(Marks::DNAME) {
                return Found::Dname { node: self.read(at), owner_octets };
            }
            match self.tree.child(at, label_at(qname, start)) {
                Some(child) => at = child,
                None if marks.has(Marks::WILDCARD) => {
                    let Some(wildcard) = self.tree.child(at, b"*") else { return Found::Missing };
                    return Found::Wildcard { node: self.read(wildcard), encloser_octets: owner_octets };
                }
                None => return Found::Missing,
            }
            owner_octets = qname.len() - usize::from(start);
        }
        let node = self.read(at);
        if self.tree.extent(at).marks.has(Marks::CUT) {
            return Found::Cut { node, owner_octets, is_owner: true };
        }
        Found::Exact(node)
    }

    /// The node of exactly `name`, cuts and wildcards ignored: glue and additional data. `name` as for [`find`](Self::find), but may be
    /// outside the zone, where nothing is.
    pub fn node(&self, name: &[u8]) -> Option<Node<'_>> {
        let mut starts = [0; LABELS_MAX];
        let starts = self.label_starts(name, &mut starts)?;
        let found =
            starts.iter().rev().try_fold(self.apex_id, |at, &start| self.tree.child(at, label_at(name, start)))?;
        Some(self.read(found))
    }

    fn read(&self, id: NodeId) -> Node<'_> {
        Node::read(&self.records, self.tree.extent(id))
    }

    /// Where the labels of `name` below the apex start, from the left; `None` if it is not within the zone or not a name.
    fn label_starts<'s>(&self, name: &[u8], starts: &'s mut [u8; LABELS_MAX]) -> Option<&'s [u8]> {
        let above = name.len().checked_sub(self.apex.as_wire().len())?;
        let mut at = 0;
        let mut n_labels = 0;
        while at < above {
            *starts.get_mut(n_labels)? = u8::try_from(at).ok()?;
            n_labels += 1;
            at += 1 + usize::from(*name.get(at)?);
        }
        if at != above || name.get(above..)? != self.apex.as_wire() {
            return None;
        }
        starts.get(..n_labels)
    }

    pub(super) fn read_all(&self) -> impl Iterator<Item = (NodeId, Node<'_>)> {
        let below = self.tree.ids().filter(|&id| id != self.apex_id && self.tree.is_within(id, self.apex_id));
        std::iter::once(self.apex_id).chain(below).map(|id| (id, self.read(id)))
    }
}

fn label_at(name: &[u8], start: u8) -> &[u8] {
    let Some((&length, rest)) = name.get(usize::from(start)..).and_then(<[u8]>::split_first) else { return &[] };
    rest.get(..usize::from(length)).unwrap_or_default()
}
