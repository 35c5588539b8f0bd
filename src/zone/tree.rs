//! The names of a zone that is being read, as a tree: one node a name, empty non-terminals and the names above the apex included.
//!
//! A node stores its own label and its parent, and one hash table finds a child by (parent, label). Nothing is ever removed. The finished
//! zone keeps its names together with what stands at them; that is the store's business.

use hashbrown::HashTable;

use super::store::Marks;

/// Index of a node in its [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u32);

impl NodeId {
    /// The root of the DNS, where every tree starts.
    pub(super) const ROOT: NodeId = NodeId(0);
}

/// A tree, a label arena or a record arena would outgrow its 32-bit offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The names of a zone.
#[derive(Debug)]
pub(super) struct Tree {
    entries: Vec<Entry>,
    /// Labels in wire form, each with its length octet, in lower case.
    labels: Vec<u8>,
    index: HashTable<NodeId>,
}

#[derive(Debug)]
struct Entry {
    /// Of the whole name: [`hash_label`] of the label and the parent's hash.
    hash: u64,
    /// The root is its own parent.
    parent: NodeId,
    label_at: u32,
    marks: Marks,
}

impl Tree {
    /// A tree of the root alone.
    pub(super) fn new() -> Self {
        let root = Entry { hash: HASH_OF_ROOT, parent: NodeId::ROOT, label_at: 0, marks: Marks::default() };
        Self { entries: vec![root], labels: vec![0], index: HashTable::new() }
    }

    /// The child of `parent` with `label`, lower case, without its length octet; adds it if it is not there yet.
    pub(super) fn child_or_insert(&mut self, parent: NodeId, label: &[u8]) -> Result<NodeId, Full> {
        let hash = hash_label(self.hash(parent), label);
        if let Some(&id) = self.index.find(hash, |&id| self.is(id, parent, label)) {
            return Ok(id);
        }
        let id = NodeId(u32::try_from(self.entries.len()).map_err(|_| Full)?);
        let label_at = u32::try_from(self.labels.len()).map_err(|_| Full)?;
        self.labels.push(u8::try_from(label.len()).map_err(|_| Full)?);
        self.labels.extend_from_slice(label);
        self.entries.push(Entry { hash, parent, label_at, marks: Marks::default() });
        let entries = &self.entries;
        self.index.insert_unique(hash, id, |&id| entries.get(id.0 as usize).map_or(HASH_OF_ROOT, |entry| entry.hash));
        if label == b"*" {
            self.mark(parent, Marks::WILDCARD);
        }
        Ok(id)
    }

    /// The label of `id` without its length octet, empty for the root.
    pub(super) fn label(&self, id: NodeId) -> &[u8] {
        self.entries.get(id.0 as usize).map_or(&[], |entry| label_in(&self.labels, entry))
    }

    /// The node above `id`; the root is its own parent.
    pub(super) fn parent(&self, id: NodeId) -> NodeId {
        self.entries.get(id.0 as usize).map_or(NodeId::ROOT, |entry| entry.parent)
    }

    /// What is known of `id`.
    pub(super) fn marks(&self, id: NodeId) -> Marks {
        self.entries.get(id.0 as usize).map_or(Marks::default(), |entry| entry.marks)
    }

    /// Adds to what is known of `id`.
    pub(super) fn mark(&mut self, id: NodeId, mark: Marks) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.marks.add(mark);
        }
    }

    /// The hash of the whole name of `id`.
    pub(super) fn hash(&self, id: NodeId) -> u64 {
        self.entries.get(id.0 as usize).map_or(HASH_OF_ROOT, |entry| entry.hash)
    }

    /// How many nodes.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Octets of all labels.
    pub(super) fn n_label_octets(&self) -> usize {
        self.labels.len()
    }

    /// Every node, a parent always before its children.
    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX)).map(NodeId)
    }

    /// The whole name of `id` in uncompressed wire form.
    pub(super) fn wire(&self, id: NodeId) -> Vec<u8> {
        let mut wire = Vec::with_capacity(32);
        let mut at = id;
        while at != NodeId::ROOT {
            let label = self.label(at);
            wire.push(u8::try_from(label.len()).unwrap_or_default());
            wire.extend_from_slice(label);
            at = self.parent(at);
        }
        wire.push(0);
        wire
    }

    /// Whether `id` is `ancestor` or below it.
    pub(super) fn is_within(&self, id: NodeId, ancestor: NodeId) -> bool {
        let mut at = id;
        // Parents have smaller numbers than their children.
        while at > ancestor {
            at = self.parent(at);
        }
        at == ancestor
    }

    fn is(&self, id: NodeId, parent: NodeId, label: &[u8]) -> bool {
        self.entries
            .get(id.0 as usize)
            .is_some_and(|entry| entry.parent == parent && label_in(&self.labels, entry) == label)
    }
}

fn label_in<'l>(labels: &'l [u8], entry: &Entry) -> &'l [u8] {
    let Some((&length, rest)) = labels.get(entry.label_at as usize..).and_then(<[u8]>::split_first) else { return &[] };
    rest.get(..usize::from(length)).unwrap_or_default()
}

/// What the hash of a name starts with; its labels follow from the right.
pub(super) const HASH_OF_ROOT: u64 = 0;

/// Hashes `label` on top of `seed`, the hash of what stands right of it.
///
/// Not keyed: clients choose the names they ask for, but not the ones that are stored, so they cannot make chains grow.
pub(super) fn hash_label(seed: u64, label: &[u8]) -> u64 {
    let mut state = fold(seed ^ 0x9e37_79b9_7f4a_7c15, 0xa076_1d64_78bd_642f ^ label.len() as u64);
    let (chunks, rest) = label.as_chunks::<8>();
    for chunk in chunks {
        state = fold(state ^ u64::from_le_bytes(*chunk), 0xe703_7ed1_a0b4_28db);
    }
    // What is left in at most two reads, which overlap: the length is in the state already.
    let tail = match (label.last_chunk::<8>(), rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        _ if rest.is_empty() => 0,
        (Some(last), ..) => u64::from_le_bytes(*last),
        (None, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => rest.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    };
    fold(state ^ tail, 0x8ebc_6af0_9c88_c6e3)
}

/// Both halves of the 128-bit product.
#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}
