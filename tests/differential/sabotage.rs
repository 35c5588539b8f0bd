//! Makes a good reply wrong in every way that matters, to see whether the judge notices: it proves that the judge can fail at all, and that
//! no explanation is so wide that a mistake of ours fits in.

use fastrand::Rng;

use crate::{
    judge::{Case, Essence, Verdict},
    message::{AA, ADDITIONAL, ANSWER, AUTHORITY, Message, Opt, QR, Reply, Rrset, RrsetKey, Section, TC, glue},
    name::Name,
    queries::{Draft, Edns, Question},
    shape::Shape,
    zones::Universe,
};

/// RA, which nobody here sets.
const RA: u16 = 0x0080;
const RD: u16 = 0x0100;
const DO: u16 = 0x8000;
const NS: u16 = 2;
const NOERROR: u16 = 0;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;

/// Every way in which our reply can be wrong and the judge does not say so, though no reference gives just that; and how many were tried.
pub fn unnoticed(case: &Case<'_>) -> (usize, Vec<String>) {
    let spoilt = spoil(case);
    let n_tried = spoilt.len();
    let is_unnoticed = |reply: &Reply| {
        let [_, knot, nsd, bind] = case.replies;
        let replies = [reply, knot, nsd, bind];
        let case = Case { replies, shape: case.shape.clone(), ..*case };
        let is_taken_from_another = || replies[1..].iter().any(|theirs| case.essence(theirs) == case.essence(reply));
        matches!(case.verdict(), Verdict::Explained(_)) && !is_taken_from_another()
    };
    let unnoticed = spoilt.into_iter().filter(|(_, reply)| is_unnoticed(reply)).map(|(how, _)| how).collect();
    (n_tried, unnoticed)
}

/// Our reply, wrong in one way each.
fn spoil(case: &Case<'_>) -> Vec<(String, Reply)> {
    let Some(ours) = case.ours().message() else {
        return Vec::new();
    };
    let mut all = vec![("no reply".to_owned(), Reply::Silence)];
    let mut add = |how: &str, change: &dyn Fn(&mut Message)| {
        let mut message = ours.clone();
        change(&mut message);
        if message != *ours {
            all.push((how.to_owned(), Reply::Message(Box::new(message))));
        }
    };
    add("RCODE", &|message| message.rcode = if message.rcode == NOERROR { NXDOMAIN } else { NOERROR });
    add("SERVFAIL", &|message| message.rcode = SERVFAIL);
    add("AA", &|message| message.flags ^= AA);
    add("RA", &|message| message.flags ^= RA);
    add("RD", &|message| message.flags ^= RD);
    add("opcode", &|message| message.flags ^= 0x0800);
    add("question left out", &|message| message.question.clear());
    add("question in other letters", &|message| {
        for octet in message.question.iter_mut().filter(|octet| octet.is_ascii_lowercase()).take(1) {
            octet.make_ascii_uppercase();
        }
    });
    add("OPT left out", &|message| message.opt = None);
    add("DO", &|message| message.opt.iter_mut().for_each(|opt| opt.flags ^= DO));
    add("NSID left out", &|message| message.opt.iter_mut().for_each(|opt| opt.nsid = None));
    add("ECS left out", &|message| message.opt.iter_mut().for_each(|opt| opt.ecs = None));
    add("ECS scope", &|message| {
        let options = message.opt.iter_mut().filter_map(|opt| opt.ecs.as_mut());
        options.filter_map(|option| option.get_mut(3)).for_each(|scope| *scope += 1);
    });
    // What is sent with TC, and how much for ANY, is a matter of taste.
    if ours.is_truncated() || case.is_any() {
        return all;
    }
    // Where none of the others has room for all, nobody can tell whether we have.
    let is_whole = |reply: &Reply| match case.essence(reply) {
        Essence::Message(theirs) => theirs.rcode == ours.rcode && theirs.flags & TC == 0 && !case.lacks_glue(&theirs),
        _ => false,
    };
    if case.replies[1..].iter().any(|reply| is_whole(reply)) {
        add("TC", &|message| message.flags |= TC);
    }
    let glue = glue(ours);
    let sections = [(ANSWER, "answer"), (AUTHORITY, "authority"), (ADDITIONAL, "glue")];
    let theirs = || case.replies[1..].iter().filter_map(|reply| reply.message());
    for (section, title) in sections {
        // What none of the others has given, nobody can tell to be wrong.
        let due = ours.sections[section]
            .keys()
            .filter(|key| section != ADDITIONAL || glue.contains_key(*key))
            .filter(|key| theirs().any(|message| message.sections[section].contains_key(*key)));
        for key in due {
            // Behind an alias a referral only spares the resolver a question.
            if section != AUTHORITY || ours.sections[ANSWER].is_empty() || key.1 != NS {
                add(&format!("{title} RRset left out"), &|message| {
                    message.sections[section].remove(key);
                });
            }
            add(&format!("{title} record left out"), &|message| {
                message.sections[section].entry(key.clone()).and_modify(|rrset| {
                    rrset.rdatas.pop_first();
                });
            });
            add(&format!("{title} data"), &|message| {
                message.sections[section].entry(key.clone()).and_modify(|rrset| {
                    let first = rrset.rdatas.pop_first().map(|mut rdata| {
                        // Behind a first length octet a letter of a name changes; of no other type matters what.
                        let at = usize::from(rdata.len() > 1);
                        rdata.get_mut(at).into_iter().for_each(|octet| *octet ^= 1);
                        rdata
                    });
                    rrset.rdatas.extend(first);
                });
            });
            add(&format!("{title} TTL"), &|message| {
                message.sections[section].entry(key.clone()).and_modify(|rrset| {
                    rrset.ttls = rrset.ttls.iter().map(|ttl| ttl ^ 1).collect();
                });
            });
        }
    }
    let extra: RrsetKey = (Name::of("extra.example"), 1, 1);
    for (section, title) in sections {
        add(&format!("{title} record that is none"), &|message| {
            let rrset = message.sections[section].entry(extra.clone()).or_default();
            rrset.ttls.insert(300);
            rrset.rdatas.insert(vec![192, 0, 2, 1]);
        });
    }
    all
}

/// The verdict when `replies` are these.
fn verdict(case: &Case<'_>, replies: [&Reply; 4]) -> Verdict {
    Case { replies, shape: case.shape.clone(), ..*case }.verdict()
}

#[test]
fn judge_reports_every_mistake_of_ours_and_none_of_a_single_reference() {
    let universe = Universe::generate(&mut Rng::with_seed(1), 2);
    let apex = universe.zones[0].apex.clone();
    let options = vec![(3, Vec::new()), (8, vec![0, 1, 24, 0, 192, 0, 2])];
    let edns = Some(Edns { options, ..Edns::plain() });
    let query = Draft { flags: 0, question: Question { name: apex.clone(), rtype: 15, class: 1 }, edns }.query();
    let rrset = |rtype: u16, rdatas: &[&[u8]]| {
        let rdatas = rdatas.iter().map(|rdata| rdata.to_vec()).collect();
        Section::from([((apex.clone(), rtype, 1), Rrset { ttls: [300].into(), rdatas })])
    };
    let answer = rrset(15, &[b"\0\x01\x01a\0", b"\0\x02\x01b\0"]);
    let negative = rrset(6, &[b"\x01a\0\x01b\0soa"]);
    for sections in [[answer, Section::new(), Section::new()], [Section::new(), negative, Section::new()]] {
        let opt = Opt { version: 0, flags: 0, nsid: Some(b"here".to_vec()), ecs: Some(vec![0, 1, 24, 0, 192, 0, 2]) };
        let question = query.question.as_ref().map(Question::wire).unwrap_or_default();
        let message = Message {
            flags: QR | AA,
            rcode: 0,
            question,
            sections,
            opt: Some(opt),
            has_duplicates: false,
            n_octets: 99,
        };
        let good = Reply::Message(Box::new(message));
        let shape = Shape::of(&query.packet);
        let case =
            Case { universe: &universe, query: &query, is_tcp: false, replies: [&good; 4], shape, ours_by_tcp: None };
        assert!(matches!(case.verdict(), Verdict::Same));
        let spoilt = spoil(&case);
        assert!(spoilt.len() >= 20, "only {} mistakes", spoilt.len());
        for (how, bad) in &spoilt {
            let is_different = |replies: [&Reply; 4]| matches!(verdict(&case, replies), Verdict::Different(_));
            assert!(is_different([bad, &good, &good, &good]), "{how} is not reported");
            assert!(!is_different([&good, bad, &good, &good]), "{how} of Knot alone is reported");
        }
    }
}
