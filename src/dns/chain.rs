//! The walk from the name asked for to its answer, over aliases, within the zones served here (RFC 1034 §4.3.2, RFC 4592, RFC 6672).

use super::{
    additional,
    answer::{ANY, Answer, Consulted, Content, Entry, Kind, Owner, is_same_rrset},
    header::Rcode,
    query::{FoldedName, Query},
};
use crate::{
    name,
    select::{Client, WhenEmpty, select},
    snapshot::Snapshot,
    types::Ttl,
    zone::{Found, Node, Rrset, ServedZone, Zone, rtype},
};

/// Record type HINFO.
pub(super) const HINFO: u16 = 13;

/// Aliases that are followed for one query; the resolver goes on from there.
pub(super) const ALIASES_MAX: usize = 16;

/// Whether the walk goes on at another name.
enum Next {
    /// The answer is complete.
    Done,
    /// At [`Walk::owner`].
    Follow,
}

struct Walk<'s, 'q, 'p> {
    snapshot: &'s Snapshot,
    query: &'q Query<'p>,
    client: &'q Client,
    answer: &'q mut Answer<'s>,
    /// The name where the walk is.
    owner: Owner<'s>,
}

/// Fills `answer`, which refuses so far.
pub(super) fn follow<'s>(snapshot: &'s Snapshot, query: &Query<'_>, client: &Client, answer: &mut Answer<'s>) {
    let name = query.qname();
    let Some(served) = zone_for(snapshot, name, query.qtype) else { return };
    answer.is_authoritative = true;
    answer.rcode = Rcode::NoError;
    answer.kind = Kind::Static;
    let owner = Owner::Question { octets: name.len() };
    let mut walk = Walk { snapshot, query, client, answer, owner };
    let mut next = walk.step(served, name);
    for _ in 0..ALIASES_MAX {
        if matches!(next, Next::Done) {
            return;
        }
        let Some(name) = FoldedName::fold(walk.answer.name(walk.owner, query)) else { return };
        // What lies in another zone, even one that is served here, a resolver must ask for again whatever is said beside this (RFC 5452 §6):
        // a pool would take a turn for nobody.
        if !name::is_within(name.as_wire(), served.zone.apex().as_wire()) {
            return;
        }
        next = walk.step(served, name.as_wire());
    }
}

/// The zone that answers for `name`: the closest one, but for DS at an apex the one above if it is served here, whether it delegates the
/// name or not (RFC 4035 §3.1.4.1).
fn zone_for<'s>(snapshot: &'s Snapshot, name: &[u8], qtype: u16) -> Option<&'s ServedZone> {
    let served = snapshot.zones.find(name)?;
    if qtype == rtype::DS && served.zone.apex().as_wire() == name {
        return snapshot.zones.find_above(served.zone.apex()).or(Some(served)).map(|served| &**served);
    }
    Some(served)
}

/// Whether the zone has keys (RFC 4035 §2.1).
fn is_signed(zone: &Zone) -> bool {
    zone.node(zone.apex().as_wire()).is_some_and(|apex| apex.rrset(rtype::DNSKEY).is_some())
}

impl<'s> Walk<'s, '_, '_> {
    /// Answers for one name of the chain, `name` being the octets of `owner` in lower case.
    fn step(&mut self, served: &'s ServedZone, name: &[u8]) -> Next {
        if served.is_expired {
            self.fail();
            return Next::Done;
        }
        match served.zone.find(name) {
            Found::Exact(node) | Found::Wildcard { node, .. } => return self.at_node(served, node),
            Found::Dname { node, owner_octets } => return self.at_dname(node, name, owner_octets),
            Found::Cut { node, is_owner: true, .. } if self.query.qtype == rtype::DS => match node.rrset(rtype::DS) {
                Some(rrset) => self.push_stored(rrset),
                None => self.no_data(served, Ttl::MAX),
            },
            Found::Cut { node, owner_octets, .. } => self.refer(served, node, name, owner_octets),
            Found::Missing => {
                self.answer.rcode = Rcode::NxDomain;
                self.answer.kind = Kind::NxDomain;
                self.push_soa(served, Ttl::MAX);
            }
        }
        Next::Done
    }

    /// The name exists, by itself or by a wildcard.
    fn at_node(&mut self, served: &'s ServedZone, node: Node<'s>) -> Next {
        let qtype = self.query.qtype;
        if qtype == ANY {
            self.minimal_any(served, node);
            return Next::Done;
        }
        if let Some((index, ttl)) = node.pool()
            && matches!(qtype, rtype::A | rtype::AAAA)
        {
            self.ask_pool(served, index, ttl);
            return Next::Done;
        }
        if let Some(rrset) = node.rrset(qtype) {
            self.push_stored(rrset);
            additional::add_addresses(&served.zone, self.owner, rrset, node, self.answer);
            return Next::Done;
        }
        match node.rrset(rtype::CNAME) {
            // These may stand beside an alias (RFC 4034 §3, §4), so that it does not stand for them.
            Some(cname) if !matches!(qtype, rtype::RRSIG | rtype::NSEC) => self.at_cname(cname),
            _ => {
                self.no_data(served, Ttl::MAX);
                Next::Done
            }
        }
    }

    fn at_cname(&mut self, cname: Rrset<'s>) -> Next {
        let Some(target) = cname.rdatas().next().filter(|_| !self.was_here()) else { return Next::Done };
        self.push_stored(cname);
        self.owner = Owner::Stored(target);
        Next::Follow
    }

    /// The name is below a DNAME, which makes an alias for it.
    fn at_dname(&mut self, node: Node<'s>, name: &[u8], owner_octets: usize) -> Next {
        let Some(dname) = node.rrset(rtype::DNAME) else { return Next::Done };
        let Some(target) = dname.rdatas().next().filter(|_| !self.was_here()) else { return Next::Done };
        let dname_owner = self.owner.suffix(owner_octets);
        if !self.has_stored(dname) {
            self.answer.answers.push(Entry { owner: dname_owner, ttl: dname.ttl, content: Content::Stored(dname) });
        }
        let n_prefix = self.answer.name(self.owner, self.query).len().saturating_sub(owner_octets);
        let Some(made) = self.answer.make_name(self.owner, n_prefix, target, self.query) else {
            self.answer.rcode = Rcode::YxDomain;
            self.answer.kind = Kind::YxDomain;
            return Next::Done;
        };
        self.answer.answers.push(Entry { owner: self.owner, ttl: dname.ttl, content: Content::MadeCname(made) });
        // A DNAME that leads below itself makes longer and longer names of which none exists.
        let dname_name = name.len().checked_sub(owner_octets).and_then(|at| name.get(at..)).unwrap_or_default();
        let is_endless = FoldedName::fold(target).is_none_or(|target| name::is_within(target.as_wire(), dname_name));
        if is_endless || self.query.qtype == rtype::CNAME {
            return Next::Done;
        }
        self.owner = made;
        Next::Follow
    }

    /// A delegation: the topmost cut, whatever stands below it.
    fn refer(&mut self, served: &'s ServedZone, cut: Node<'s>, name: &[u8], owner_octets: usize) {
        // At the end of a chain the aliases before are still ours to say.
        if self.answer.answers.is_empty() {
            self.answer.is_authoritative = false;
        }
        self.answer.kind = Kind::Referral;
        let owner = self.owner.suffix(owner_octets);
        let Some(servers) = cut.rrset(rtype::NS) else { return };
        self.answer.authority.push(Entry { owner, ttl: servers.ttl, content: Content::Stored(servers) });
        // In a zone that is not signed DS proves nothing, and is only for those who ask for it.
        if self.query.edns.is_some_and(|edns| edns.is_dnssec_ok)
            && is_signed(&served.zone)
            && let Some(ds) = cut.rrset(rtype::DS)
        {
            self.answer.authority.push(Entry { owner, ttl: ds.ttl, content: Content::Stored(ds) });
        }
        let cut_name = name.len().checked_sub(owner_octets).and_then(|at| name.get(at..)).unwrap_or_default();
        additional::add_glue(&served.zone, cut_name, servers, self.answer);
    }

    /// A and AAAA of a POOL name.
    fn ask_pool(&mut self, served: &'s ServedZone, index: usize, ttl: Ttl) {
        let Some(&id) = served.pools.get(index) else { return self.fail() };
        let ranking = select(self.snapshot, id, self.client);
        let record_ttl = ttl;
        let ttl = ttl.min(ranking.ttl);
        self.answer.scope = ranking.scope;
        let (is_empty, when_empty) = (ranking.realservers.is_empty(), ranking.when_empty);
        self.answer.pool =
            Some(Consulted { id, apex: served.zone.apex(), owner: self.owner, ttl: record_ttl, ranking });
        if !is_empty {
            let crate::select::Via::Dns(family) = self.client.via else { return };
            self.answer.kind = Kind::Pool;
            self.answer.answers.push(Entry { owner: self.owner, ttl, content: Content::Addresses(family) });
            return;
        }
        match when_empty {
            // Who is back up should not wait for a negative answer longer than for a positive one.
            WhenEmpty::Nothing => self.no_data(served, ttl),
            WhenEmpty::Servfail => self.fail(),
            WhenEmpty::Refused => {
                self.fail();
                self.answer.rcode = Rcode::Refused;
                self.answer.kind = Kind::Refused;
            }
        }
    }

    fn fail(&mut self) {
        self.answer.answers.clear();
        self.answer.is_authoritative = false;
        self.answer.rcode = Rcode::ServFail;
        self.answer.kind = Kind::ServFail;
    }

    /// One RRset stands for all (RFC 8482 §4.1), whatever the transport. A pool's addresses are not drawn for this.
    fn minimal_any(&mut self, served: &'s ServedZone, node: Node<'s>) {
        let first = match node.pool() {
            Some(_) => node.rrset(HINFO),
            None => node.rrsets().next(),
        };
        match (first, node.pool()) {
            (Some(rrset), _) => self.push_stored(rrset),
            (None, Some((_, ttl))) => {
                self.answer.answers.push(Entry { owner: self.owner, ttl, content: Content::Hinfo });
            }
            (None, None) => self.no_data(served, Ttl::MAX),
        }
    }

    fn no_data(&mut self, served: &'s ServedZone, ttl_max: Ttl) {
        self.answer.kind = Kind::NoData;
        self.push_soa(served, ttl_max);
    }

    fn push_soa(&mut self, served: &'s ServedZone, ttl_max: Ttl) {
        let zone = &served.zone;
        // As the end of a name that stands in the message, the apex is pointed at without a search.
        let owner = self.owner.suffix(zone.apex().as_wire().len());
        let ttl = zone.negative_ttl().min(ttl_max);
        self.answer.authority.push(Entry { owner, ttl, content: Content::Stored(zone.soa()) });
    }

    fn push_stored(&mut self, rrset: Rrset<'s>) {
        // An alias made by a DNAME may lead to that DNAME itself.
        if rrset.rtype == rtype::DNAME && self.has_stored(rrset) {
            return;
        }
        self.answer.answers.push(Entry { owner: self.owner, ttl: rrset.ttl, content: Content::Stored(rrset) });
    }

    /// Whether an alias of this very name has been followed: a loop.
    fn was_here(&self) -> bool {
        let here = self.answer.name(self.owner, self.query);
        self.answer.answers.iter().any(|entry| {
            entry.content.rtype() == rtype::CNAME
                && self.answer.name(entry.owner, self.query).eq_ignore_ascii_case(here)
        })
    }

    /// Whether this very RRset, a DNAME, is in the answer already.
    fn has_stored(&self, rrset: Rrset<'s>) -> bool {
        self.answer.answers.iter().any(|entry| match entry.content {
            Content::Stored(other) => is_same_rrset(rrset, other),
            _ => false,
        })
    }
}
