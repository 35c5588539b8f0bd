//! Makes zones that are small and dense: few labels, so that wildcards, cuts, DNAMEs and empty non-terminals stand in each other's way.
//!
//! Makes only what all four servers load. Left out on that ground: names below a DNAME, NS and DNAME at a wildcard.

use std::{collections::BTreeMap, fmt::Write as _};

use fastrand::Rng;

use crate::{
    message::{self, RrsetKey, type_number, type_text},
    name::{Name, OCTETS_MAX},
    standing::Names,
};

/// Zones that are served together.
pub struct Universe {
    /// Every zone; a child stands after its parent.
    pub zones: Vec<Zone>,
    /// Their names, in the same order.
    names: Vec<Names>,
}

/// One zone.
pub struct Zone {
    /// Its topmost name.
    pub apex: Name,
    /// Its records: by owner and type.
    pub rrsets: BTreeMap<(Name, &'static str), Rrset>,
}

/// Records of one owner and type, in text.
pub struct Rrset {
    ttl: u32,
    rdatas: Vec<String>,
}

/// Labels of which nearly all names are made.
const LABELS: [&[u8]; 6] = [b"a", b"b", b"c", b"d", b"*", b"_x"];
/// The first zone has a large RRset there.
pub const HUGE_LABEL: &[u8] = b"huge";
/// Labels that are legal and rare.
const ODD_LABELS: [&[u8]; 12] = [
    b"\0",
    b"a.b",
    b"a\\b",
    b"\"",
    b"a b",
    b"@",
    b"$x",
    b";",
    b"\xff\xfe",
    b"UPPER",
    b"**",
    b"a123456789b123456789c123456789d123456789e123456789f123456789xyz",
];
/// TTLs of which some are extreme.
const TTLS: [u32; 9] = [0, 1, 60, 300, 300, 300, 3600, 86400, 2_147_483_647];

/// Types of ordinary data.
const DATA_TYPES: [&str; 32] = [
    "A",
    "A",
    "A",
    "AAAA",
    "AAAA",
    "MX",
    "MX",
    "TXT",
    "TXT",
    "SRV",
    "NAPTR",
    "CAA",
    "TLSA",
    "SVCB",
    "HTTPS",
    "HTTPS",
    "PTR",
    "HINFO",
    "TYPE65280",
    "LOC",
    "RP",
    "AFSDB",
    "KX",
    "SSHFP",
    "URI",
    "CERT",
    "EUI48",
    "MINFO",
    "NID",
    "SPF",
    "OPENPGPKEY",
    "APL",
];

impl Universe {
    /// Makes `n_parents` zones, some with child zones.
    pub fn generate(rng: &mut Rng, n_parents: usize) -> Self {
        let mut zones = Vec::new();
        let apexes: Vec<Name> = (0..n_parents).map(|index| Name::of(&format!("z{index}.example"))).collect();
        for (index, apex) in apexes.iter().enumerate() {
            let near = &apexes[index / 8 * 8..(index / 8 * 8 + 8).min(n_parents)];
            let mut parent = Draft { apex: apex.clone(), elsewhere: near, rrsets: BTreeMap::new(), owners: Vec::new() };
            parent.fill(rng, index > 0);
            if index == 0 {
                parent.add_huge(rng);
            }
            let child = rng.bool().then(|| parent.add_child(rng)).flatten();
            parent.prune();
            let parent = Zone { apex: parent.apex, rrsets: parent.rrsets };
            // NSD looks for a DNAME above a zone in others too.
            let child = child.filter(|apex| !parent.dnames().iter().any(|dname| apex.is_within(dname)));
            zones.push(parent);
            if let Some(apex) = child {
                let mut child = Draft { apex, elsewhere: near, rrsets: BTreeMap::new(), owners: Vec::new() };
                child.fill(rng, true);
                child.prune();
                zones.push(Zone { apex: child.apex.clone(), rrsets: child.rrsets });
            }
        }
        // NSD takes the names below a DNAME out of other zones as well: here glue of a child zone.
        let dnames: Vec<Name> = zones.iter().flat_map(Zone::dnames).collect();
        for zone in &mut zones {
            zone.rrsets.retain(|(owner, _), _| !dnames.iter().any(|dname| owner.folded().is_below(dname)));
        }
        let names = zones.iter().map(Names::of).collect();
        Self { zones, names }
    }

    /// Whether there are records of this owner, in lower case, and type in any zone.
    pub fn has_rrset(&self, owner: &Name, rtype: u16) -> bool {
        self.names.iter().any(|names| names.has(owner, &type_text(rtype)))
    }

    /// How many records of this owner, in lower case, and type there are in the zone that has most of them.
    pub fn n_records(&self, owner: &Name, rtype: u16) -> usize {
        let zones = self.zones.iter().filter(|zone| owner.is_within(&zone.apex));
        let rrsets = zones.flat_map(|zone| &zone.rrsets);
        let these = rrsets.filter(|((other, text), _)| type_number(text) == rtype && other.folded() == *owner);
        these.map(|(_, rrset)| rrset.rdatas.len()).max().unwrap_or_default()
    }

    /// Whether `name`, or a name between it and its zone's apex, exists in another zone only.
    pub fn has_foreign_ancestor(&self, name: &Name) -> bool {
        let Some((zone, own)) = self.zone_and_names_of(name) else { return false };
        let mut ancestor = name.folded();
        while ancestor.is_below(&zone.apex) {
            let exists = |names: &Names| names.exists(&ancestor) || names.apex().is_within(&ancestor);
            if !own.exists(&ancestor) && self.names.iter().any(exists) {
                return true;
            }
            ancestor = ancestor.parent();
        }
        false
    }

    /// Whether some zone has exactly these records, as far as their number and TTL say, at the owner or at a wildcard that stands for it.
    pub fn has_whole_rrset(&self, (owner, rtype, _): &RrsetKey, rrset: &message::Rrset) -> bool {
        let zones = self.zones.iter().filter(|zone| owner.is_within(&zone.apex));
        zones.flat_map(|zone| &zone.rrsets).any(|((other, other_type), served)| {
            let is_wildcard = other.0.first().is_some_and(|label| label == b"*");
            type_number(other_type) == *rtype
                && (other.folded() == *owner || is_wildcard && owner.is_below(&other.folded().parent()))
                && served.rdatas.len() == rrset.rdatas.len()
                && rrset.ttls.iter().eq([&served.ttl])
        })
    }

    /// The zone that `name` is closest within.
    pub fn zone_of(&self, name: &Name) -> Option<&Zone> {
        self.zone_and_names_of(name).map(|(zone, _)| zone)
    }

    /// The same, and its names.
    pub fn zone_and_names_of(&self, name: &Name) -> Option<(&Zone, &Names)> {
        let name = name.folded();
        let around = self.zones.iter().zip(&self.names).filter(|(zone, _)| name.is_within(&zone.apex));
        around.max_by_key(|(zone, _)| zone.apex.0.len())
    }
}

impl Zone {
    /// The name of the zone's file without its ending.
    pub fn file_stem(&self) -> String {
        self.apex.to_string().trim_end_matches('.').to_owned()
    }

    /// The master file.
    pub fn text(&self) -> String {
        let mut text = format!("$ORIGIN {}\n", self.apex);
        let soa = (self.apex.clone(), "SOA");
        let ordered = self
            .rrsets
            .iter()
            .filter(|(key, _)| **key == soa)
            .chain(self.rrsets.iter().filter(|(key, _)| **key != soa));
        for ((owner, rtype), rrset) in ordered {
            rrset.write(owner, rtype, &mut text);
        }
        text
    }

    /// The records that have a say about `names`: their own, those above them, and wildcards there.
    pub fn snippet(&self, names: &[Name]) -> String {
        let names: Vec<Name> = names.iter().map(Name::folded).collect();
        let mut text = format!("$ORIGIN {}\n", self.apex);
        for ((owner, rtype), rrset) in &self.rrsets {
            let owner_folded = owner.folded();
            let is_wildcard = owner.0.first().is_some_and(|label| label == b"*");
            let is_relevant = names.iter().any(|name| {
                name.is_within(&owner_folded)
                    || owner_folded.is_within(name)
                    || is_wildcard && name.is_within(&owner_folded.parent())
            });
            if is_relevant {
                rrset.write(owner, rtype, &mut text);
            }
        }
        text
    }

    fn dnames(&self) -> Vec<Name> {
        self.rrsets.keys().filter(|(_, rtype)| *rtype == "DNAME").map(|(owner, _)| owner.folded()).collect()
    }

    /// Owners of records.
    pub fn owners(&self) -> Vec<Name> {
        let mut owners: Vec<Name> = self.rrsets.keys().map(|(owner, _)| owner.clone()).collect();
        owners.dedup();
        owners
    }
}

impl Rrset {
    fn write(&self, owner: &Name, rtype: &str, text: &mut String) {
        // One line in a hundred would be enough to see that long lines are read; what matters here is what is served.
        for rdata in &self.rdatas {
            let _ = writeln!(text, "{owner} {} IN {rtype} {rdata}", self.ttl);
        }
    }
}

/// A zone that is being made.
struct Draft<'u> {
    apex: Name,
    /// Zones that an alias may lead into.
    elsewhere: &'u [Name],
    rrsets: BTreeMap<(Name, &'static str), Rrset>,
    owners: Vec<Name>,
}

impl Draft<'_> {
    fn fill(&mut self, rng: &mut Rng, may_have_dname: bool) {
        let apex = self.apex.clone();
        let soa_ttl = pick(rng, &TTLS);
        let minimum = pick(rng, &[0, 5, 60, 300, 3600, 2_147_483_647]);
        let soa = format!("ns.{apex} host\\.master.{apex} {} 3600 600 1209600 {minimum}", rng.u32(1..));
        self.set(&apex, "SOA", soa_ttl, vec![soa]);
        let has_dname = rng.usize(..16) == 0 && may_have_dname;
        self.add_servers(rng, has_dname);
        let n_owners = rng.usize(6..22);
        let names: Vec<Name> = (0..n_owners).map(|_| self.some_owner(rng)).collect();
        self.owners = names.clone();
        if has_dname {
            let target = self.dname_target(rng, &apex);
            self.set_any_ttl(rng, &apex, "DNAME", vec![target]);
        }
        for owner in names {
            self.fill_owner(rng, &owner);
        }
        if rng.usize(..6) == 0 {
            self.add_long_names(rng);
        }
        if rng.usize(..4) == 0 {
            self.add_chain(rng);
        }
    }

    fn fill_owner(&mut self, rng: &mut Rng, owner: &Name) {
        let is_wildcard = owner.0.first().is_some_and(|label| label == b"*");
        match rng.usize(..100) {
            0..=51 => {
                for _ in 0..rng.usize(1..4) {
                    self.add_data(rng, owner);
                }
            }
            52..=69 => {
                let target = self.some_target(rng);
                self.set_any_ttl(rng, owner, "CNAME", vec![target.to_string()]);
            }
            70..=87 if !is_wildcard => self.add_cut(rng, owner),
            88..=95 if !is_wildcard => {
                let target = self.dname_target(rng, owner);
                self.set_any_ttl(rng, owner, "DNAME", vec![target]);
                if rng.bool() {
                    self.add_data(rng, owner);
                }
            }
            96..=97 => self.add_large(rng, owner),
            _ => self.add_data(rng, owner),
        }
    }

    /// A delegation with or without glue, sibling glue, DS and occluded data.
    fn add_cut(&mut self, rng: &mut Rng, cut: &Name) {
        let mut servers = Vec::new();
        let n_servers = if rng.usize(..8) == 0 { 13 } else { rng.usize(1..4) };
        for index in 0..n_servers {
            let label = format!("ns{index}");
            let server = match rng.usize(..10) {
                0..=4 => cut.child(label.as_bytes()),
                5 => cut.child(b"b").child(label.as_bytes()),
                6 => cut.clone(),
                7 => self.some_owner(rng),
                8 => self.owners.get(rng.usize(..self.owners.len().max(1))).unwrap_or(cut).child(label.as_bytes()),
                _ => Name::of("ns.example.net"),
            };
            if server.octets() > OCTETS_MAX {
                continue;
            }
            if server.is_within(&self.apex) && rng.usize(..10) < 8 {
                self.add_addresses(rng, &server);
            }
            servers.push(server.to_string());
        }
        if servers.is_empty() {
            servers.push("ns.example.net.".to_owned());
        }
        self.set_any_ttl(rng, cut, "NS", servers);
        if rng.usize(..3) == 0 {
            let digests = (0..rng.usize(1..3)).map(|_| format!("{} 8 2 {}", rng.u16(..), hex(rng, 32))).collect();
            self.set_any_ttl(rng, cut, "DS", digests);
        }
        // Data that the cut occludes.
        if rng.usize(..3) == 0 {
            self.add_data(rng, cut);
            let below = cut.child(pick(rng, &LABELS));
            if below.octets() <= OCTETS_MAX {
                self.fill_occluded(rng, &below);
            }
        }
    }

    fn fill_occluded(&mut self, rng: &mut Rng, owner: &Name) {
        match rng.usize(..4) {
            0 => {
                let target = self.some_target(rng).to_string();
                self.set_any_ttl(rng, owner, "CNAME", vec![target]);
            }
            _ => self.add_data(rng, owner),
        }
    }

    fn add_addresses(&mut self, rng: &mut Rng, owner: &Name) {
        if rng.usize(..5) > 0 {
            self.add(rng, owner, "A");
        }
        if rng.bool() {
            self.add(rng, owner, "AAAA");
        }
    }

    fn add_data(&mut self, rng: &mut Rng, owner: &Name) {
        let rtype = pick(rng, &DATA_TYPES);
        self.add(rng, owner, rtype);
    }

    fn add(&mut self, rng: &mut Rng, owner: &Name, rtype: &'static str) {
        let n_records = pick(rng, &[1, 1, 1, 2, 3, 5]);
        let rdatas = (0..n_records).map(|_| self.rdata(rng, rtype)).collect();
        self.set_any_ttl(rng, owner, rtype, rdatas);
    }

    /// RRsets around the sizes at which messages are cut, and far beyond.
    fn add_large(&mut self, rng: &mut Rng, owner: &Name) {
        match rng.usize(..4) {
            0 => {
                let n_records = rng.usize(20..100);
                let rdatas = (0..n_records).map(|index| format!("198.51.{}.{}", index / 250, index % 250)).collect();
                self.set_any_ttl(rng, owner, "A", rdatas);
            }
            1 => {
                let n_records = rng.usize(10..60);
                let rdatas = (0..n_records).map(|index| format!("2001:db8::{index:x}")).collect();
                self.set_any_ttl(rng, owner, "AAAA", rdatas);
            }
            2 => {
                let n_strings = rng.usize(1..12);
                let rdata =
                    (0..n_strings).map(|_| format!("\"{}\"", "t".repeat(rng.usize(100..256)))).collect::<Vec<_>>();
                self.set_any_ttl(rng, owner, "TXT", vec![rdata.join(" ")]);
            }
            _ => {
                let n_records = rng.usize(5..40);
                let rdatas = (0..n_records).map(|index| format!("{index} mail{index}.{}", self.apex)).collect();
                self.set_any_ttl(rng, owner, "MX", rdatas);
                for index in 0..n_records {
                    let server = self.apex.child(format!("mail{index}").as_bytes());
                    self.add_addresses(rng, &server);
                }
            }
        }
    }

    /// Aliases that lead to one another, and DNAMEs.
    fn add_chain(&mut self, rng: &mut Rng) {
        let n_links = rng.usize(2..5);
        for (prefix, rtype) in [("cname", "CNAME"), ("dname", "DNAME")] {
            for index in 0..n_links {
                let owner = self.apex.child(format!("{prefix}{index}").as_bytes());
                let next = self.apex.child(format!("{prefix}{}", index + 1).as_bytes());
                let target = if index + 1 < n_links { next } else { self.some_target(rng) };
                self.set_any_ttl(rng, &owner, rtype, vec![target.to_string()]);
            }
        }
    }

    /// Records whose names stand farther behind in a message than compression can point at.
    fn add_huge(&mut self, rng: &mut Rng) {
        let owner = self.apex.child(HUGE_LABEL);
        let servers: Vec<Name> = (0..900).map(|index| owner.child(format!("m{index}").as_bytes())).collect();
        let rdatas = servers.iter().map(|server| format!("{} {server}", rng.u16(..))).collect();
        self.set_any_ttl(rng, &owner, "MX", rdatas);
        for server in &servers {
            self.add(rng, server, "A");
        }
    }

    /// Names of 240 to 255 octets, aliases among them, so that DNAME makes names that are just too long.
    fn add_long_names(&mut self, rng: &mut Rng) {
        let mut long = self.apex.child(b"long");
        while long.octets() + 64 <= OCTETS_MAX {
            long = long.child(&vec![b'l'; rng.usize(40..64)]);
        }
        let left = OCTETS_MAX - long.octets();
        if left >= 2 {
            long = long.child(&vec![b'm'; rng.usize(1..left)]);
        }
        self.add(rng, &long, "A");
        let redirected = self.apex.child(b"short");
        self.set_any_ttl(rng, &redirected, "DNAME", vec![long.parent().to_string()]);
        let wildcard = long.parent().parent().child(b"*");
        self.add(rng, &wildcard, "TXT");
    }

    /// A child zone that is served beside this one, nearly always delegated from here.
    fn add_child(&mut self, rng: &mut Rng) -> Option<Name> {
        let above = if rng.usize(..3) == 0 { self.apex.child(b"b") } else { self.apex.clone() };
        let apex = above.child(b"child");
        if rng.usize(..8) > 0 {
            self.add_cut(rng, &apex);
        }
        Some(apex)
    }

    /// An alias's target: here, a name that may not exist, another zone, out of all zones, or a chain's next link.
    fn some_target(&self, rng: &mut Rng) -> Name {
        match rng.usize(..12) {
            0..=4 if !self.owners.is_empty() => pick(rng, &self.owners),
            0..=6 => self.some_owner(rng),
            7 => self.apex.clone(),
            8..=9 => {
                let apex = pick(rng, self.elsewhere);
                if rng.bool() { apex.child(pick(rng, &LABELS)) } else { apex }
            }
            10 => self.apex.child(b"child").child(pick(rng, &LABELS)),
            _ => Name::of("out.example.net"),
        }
    }

    /// NS at the apex. Those within the zone need addresses, and nothing else is ever at or above them; below a DNAME there can be none.
    fn add_servers(&mut self, rng: &mut Rng, has_dname: bool) {
        let apex = self.apex.clone();
        let mut servers = Vec::new();
        if has_dname || rng.usize(..4) == 0 {
            servers.push("ns.example.net.".to_owned());
        }
        for server in [apex.child(b"ns"), apex.child(b"ns").child(b"b")] {
            if !has_dname && (servers.is_empty() || rng.bool()) {
                self.add(rng, &server, "A");
                if rng.bool() {
                    self.add(rng, &server, "AAAA");
                }
                servers.push(server.to_string());
            }
        }
        self.set_any_ttl(rng, &apex, "NS", servers);
    }

    fn dname_target(&self, rng: &mut Rng, owner: &Name) -> String {
        let mut target = self.some_target(rng);
        // One that leads below itself never ends; a few are enough.
        if target.is_within(owner) && rng.usize(..8) > 0 {
            target = Name::of("out.example.net");
        }
        if rng.usize(..3) == 0 {
            while target.octets() + 64 < OCTETS_MAX {
                target = target.child(&[b'z'; 63]);
            }
        }
        target.to_string()
    }

    fn some_owner(&self, rng: &mut Rng) -> Name {
        let mut name = self.apex.clone();
        for _ in 0..pick(rng, &[1, 1, 1, 2, 2, 3, 4]) {
            name = name.child(some_label(rng));
        }
        name
    }

    fn rdata(&self, rng: &mut Rng, rtype: &str) -> String {
        let target = if rng.usize(..6) == 0 { Name::default() } else { self.some_target(rng) };
        let (short, byte) = (rng.u16(..), rng.u8(..));
        match rtype {
            "A" if rng.usize(..20) == 0 => format!("\\# 4 {}", hex(rng, 4)),
            "A" => format!("192.0.2.{byte}"),
            "AAAA" => format!("2001:db8::{short:x}"),
            "MX" | "AFSDB" | "KX" => format!("{short} {target}"),
            "TXT" | "SPF" => (0..rng.usize(1..4)).map(|_| some_string(rng)).collect::<Vec<_>>().join(" "),
            "SRV" => format!("{byte} {short} 443 {target}"),
            "NAPTR" => match rng.bool() {
                true => format!("{short} {byte} \"s\" \"SIP+D2U\" \"\" {target}"),
                false => format!("{short} {byte} \"u\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" ."),
            },
            "CAA" => format!("{} issue \"ca.example.net; account={short}\"", byte & 0x80),
            "TLSA" => format!("3 1 1 {}", hex(rng, 32)),
            "SVCB" | "HTTPS" => match rng.usize(..4) {
                0 => format!("0 {target}"),
                1 => format!("{} {target}", short.max(1)),
                2 => format!("1 . alpn=h2,h3 port={short} ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8::1"),
                _ => format!("{} {target} alpn=\"h2\" key65333=x{byte}", short.max(1)),
            },
            "PTR" => target.to_string(),
            "HINFO" => format!("{} {}", some_string(rng), some_string(rng)),
            "TYPE65280" => {
                let n_octets = rng.usize(..40);
                format!("\\# {n_octets} {}", hex(rng, n_octets))
            }
            "LOC" => format!("{} 22 23.{:03} N 4 53 32.000 E -2.00m 0.00m 10000m 10m", byte % 90, short % 1000),
            "RP" | "MINFO" => format!("{target} {}", self.some_target(rng)),
            "SSHFP" => format!("4 2 {}", hex(rng, 32)),
            "URI" => format!("{byte} {short} \"https://www.example.net/{byte}\""),
            "CERT" => format!("PGP {short} 0 AQIDBAUG"),
            "EUI48" => format!("00-00-5e-00-53-{byte:02x}"),
            "NID" => format!("{short} 0014:4fff:ff20:{short:04x}"),
            "OPENPGPKEY" => "AQIDBAUGBwg=".to_owned(),
            "APL" => format!("1:192.168.{byte}.0/24 !2:2001:db8::/32"),
            _ => unreachable!("type {rtype} has no generator"),
        }
    }

    fn set_any_ttl(&mut self, rng: &mut Rng, owner: &Name, rtype: &'static str, rdatas: Vec<String>) {
        let ttl = pick(rng, &TTLS);
        self.set(owner, rtype, ttl, rdatas);
    }

    /// Replaces the records of this owner, in whichever letters, and type.
    fn set(&mut self, owner: &Name, rtype: &'static str, ttl: u32, mut rdatas: Vec<String>) {
        rdatas.sort();
        rdatas.dedup_by(|left, right| left.eq_ignore_ascii_case(right));
        let key =
            self.rrsets.keys().find(|(other, other_type)| *other_type == rtype && other.folded() == owner.folded());
        let key = key.cloned().unwrap_or_else(|| (owner.clone(), rtype));
        self.rrsets.insert(key, Rrset { ttl, rdatas });
    }

    /// Takes out what some server refuses to load.
    fn prune(&mut self) {
        let has = |rrsets: &BTreeMap<(Name, &'static str), Rrset>, owner: &Name, rtype: &str| {
            rrsets.keys().any(|(other, other_type)| *other_type == rtype && other.folded() == owner.folded())
        };
        let apex = self.apex.clone();
        let keys: Vec<(Name, &'static str)> = self.rrsets.keys().cloned().collect();
        // NS before DNAME before CNAME before data, and whoever comes first stays.
        for (owner, rtype) in &keys {
            let is_apex = owner.folded() == apex;
            let is_out = match *rtype {
                "CNAME" => {
                    is_apex
                        || keys
                            .iter()
                            .any(|(other, other_type)| *other_type != "CNAME" && other.folded() == owner.folded())
                }
                "DNAME" => !is_apex && has(&self.rrsets, owner, "NS"),
                "DS" => is_apex || !has(&self.rrsets, owner, "NS"),
                _ => false,
            };
            if is_out {
                self.rrsets.remove(&(owner.clone(), rtype));
            }
        }
    }
}

/// One of `all`.
pub fn pick<T: Clone>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())].clone()
}

/// A label: mostly one that others have too.
pub fn some_label(rng: &mut Rng) -> &'static [u8] {
    if rng.usize(..25) == 0 { pick(rng, &ODD_LABELS) } else { pick(rng, &LABELS) }
}

fn some_string(rng: &mut Rng) -> String {
    let text =
        pick(rng, &["", "plain", "two words", "semi;colon", "esc\\\"aped", "back\\\\slash", "\\000\\255", "@", "$x"]);
    format!("\"{text}\"")
}

fn hex(rng: &mut Rng, n_octets: usize) -> String {
    (0..n_octets).fold(String::new(), |mut text, _| {
        let _ = write!(text, "{:02x}", rng.u8(..));
        text
    })
}
