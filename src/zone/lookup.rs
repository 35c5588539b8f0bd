//! Finding a name in a zone: exact, below a cut or a DNAME, by wildcard, or not at all (RFC 1034 §4.3.2, RFC 4592, RFC 6672).
//!
//! Walks down from the apex, one probe a label, and stops at the first cut or DNAME: what is below one is occluded and never answers. Says
//! what was found, not what to answer.

use super::{
    Zone,
    store::{Entry, Marks, Node, Place},
    tree::hash_label,
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
        let Some(mut at) = Entry::read(&self.names, Place::APEX) else { return Found::Missing };
        let mut hash = self.apex_hash;
        // Octets of the name that `at` stands for.
        let mut owner_octets = self.apex.as_wire().len();
        for &start in starts.iter().rev() {
            if at.marks.has(Marks::CUT) {
                return Found::Cut { node: at.node(), owner_octets, is_owner: false };
            }
            if at.marks.has(Marks::DNAME) {
                return Found::Dname { node: at.node(), owner_octets };
            }
            let label = label_at(qname, start);
            let hash_below = hash_label(hash, label);
            match self.below(at.place, hash_below, label) {
                Some(below) => (at, hash) = (below, hash_below),
                None if at.marks.has(Marks::WILDCARD) => {
                    let wildcard = self.below(at.place, hash_label(hash, b"*"), b"*");
                    let Some(wildcard) = wildcard else { return Found::Missing };
                    return Found::Wildcard { node: wildcard.node(), encloser_octets: owner_octets };
                }
                None => return Found::Missing,
            }
            owner_octets = qname.len() - usize::from(start);
        }
        if at.marks.has(Marks::CUT) {
            return Found::Cut { node: at.node(), owner_octets, is_owner: true };
        }
        Found::Exact(at.node())
    }

    /// The node of exactly `name`, cuts and wildcards ignored: glue and additional data. `name` as for [`find`](Self::find), but may be
    /// outside the zone, where nothing is.
    pub fn node(&self, name: &[u8]) -> Option<Node<'_>> {
        let mut starts = [0; LABELS_MAX];
        let starts = self.label_starts(name, &mut starts)?;
        let apex = (Entry::read(&self.names, Place::APEX)?, self.apex_hash);
        let (found, _) = starts.iter().rev().try_fold(apex, |(at, hash), &start| {
            let label = label_at(name, start);
            let hash = hash_label(hash, label);
            Some((self.below(at.place, hash, label)?, hash))
        })?;
        Some(found.node())
    }

    /// The name `label` right below the one at `parent`, its whole name having this hash.
    fn below(&self, parent: Place, hash: u64, label: &[u8]) -> Option<Entry<'_>> {
        let mut entries = self.index.find(hash).filter_map(|place| Entry::read(&self.names, place));
        entries.find(|entry| entry.parent == parent && entry.label == label)
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

    /// Every name with what stands there, the apex first and a name before those below it.
    pub(super) fn read_all(&self) -> impl Iterator<Item = (Vec<u8>, Node<'_>)> {
        self.read_from(0).map(|(_, wire, node)| (wire, node))
    }

    /// The same from a place on, each name with its own.
    pub(super) fn read_from(&self, place: u32) -> impl Iterator<Item = (u32, Vec<u8>, Node<'_>)> {
        let entries = Entry::all_from(&self.names, Place(place));
        entries.map(|entry| (entry.place.0, self.wire(entry), entry.node()))
    }

    /// The whole name in uncompressed wire form.
    fn wire(&self, entry: Entry<'_>) -> Vec<u8> {
        let mut wire = Vec::with_capacity(NAME_OCTETS_MAX);
        let mut at = Some(entry);
        // A name stands after the one above it, so this ends at the apex.
        while let Some(entry) = at.filter(|entry| entry.place != Place::APEX) {
            wire.push(u8::try_from(entry.label.len()).unwrap_or_default());
            wire.extend_from_slice(entry.label);
            at = Entry::read(&self.names, entry.parent);
        }
        wire.extend_from_slice(self.apex.as_wire());
        wire
    }
}

fn label_at(name: &[u8], start: u8) -> &[u8] {
    let Some((&length, rest)) = name.get(usize::from(start)..).and_then(<[u8]>::split_first) else { return &[] };
    rest.get(..usize::from(length)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        path::Path,
    };

    use proptest::prelude::*;

    use super::*;
    use crate::{name::Name, zone::rtype};

    /// What was found as `kind`, the owner that decides, and the types there.
    type Answer = (&'static str, String, Vec<u16>);

    fn name(text: &str) -> Name {
        text.parse().expect(text)
    }

    fn zone(records: &str) -> Zone {
        let text = format!("$TTL 300\n@ SOA ns h 1 2 3 4 60\n@ NS ns.example.net.\n{records}");
        Zone::from_text(Path::new("example.org.zone"), &text).expect("zone").0
    }

    fn types(node: Node<'_>) -> Vec<u16> {
        node.rrsets().map(|rrset| rrset.rtype).collect()
    }

    fn find(zone: &Zone, qname: &Name) -> Answer {
        let wire = qname.as_wire();
        let suffix = |octets: usize| Name::from_wire(&wire[wire.len() - octets..]).expect("suffix").to_string();
        match zone.find(wire) {
            Found::Exact(node) => ("exact", qname.to_string(), types(node)),
            Found::Cut { node, owner_octets, is_owner } => {
                assert_eq!(is_owner, owner_octets == wire.len());
                ("cut", suffix(owner_octets), types(node))
            }
            Found::Dname { node, owner_octets } => {
                assert!(owner_octets < wire.len());
                ("dname", suffix(owner_octets), types(node))
            }
            Found::Wildcard { node, encloser_octets } => {
                ("wildcard", format!("*.{}", suffix(encloser_octets)), types(node))
            }
            Found::Missing => ("missing", String::new(), Vec::new()),
        }
    }

    fn check(records: &str, qname: &str, expected: &str) {
        let zone = zone(records);
        let (kind, owner, types) = find(&zone, &name(qname));
        let types: Vec<String> = types.into_iter().map(rtype::show).collect();
        assert_eq!(format!("{kind} {owner} {}", types.join(" ")).trim(), expected, "{qname} in {records}");
    }

    /// The zone of RFC 4592 §2.2.1, under its own names.
    const RFC4592: &str = "* TXT x\n* MX 10 host1\nsub.* TXT x\nhost1 A 192.0.2.1\n_ssh._tcp.host1 SRV 0 0 1 .\n_ssh._tcp.host2 SRV 0 0 1 .\n\
                           subdel NS ns.example.com.\n";

    #[test]
    fn rfc4592_2_2_1_wildcards_stop_at_the_closest_encloser() {
        check(RFC4592, "host3.example.org", "wildcard *.example.org. MX TXT");
        check(RFC4592, "foo.bar.example.org", "wildcard *.example.org. MX TXT");
        check(RFC4592, "host1.example.org", "exact host1.example.org. A");
        check(RFC4592, "sub.*.example.org", "exact sub.*.example.org. TXT");
        check(RFC4592, "_telnet._tcp.host1.example.org", "missing");
        check(RFC4592, "host.subdel.example.org", "cut subdel.example.org. NS");
        check(RFC4592, "ghost.*.example.org", "missing");
        check(RFC4592, "*.example.org", "exact *.example.org. MX TXT");
    }

    #[test]
    fn rfc4592_2_2_2_empty_non_terminals_exist() {
        check(RFC4592, "_tcp.host1.example.org", "exact _tcp.host1.example.org.");
        check(RFC4592, "host2.example.org", "exact host2.example.org.");
        check("a.* A 192.0.2.1\n", "x.example.org", "wildcard *.example.org.");
    }

    #[test]
    fn rfc2181_6_1_the_topmost_cut_wins() {
        let records = "a NS ns.b.a\nb.a NS ns.b.a\nns.b.a A 192.0.2.1\n* A 192.0.2.2\n";
        check(records, "a.example.org", "cut a.example.org. NS");
        check(records, "ns.b.a.example.org", "cut a.example.org. NS");
        check(records, "x.a.example.org", "cut a.example.org. NS");
        assert_eq!(zone(records).node(name("ns.b.a.example.org").as_wire()).map(types), Some(vec![rtype::A]));
        assert!(zone(records).node(name("x.a.example.org").as_wire()).is_none());
    }

    #[test]
    fn rfc6672_2_3_dname_is_for_names_below_it() {
        check("a DNAME b\na TXT x", "a.example.org", "exact a.example.org. TXT DNAME");
        check("a DNAME b", "x.y.a.example.org", "dname a.example.org. DNAME");
        check("a NS ns.example.net.\nb.a DNAME c", "x.b.a.example.org", "cut a.example.org. NS");
        check("@ DNAME example.net.", "x.example.org", "dname example.org. NS SOA DNAME");
        check("@ DNAME example.net.", "example.org", "exact example.org. NS SOA DNAME");
    }

    #[test]
    fn names_outside_the_zone_and_bytes_that_are_no_name_are_missing() {
        let zone = zone("* A 192.0.2.1");
        for wire in [
            &b""[..],
            b"\x00",
            b"\x03org\x00",
            b"\x07exbmple\x03org\x00",
            b"\x01a\x03com\x00",
            b"\x3fa\x07example\x03org\x00",
        ] {
            assert!(matches!(zone.find(wire), Found::Missing), "{wire:?}");
            assert!(zone.node(wire).is_none(), "{wire:?}");
        }
    }

    /// RFC 1034 §4.3.2 and RFC 4592 §3.3 the slow way, over all owners.
    fn find_slowly(owners: &BTreeMap<Name, BTreeSet<u16>>, apex: &Name, qname: &Name) -> Answer {
        let exists = |name: &Name| owners.keys().any(|owner| owner.is_within(name));
        let types = |name: &Name| owners.get(name).map(|types| types.iter().copied().collect()).unwrap_or_default();
        let mut path: Vec<Name> =
            std::iter::successors(Some(qname.clone()), Name::parent).take_while(|name| name.is_within(apex)).collect();
        path.reverse();
        for at in &path {
            let has = |rtype| owners.get(at).is_some_and(|types| types.contains(&rtype));
            if at != apex && has(rtype::NS) {
                return ("cut", at.to_string(), types(at));
            }
            if at != qname && has(rtype::DNAME) {
                return ("dname", at.to_string(), types(at));
            }
        }
        if exists(qname) {
            return ("exact", qname.to_string(), types(qname));
        }
        let encloser = path.iter().rev().find(|name| exists(name)).expect("the apex exists");
        let wildcard = Name::parse_relative("*", encloser).expect("name");
        if exists(&wildcard) {
            ("wildcard", wildcard.to_string(), types(&wildcard))
        } else {
            ("missing", String::new(), Vec::new())
        }
    }

    fn some_name() -> impl Strategy<Value = String> {
        let label = prop_oneof![Just("a"), Just("b"), Just("c"), Just("*")];
        proptest::collection::vec(label, 1..5).prop_map(|labels| labels.join("."))
    }

    fn some_type() -> impl Strategy<Value = u16> {
        prop_oneof![3 => Just(rtype::A), 1 => Just(rtype::NS), 1 => Just(rtype::DNAME)]
    }

    proptest! {
        #[test]
        fn finding_is_the_same_as_searching_all_owners(
            records in proptest::collection::vec((some_name(), some_type()), 0..10),
            qnames in proptest::collection::vec(some_name(), 20),
        ) {
            let apex = name("example.org");
            let mut owners = BTreeMap::from([(apex.clone(), BTreeSet::from([rtype::NS, rtype::SOA]))]);
            let mut text = String::new();
            for (owner, rtype) in records {
                let types = owners.entry(Name::parse_relative(&owner, &apex).expect("name")).or_default();
                // What no zone may hold: two of the kind, NS beside DNAME, NS at a wildcard.
                let is_refused = types.contains(&(rtype::NS + rtype::DNAME - rtype))
                    || rtype == rtype::NS && owner.starts_with('*');
                let is_new = !is_refused && types.insert(rtype);
                match rtype {
                    _ if !is_new => {}
                    rtype::A => text.push_str(&format!("{owner} A 192.0.2.1\n")),
                    rtype::NS => text.push_str(&format!("{owner} NS ns.example.net.\n")),
                    _ => text.push_str(&format!("{owner} DNAME example.net.\n")),
                }
            }
            owners.retain(|_, types| !types.is_empty());
            let zone = zone(&text);
            for qname in qnames.iter().map(String::as_str).chain(["@"]) {
                let qname = Name::parse_relative(qname, &apex).expect("name");
                prop_assert_eq!(find(&zone, &qname), find_slowly(&owners, &apex, &qname), "{} in\n{}", qname, text);
            }
            let mut listed: Vec<Name> = zone.iter().filter(|(_, node)| !node.is_empty()).map(|(name, _)| name).collect();
            prop_assert_eq!(&listed[0], &apex);
            listed.sort();
            prop_assert_eq!(listed, owners.into_keys().collect::<Vec<_>>());
        }
    }
}
