//! What a run must have asked for, so that what is covered cannot dwindle unseen: each aspect is counted by a look at what was in fact asked
//! and given, not at what the generator meant.

use crate::{
    judge::Case,
    message::{ADDITIONAL, ANSWER, AUTHORITY, Message, Rrset, RrsetKey, Section},
    name::{Name, OCTETS_MAX},
    queries::{CD, DO, RD},
    standing::{Names, Standing},
    zones::Zone,
};

/// Something that a query can be about.
pub struct Aspect {
    /// In a few words.
    pub name: &'static str,
    /// Whether a query, and our reply, is about it.
    pub is_met: fn(&View<'_>) -> bool,
}

/// A case and what is found out about it once for all aspects.
pub struct View<'c> {
    case: &'c Case<'c>,
    /// The question's name in lower case, if it is one of class IN within a zone.
    name: Option<Name>,
    zone: Option<&'c Zone>,
    names: Option<&'c Names>,
    standing: Option<Standing>,
    rtype: Option<u16>,
    ours: Option<&'c Message>,
}

const NS: u16 = 2;
const CNAME: u16 = 5;
const DNAME: u16 = 39;
const DS: u16 = 43;
const OPTION_NSID: u16 = 3;
const OPTION_ECS: u16 = 8;
const OPTION_EXPIRE: u16 = 9;
const OPTION_COOKIE: u16 = 10;
const OPTION_KEEPALIVE: u16 = 11;
const OPTION_PADDING: u16 = 12;
const NOERROR: u16 = 0;
const NXDOMAIN: u16 = 3;
const YXDOMAIN: u16 = 6;

macro_rules! aspects {
    ($($name:literal: $is_met:expr;)*) => {
        /// All of them.
        pub const ASPECTS: &[Aspect] = &[$(Aspect { name: $name, is_met: $is_met }),*];
    };
}

aspects! {
    // How it is asked.
    "UDP": |view| !view.case.is_tcp;
    "TCP": |view| view.case.is_tcp;
    "no EDNS": |view| view.case.query.question.is_some() && view.case.shape.opts.is_empty();
    "EDNS size below 512": |view| view.has_size(0, 511);
    "EDNS size 512": |view| view.has_size(512, 512);
    "EDNS size between 512 and 1232": |view| view.has_size(513, 1231);
    "EDNS size 1232": |view| view.has_size(1232, 1232);
    "EDNS size above 1232": |view| view.has_size(1233, u16::MAX);
    "EDNS version 0": |view| view.case.shape.opts.iter().any(|opt| opt.version == 0);
    "unknown EDNS version": |view| view.case.shape.has_unknown_version();
    "DO": |view| view.case.shape.opts.iter().any(|opt| opt.flags & DO != 0);
    "unknown EDNS flags": |view| view.case.shape.opts.iter().any(|opt| opt.flags & !DO != 0);
    "NSID": |view| view.has_option(|code, _| code == OPTION_NSID);
    "ECS of IPv4": |view| view.has_option(|code, option| code == OPTION_ECS && option.starts_with(&[0, 1]));
    "ECS of IPv6": |view| view.has_option(|code, option| code == OPTION_ECS && option.starts_with(&[0, 2]));
    "ECS with source 0": |view| view.has_option(|code, option| code == OPTION_ECS && option.get(2) == Some(&0));
    "malformed ECS": |view| view.case.shape.has_bad_ecs();
    "COOKIE": |view| view.has_option(|code, _| code == OPTION_COOKIE);
    "malformed COOKIE": |view| view.case.shape.has_bad_cookie();
    "TCP keepalive": |view| view.has_option(|code, _| code == OPTION_KEEPALIVE);
    "padding": |view| view.has_option(|code, _| code == OPTION_PADDING);
    "EXPIRE": |view| view.has_option(|code, _| code == OPTION_EXPIRE);
    "unknown option": |view| view.has_option(|code, _| code >= 65001);
    "several options": |view| view.case.shape.opts.iter().any(|opt| opt.options.len() > 1);
    "RD": |view| view.has_flag(RD);
    "AA in a query": |view| view.has_flag(0x0400);
    "TC in a query": |view| view.has_flag(0x0200);
    "RA in a query": |view| view.has_flag(0x0080);
    "Z": |view| view.has_flag(0x0040);
    "AD": |view| view.has_flag(0x0020);
    "CD": |view| view.has_flag(CD);
    "class 0": |view| view.case.shape.class() == Some(0);
    "class CH": |view| view.case.shape.class() == Some(3);
    "class HS": |view| view.case.shape.class() == Some(4);
    "class NONE": |view| view.case.shape.class() == Some(254);
    "class ANY": |view| view.case.shape.class() == Some(255);
    "unknown class": |view| matches!(view.case.shape.class(), Some(2 | 65535));

    // What is asked for.
    "type that is there": |view| view.case.query.question.is_some() && view.has_answer(|rtype| Some(rtype) == view.rtype);
    "type of RFC 1035 that is there": |view| view.has_answer(|rtype| matches!(rtype, 2 | 6 | 12..=16));
    "newer type that is there": |view| view.has_answer(|rtype| matches!(rtype, 17..=37 | 42..=64 | 99..=108 | 256 | 257));
    "SVCB or HTTPS that is there": |view| view.has_answer(|rtype| matches!(rtype, 64 | 65));
    "unknown type that is there": |view| view.has_answer(|rtype| rtype == 65280);
    "no such type": |view| view.is_negative(NOERROR);
    "type 0": |view| view.case.shape.rtype() == Some(0);
    "obsolete type": |view| matches!(view.rtype, Some(3 | 4 | 7..=11 | 24 | 25 | 30));
    "DNSSEC type": |view| matches!(view.rtype, Some(46..=48 | 50 | 51 | 59 | 60));
    "OPT, TKEY or TSIG as a type": |view| matches!(view.rtype, Some(41 | 249 | 250));
    "IXFR": |view| view.rtype == Some(251);
    "AXFR": |view| view.rtype == Some(252);
    "MAILB or MAILA": |view| matches!(view.rtype, Some(253 | 254));
    "ANY": |view| view.rtype == Some(255);
    "private type": |view| matches!(view.rtype, Some(65281..=65535));

    // Where the name stands.
    "apex": |view| view.zone.is_some_and(|zone| view.name.as_ref() == Some(&zone.apex));
    "name with records": |view| view.stands(&Standing::Exact);
    "empty non-terminal": |view| view.stands(&Standing::EmptyNonTerminal);
    "no such name": |view| view.stands(&Standing::Missing) && view.is_negative(NXDOMAIN);
    "outside of all zones": |view| view.case.query.question.as_ref().is_some_and(|question| question.class == 1) && view.zone.is_none();
    "wildcard below the apex": |view| view.wildcard(|depth, _, _| depth == 1);
    "wildcard two labels below the apex": |view| view.wildcard(|depth, _, _| depth == 2);
    "wildcard three or more labels below the apex": |view| view.wildcard(|depth, _, _| depth >= 3);
    "name several labels below a wildcard's parent": |view| view.wildcard(|_, n_labels, _| n_labels > 1);
    "wildcard below a wildcard": |view| view.wildcard(|_, _, owner| owner.parent().0.iter().any(|label| label == b"*"));
    "wildcard that is an empty non-terminal": |view| {
        view.wildcard(|_, _, owner| view.names.is_some_and(|names| !names.has_records(owner)))
    };
    "wildcard by its own name": |view| {
        view.stands(&Standing::Exact) && view.name.as_ref().is_some_and(Name::is_wildcard)
    };
    "closest encloser that keeps a wildcard away": |view| {
        view.stands(&Standing::Missing)
            && matches!((view.names, &view.name), (Some(names), Some(name)) if names.is_kept_from_wildcard(name))
    };
    "delegation": |view| view.cut(|name, owner, _| name == owner);
    "name below a delegation": |view| view.cut(|name, owner, _| name != owner);
    "records that a delegation hides": |view| view.cut(|name, owner, names| name != owner && names.has_records(name));
    "referral with glue": |view| view.referral(|_| true, true);
    "referral without glue": |view| view.referral(|_| true, false);
    "referral to servers beside the cut": |view| view.referral(|is_below| !is_below, true);
    "DS of a delegation that has it": |view| view.rtype == Some(DS) && view.cut(|name, owner, names| name == owner && names.has(owner, "DS"));
    "DS of a delegation that lacks it": |view| view.rtype == Some(DS) && view.cut(|name, owner, names| name == owner && !names.has(owner, "DS"));
    "DS at the apex of a child zone": |view| view.rtype == Some(DS) && view.is_child_apex();
    "name below a DNAME": |view| matches!(view.standing, Some(Standing::BelowDname(_)));
    "DNAME's own name": |view| {
        view.stands(&Standing::Exact)
            && matches!((view.names, &view.name), (Some(names), Some(name)) if names.has(name, "DNAME"))
    };
    "DNAME at an apex": |view| {
        matches!((&view.standing, view.zone), (Some(Standing::BelowDname(owner)), Some(zone)) if *owner == zone.apex)
    };
    "name that a DNAME makes too long": |view| view.has_rcode(YXDOMAIN);
    "one DNAME after another": |view| view.n_answers(DNAME) > 1;
    "CNAME asked for by its type": |view| view.rtype == Some(CNAME) && view.has_answer(|rtype| rtype == CNAME);
    "alias to records": |view| view.n_answers(CNAME) > 0 && view.has_answer(|rtype| Some(rtype) == view.rtype);
    "chain of three or more aliases": |view| view.n_answers(CNAME) >= 3;
    "alias loop": |view| view.is_alias_loop();
    "alias to no such name": |view| view.n_answers(CNAME) > 0 && view.has_rcode(NXDOMAIN);
    "alias to no such type": |view| view.n_answers(CNAME) > 0 && view.is_negative(NOERROR);
    "alias into a delegation": |view| view.n_answers(CNAME) > 0 && view.has_authority(NS);
    "alias out of its zone": |view| view.leads_out();

    // What stands in the way.
    "label of 63 octets": |view| view.label(|label| label.len() == 63);
    "name of 255 octets": |view| {
        view.case.query.question.as_ref().is_some_and(|question| question.name.octets() == OCTETS_MAX)
    };
    "label with octets that need an escape": |view| {
        view.label(|label| label.iter().any(|octet| !octet.is_ascii_graphic() || b".\\\"@$;()".contains(octet)))
    };
    "capital letters": |view| view.label(|label| label.iter().any(u8::is_ascii_uppercase));
    "octets 0 and 255 in data": |view| {
        let answer = view.ours.map(|message| &message.sections[ANSWER]);
        let mut rdatas = answer.into_iter().flatten().flat_map(|(_, rrset)| &rrset.rdatas);
        rdatas.any(|rdata| rdata.windows(2).any(|pair| pair == [0, 255]))
    };
    "TC at 512 octets": |view| view.is_truncated_at(512);
    "TC at 1232 octets": |view| view.is_truncated_at(1232);
    "more than 512 octets by UDP": |view| !view.case.is_tcp && view.n_octets() > 512;
    "more than 1232 octets by TCP": |view| view.case.is_tcp && view.n_octets() > 1232;
    "more than compression can point at": |view| view.case.is_tcp && view.n_octets() > 0x4000;

    // Packets that are no proper query.
    "opcode IQUERY": |view| view.has_opcode(1);
    "opcode STATUS": |view| view.has_opcode(2);
    "opcode NOTIFY": |view| view.has_opcode(4);
    "opcode UPDATE": |view| view.has_opcode(5);
    "unknown opcode": |view| matches!(view.case.shape.opcode(), 3 | 6..);
    "no question": |view| view.case.shape.n_questions == 0;
    "two questions": |view| view.case.shape.n_questions == 2;
    "question that cannot be read": |view| !view.case.shape.has_questions;
    "record that cannot be read": |view| view.case.shape.has_questions && !view.case.shape.is_whole;
    "octets after the last record": |view| view.case.shape.n_trailing > 0;
    "two OPTs": |view| view.case.shape.opts.len() > 1;
    "records beside the question": |view| !view.case.shape.others.is_empty();
    "response": |view| !view.case.shape.is_query();
    "less than a header": |view| view.case.query.packet.len() < 12;
    "random octets": |view| view.case.query.shown == "random octets";
}

impl<'c> View<'c> {
    /// Looks at a case.
    pub fn of(case: &'c Case<'c>) -> Self {
        let question = case.query.question.as_ref().filter(|question| question.class == 1);
        let name = question.map(|question| question.name.folded());
        let rtype = question.map(|question| question.rtype);
        let found = name.as_ref().and_then(|name| case.universe.zone_and_names_of(name));
        let (zone, names) = (found.map(|(zone, _)| zone), found.map(|(_, names)| names));
        let standing = name.as_ref().zip(names).map(|(name, names)| names.standing(name));
        Self { case, name, zone, names, standing, rtype, ours: case.ours().message() }
    }

    fn has_size(&self, from: u16, to: u16) -> bool {
        self.case.shape.opts.iter().any(|opt| (from..=to).contains(&opt.octets))
    }

    fn has_option(&self, is_meant: fn(u16, &[u8]) -> bool) -> bool {
        self.case.shape.opts.iter().flat_map(|opt| &opt.options).any(|(code, option)| is_meant(*code, option))
    }

    fn has_flag(&self, flag: u16) -> bool {
        self.case.query.question.is_some() && self.case.shape.flags & flag != 0
    }

    fn has_opcode(&self, opcode: u16) -> bool {
        self.case.shape.is_query() && self.case.shape.opcode() == opcode
    }

    fn has_rcode(&self, rcode: u16) -> bool {
        self.ours.is_some_and(|message| message.rcode == rcode)
    }

    fn has_answer(&self, is_meant: impl Fn(u16) -> bool) -> bool {
        self.ours.is_some_and(|message| message.sections[ANSWER].keys().any(|(_, rtype, _)| is_meant(*rtype)))
    }

    fn n_answers(&self, rtype: u16) -> usize {
        self.ours.map_or(0, |message| of_type(&message.sections[ANSWER], rtype).count())
    }

    fn has_authority(&self, rtype: u16) -> bool {
        self.ours.is_some_and(|message| of_type(&message.sections[AUTHORITY], rtype).next().is_some())
    }

    /// Whether it is answered with SOA and this code.
    fn is_negative(&self, rcode: u16) -> bool {
        self.has_rcode(rcode) && self.has_authority(6)
    }

    fn n_octets(&self) -> usize {
        self.ours.map_or(0, |message| message.n_octets)
    }

    /// Whether it does not fit into so many octets, which it may have.
    fn is_truncated_at(&self, n_octets: usize) -> bool {
        self.ours.is_some_and(Message::is_truncated) && self.case.octets_allowed() == n_octets
    }

    fn label(&self, is_meant: fn(&[u8]) -> bool) -> bool {
        self.case.query.question.iter().flat_map(|question| &question.name.0).any(|label| is_meant(label))
    }

    fn stands(&self, standing: &Standing) -> bool {
        self.standing.as_ref() == Some(standing)
    }

    /// A wildcard stands for the name: how many labels it is below the apex, how many labels it stands for, its name.
    fn wildcard(&self, is_meant: impl Fn(usize, usize, &Name) -> bool) -> bool {
        let (Some(Standing::Wildcard(owner)), Some(zone), Some(name)) = (&self.standing, self.zone, &self.name) else {
            return false;
        };
        is_meant(owner.0.len() - zone.apex.0.len(), name.0.len() - owner.0.len() + 1, owner)
    }

    fn cut(&self, is_meant: impl Fn(&Name, &Name, &Names) -> bool) -> bool {
        let (Some(Standing::Cut(owner)), Some(names), Some(name)) = (&self.standing, self.names, &self.name) else {
            return false;
        };
        is_meant(name, owner, names)
    }

    /// A referral to a server, at or below the cut or not as is meant, with or without its addresses.
    fn referral(&self, is_meant: fn(bool) -> bool, has_glue: bool) -> bool {
        let Some(message) = self.ours.filter(|message| message.sections[ANSWER].is_empty()) else { return false };
        of_type(&message.sections[AUTHORITY], NS).any(|((cut, ..), servers)| {
            let servers = servers.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata));
            let mut meant = servers.filter(|server| is_meant(server.is_within(cut)));
            meant.any(|server| message.sections[ADDITIONAL].keys().any(|(owner, ..)| *owner == server) == has_glue)
        })
    }

    fn is_child_apex(&self) -> bool {
        let (Some(zone), Some(name)) = (self.zone, &self.name) else { return false };
        *name == zone.apex && self.case.universe.zone_of(&zone.apex.parent()).is_some()
    }

    fn is_alias_loop(&self) -> bool {
        let Some(answer) = self.ours.map(|message| &message.sections[ANSWER]) else { return false };
        let mut aliases = of_type(answer, CNAME).peekable();
        aliases.peek().is_some()
            && aliases.all(|(_, alias)| {
                let mut targets = alias.rdatas.iter().filter_map(|rdata| Name::from_wire(rdata));
                targets.all(|target| answer.contains_key(&(target, CNAME, 1)))
            })
    }

    /// Whether an alias leads to where another zone, or nobody here, answers.
    fn leads_out(&self) -> bool {
        let (Some(zone), Some(message)) = (self.zone, self.ours) else { return false };
        let mut targets = of_type(&message.sections[ANSWER], CNAME).flat_map(|(_, alias)| &alias.rdatas);
        targets.any(|rdata| Name::from_wire(rdata).is_some_and(|target| !target.is_within(&zone.apex)))
    }
}

fn of_type(section: &Section, rtype: u16) -> impl Iterator<Item = (&RrsetKey, &Rrset)> {
    section.iter().filter(move |((_, other, _), _)| *other == rtype)
}
