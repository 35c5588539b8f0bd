//! The names of a zone and what stands at them: labels and RRsets packed into one arena, ready to copy into a message.
//!
//! Layout at a [`Place`], numbers in network order: the place of the name above (4), marks (1), the label with its length before it, the
//! number of RRsets (2), the pool if there is one (index 4, TTL 4), then each RRset (type 2, TTL 4, number of records 2, octets that follow
//! 4; then for each record its length 2 and its rdata, names uncompressed and as written). So all that an answer needs of a name stands side
//! by side: in a large zone it is memory that takes the time. The apex stands first and a name before those below it. The writer, [`Packer`],
//! and the readers, [`Entry`], [`Node`] and [`Rrset`], stand together here; which records may stand together is decided elsewhere.

use super::tree::Full;
use crate::types::Ttl;

/// Where a name stands in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

impl Place {
    /// Where the apex stands. It is its own parent.
    pub(super) const APEX: Place = Place(0);
}

/// What a name is, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(u8);

impl Marks {
    /// Has NS and is not the apex.
    pub(super) const CUT: Marks = Marks(1);
    /// Has DNAME.
    pub(super) const DNAME: Marks = Marks(2);
    /// Has a child `*`.
    pub(super) const WILDCARD: Marks = Marks(4);
    /// Has POOL.
    pub(super) const POOL: Marks = Marks(8);

    /// Whether the bit of `mark` is set.
    pub(super) fn has(self, mark: Marks) -> bool {
        self.0 & mark.0 != 0
    }

    /// Sets the bits of `mark`.
    pub(super) fn add(&mut self, mark: Marks) {
        self.0 |= mark.0;
    }
}

/// One name of a zone and what stands at it.
#[derive(Clone, Copy, Debug)]
pub struct Node<'z> {
    octets: &'z [u8],
    n_rrsets: u16,
    pool: Option<(u32, Ttl)>,
}

/// A name as it stands in the arena.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'z> {
    pub(super) place: Place,
    pub(super) parent: Place,
    pub(super) marks: Marks,
    /// Lower case, without its length octet.
    pub(super) label: &'z [u8],
    /// From the number of RRsets to the end of the arena.
    octets: &'z [u8],
}

impl<'z> Entry<'z> {
    /// Reads the name at `place`, where one must have been written.
    pub(super) fn read(arena: &'z [u8], place: Place) -> Option<Self> {
        let (&[parent0, parent1, parent2, parent3, marks, length], octets) =
            arena.get(place.0 as usize..)?.split_first_chunk()?;
        let (label, octets) = octets.split_at_checked(usize::from(length))?;
        let parent = Place(u32::from_be_bytes([parent0, parent1, parent2, parent3]));
        Some(Self { place, parent, marks: Marks(marks), label, octets })
    }

    /// What stands there.
    pub(super) fn node(self) -> Node<'z> {
        let mut octets = self.octets;
        let n_rrsets = take_u16(&mut octets).unwrap_or_default();
        let mut pool = None;
        if self.marks.has(Marks::POOL) {
            pool = take_u32(&mut octets).zip(take_u32(&mut octets)).map(|(index, ttl)| (index, Ttl::from_wire(ttl)));
        }
        Node { octets, n_rrsets, pool }
    }

    /// Every name of the arena in order.
    pub(super) fn all_from(arena: &'z [u8], place: Place) -> impl Iterator<Item = Self> {
        let mut next = Some(place);
        std::iter::from_fn(move || {
            let entry = Self::read(arena, next?)?;
            let node = entry.node();
            let mut rest = node.octets;
            (0..node.n_rrsets).try_for_each(|_| take_rrset(&mut rest).map(drop))?;
            next = u32::try_from(arena.len() - rest.len()).ok().map(Place);
            Some(entry)
        })
    }
}

impl<'z> Node<'z> {
    /// The RRset of a type, if there is one. A POOL is no RRset.
    pub fn rrset(self, rtype: u16) -> Option<Rrset<'z>> {
        self.rrsets().find(|rrset| rrset.rtype == rtype)
    }

    /// Every RRset, by ascending type.
    pub fn rrsets(self) -> impl Iterator<Item = Rrset<'z>> + use<'z> {
        let mut octets = self.octets;
        (0..self.n_rrsets).map_while(move |_| take_rrset(&mut octets))
    }

    /// The index into [`Zone::pools`](super::Zone::pools) and the TTL of the POOL record that stands here.
    pub fn pool(self) -> Option<(usize, Ttl)> {
        self.pool.map(|(index, ttl)| (index as usize, ttl))
    }

    /// Whether nothing stands here: the name exists only because of names below it.
    pub fn is_empty(self) -> bool {
        self.n_rrsets == 0 && self.pool.is_none()
    }
}

/// The records of one name and type.
#[derive(Clone, Copy, Debug)]
pub struct Rrset<'z> {
    /// The type's number.
    pub rtype: u16,
    /// The same for all its records.
    pub ttl: Ttl,
    n_records: u16,
    octets: &'z [u8],
}

impl<'z> Rrset<'z> {
    /// The rdata of each record, in the file's order, in wire form: names uncompressed, letters as written.
    pub fn rdatas(self) -> impl Iterator<Item = &'z [u8]> + use<'z> {
        let mut octets = self.octets;
        (0..self.n_records).map_while(move |_| {
            let length = take_u16(&mut octets)?;
            take(&mut octets, usize::from(length))
        })
    }

    /// How many records; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an RRset without records does not exist")]
    pub fn len(self) -> usize {
        usize::from(self.n_records)
    }
}

/// Writes the arena, name by name.
#[derive(Debug, Default)]
pub(super) struct Packer {
    arena: Vec<u8>,
    /// Where the number of RRsets of the name started last is, and that number.
    count_at: usize,
    n_rrsets: u16,
}

impl Packer {
    /// A packer with room for so many octets.
    pub(super) fn with_capacity(octets: usize) -> Self {
        Self { arena: Vec::with_capacity(octets), count_at: 0, n_rrsets: 0 }
    }

    /// Starts the name `label` below the one at `parent`, which stands there already, or is the apex and started now.
    pub(super) fn start_name(
        &mut self,
        parent: Place,
        label: &[u8],
        marks: Marks,
        pool: Option<(u32, Ttl)>,
    ) -> Result<Place, Full> {
        let place = Place(u32::try_from(self.arena.len()).map_err(|_| Full)?);
        let mut marks = marks;
        if pool.is_some() {
            marks.add(Marks::POOL);
        }
        self.arena.extend_from_slice(&parent.0.to_be_bytes());
        self.arena.extend_from_slice(&[marks.0, u8::try_from(label.len()).map_err(|_| Full)?]);
        self.arena.extend_from_slice(label);
        (self.count_at, self.n_rrsets) = (self.arena.len(), 0);
        self.arena.extend_from_slice(&[0; 2]);
        if let Some((index, ttl)) = pool {
            self.arena.extend_from_slice(&index.to_be_bytes());
            self.arena.extend_from_slice(&ttl.get().to_be_bytes());
        }
        Ok(place)
    }

    /// Adds an RRset to the name started last; the caller has made sure that no two records are the same.
    pub(super) fn add_rrset<'r>(
        &mut self,
        rtype: u16,
        ttl: Ttl,
        rdatas: impl Iterator<Item = &'r [u8]>,
    ) -> Result<(), Full> {
        self.n_rrsets = self.n_rrsets.checked_add(1).ok_or(Full)?;
        if let Some(count) = self.arena.get_mut(self.count_at..).and_then(<[u8]>::first_chunk_mut) {
            *count = self.n_rrsets.to_be_bytes();
        }
        self.arena.extend_from_slice(&rtype.to_be_bytes());
        self.arena.extend_from_slice(&ttl.get().to_be_bytes());
        let counts_at = self.arena.len();
        self.arena.extend_from_slice(&[0; 6]);
        let records_at = self.arena.len();
        let mut n_records = 0u16;
        for rdata in rdatas {
            n_records = n_records.checked_add(1).ok_or(Full)?;
            self.arena.extend_from_slice(&u16::try_from(rdata.len()).map_err(|_| Full)?.to_be_bytes());
            self.arena.extend_from_slice(rdata);
        }
        let octets = u32::try_from(self.arena.len() - records_at).map_err(|_| Full)?;
        if let Some((records, rest)) =
            self.arena.get_mut(counts_at..records_at).and_then(<[u8]>::split_first_chunk_mut::<2>)
        {
            *records = n_records.to_be_bytes();
            rest.copy_from_slice(&octets.to_be_bytes());
        }
        Ok(())
    }

    /// The arena, without slack.
    pub(super) fn finish(self) -> Box<[u8]> {
        self.arena.into_boxed_slice()
    }
}

fn take<'a>(octets: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = octets.split_at_checked(length)?;
    *octets = tail;
    Some(head)
}

fn take_u16(octets: &mut &[u8]) -> Option<u16> {
    let (head, tail) = octets.split_first_chunk()?;
    *octets = tail;
    Some(u16::from_be_bytes(*head))
}

fn take_u32(octets: &mut &[u8]) -> Option<u32> {
    let (head, tail) = octets.split_first_chunk()?;
    *octets = tail;
    Some(u32::from_be_bytes(*head))
}

fn take_rrset<'z>(octets: &mut &'z [u8]) -> Option<Rrset<'z>> {
    let rtype = take_u16(octets)?;
    let ttl = Ttl::from_wire(take_u32(octets)?);
    let n_records = take_u16(octets)?;
    let length = take_u32(octets)?;
    Some(Rrset { rtype, ttl, n_records, octets: take(octets, length as usize)? })
}
