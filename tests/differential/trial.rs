//! One run of the judge: asks, asks again where a reply may have been lost, compares, counts, and tells.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    net::SocketAddr,
    thread,
    time::Duration,
};

use crate::{
    aspects::{ASPECTS, View},
    exchange,
    explained::{EXPLAINED, Explained},
    judge::{Case, Verdict},
    message::Reply,
    queries::Query,
    sabotage,
    servers::{Fleet, Kind},
    shape::Shape,
    zones::Universe,
};

/// Different kinds of differences that are shown.
const SHOWN_MAX: usize = 12;
/// Wait after the last reply before a packet is asked again or counts as unanswered.
const PATIENCE: Duration = Duration::from_millis(300);
/// The same for a packet that is asked alone, because its reply is missing and makes a difference.
const LONG_PATIENCE: Duration = Duration::from_secs(2);
/// How often a packet is asked over UDP until it counts as unanswered.
const N_ATTEMPTS: usize = 2;
/// How often a case is heard again with the replies that were missing.
const N_APPEALS: usize = 2;
/// Of cases without explanation, one in so many is spoilt, to see whether that is noticed.
const SPOILT_EVERY: usize = 200;
/// Of cases with the same explanations, which could be too wide, so many are spoilt.
const SPOILT_MAX: usize = 12;

/// What came of a run.
pub struct Report {
    /// Packets that were asked.
    pub n_packets: usize,
    /// Packets that at least two references replied to.
    pub n_judged: usize,
    /// Replies of ours that were compared.
    pub n_cases: usize,
    /// The same by how many references agree in everything that matters, where need be after they were put right.
    pub n_agreeing: [usize; 4],
    /// By index in [`EXPLAINED`].
    pub n_explained: Vec<usize>,
    /// By index in [`ASPECTS`].
    pub n_met: Vec<usize>,
    /// Cases whose replies were asked for again.
    pub n_appeals: usize,
    /// Cases by the names of their explanations.
    n_alike: BTreeMap<Vec<&'static str>, usize>,
    /// Mistakes that were made on purpose.
    pub n_spoilt: usize,
    /// Those that were not noticed: how often, and the first of them.
    pub unnoticed: BTreeMap<String, (usize, String)>,
    /// Descriptions by what they have in common.
    pub different: BTreeMap<String, Vec<String>>,
}

/// What one server replied.
struct Replies {
    by_udp: Vec<Reply>,
    /// By index of the query.
    by_tcp: HashMap<usize, Reply>,
}

/// Asks all servers about `universe` and compares.
pub fn hold(universe: &Universe, queries: &[Query], origin: &str) -> Report {
    let mut fleet = Fleet::start(universe);
    let addresses = fleet.addresses();
    let mut replies = thread::scope(|scope| {
        let asking = addresses.map(|address| scope.spawn(move || ask(address, queries)));
        asking.map(|replies| replies.join().expect("asking does not fail"))
    });
    let mut report = Report::new(queries);
    for (index, query) in queries.iter().enumerate() {
        for is_tcp in [false, true] {
            if is_tcp && !query.is_for_tcp {
                continue;
            }
            for n_heard in 0..=N_APPEALS {
                let case = case(universe, query, index, is_tcp, &replies);
                let verdict = case.verdict();
                let is_open = matches!(verdict, Verdict::Different(_)) && n_heard < N_APPEALS;
                if !is_open || !ask_again(query, index, is_tcp, &addresses, &mut replies) {
                    let case = self::case(universe, query, index, is_tcp, &replies);
                    report.enter(&case, verdict);
                    break;
                }
                report.n_appeals += 1;
            }
        }
    }
    println!("{}", report.text(origin));
    if !report.different.is_empty() {
        println!("zones, configurations and logs: {}", fleet.keep_folder().display());
    }
    report
}

fn case<'c>(
    universe: &'c Universe,
    query: &'c Query,
    index: usize,
    is_tcp: bool,
    replies: &'c [Replies; 4],
) -> Case<'c> {
    let by_udp = || replies.each_ref().map(|replies| &replies.by_udp[index]);
    let by_tcp = || replies.each_ref().map(|replies| &replies.by_tcp[&index]);
    let replies_asked = if is_tcp { by_tcp() } else { by_udp() };
    let shape = Shape::of(&query.packet);
    Case { universe, query, is_tcp, replies: replies_asked, shape, ours_by_tcp: replies[0].by_tcp.get(&index) }
}

/// Asks for what is missing, alone and with patience: replies that were lost or late, and ours over TCP. False if nothing is missing.
fn ask_again(
    query: &Query,
    index: usize,
    is_tcp: bool,
    addresses: &[SocketAddr; 4],
    replies: &mut [Replies; 4],
) -> bool {
    let mut is_new = false;
    for (address, replies) in addresses.iter().zip(replies.iter_mut()) {
        let reply = match is_tcp {
            true => replies.by_tcp.get_mut(&index),
            false => replies.by_udp.get_mut(index),
        };
        let Some(reply) = reply.filter(|reply| matches!(reply, Reply::Silence | Reply::Closed)) else { continue };
        let packets = std::slice::from_ref(&query.packet);
        let again = match is_tcp {
            true => exchange::ask_tcp_alone(*address, packets, LONG_PATIENCE),
            false => exchange::ask_udp(*address, packets, LONG_PATIENCE, 1),
        };
        for again in again {
            is_new |= again != *reply;
            *reply = again;
        }
    }
    let (ours, address) = (&mut replies[Kind::Fingerpost as usize], addresses[Kind::Fingerpost as usize]);
    if !ours.by_tcp.contains_key(&index) {
        let whole = exchange::ask_tcp_alone(address, std::slice::from_ref(&query.packet), LONG_PATIENCE);
        ours.by_tcp.extend(whole.into_iter().map(|reply| (index, reply)));
        is_new = true;
    }
    is_new
}

fn ask(address: SocketAddr, queries: &[Query]) -> Replies {
    let packets: Vec<Vec<u8>> = queries.iter().map(|query| query.packet.clone()).collect();
    let by_udp = exchange::ask_udp(address, &packets, PATIENCE, N_ATTEMPTS);
    let mut by_tcp = HashMap::new();
    for is_well_formed in [true, false] {
        let indexes: Vec<usize> = (0..queries.len())
            .filter(|&index| queries[index].is_for_tcp && queries[index].is_well_formed == is_well_formed)
            .collect();
        let packets: Vec<Vec<u8>> = indexes.iter().map(|&index| packets[index].clone()).collect();
        let replies = match is_well_formed {
            true => exchange::ask_tcp(address, &packets),
            false => exchange::ask_tcp_alone(address, &packets, PATIENCE),
        };
        by_tcp.extend(indexes.into_iter().zip(replies));
    }
    Replies { by_udp, by_tcp }
}

impl Report {
    fn new(queries: &[Query]) -> Self {
        Self {
            n_packets: queries.len(),
            n_judged: 0,
            n_cases: 0,
            n_agreeing: [0; 4],
            n_explained: vec![0; EXPLAINED.len()],
            n_met: vec![0; ASPECTS.len()],
            n_appeals: 0,
            n_alike: BTreeMap::new(),
            n_spoilt: 0,
            unnoticed: BTreeMap::new(),
            different: BTreeMap::new(),
        }
    }

    fn enter(&mut self, case: &Case<'_>, verdict: Verdict) {
        self.n_cases += 1;
        let references = [Kind::Knot, Kind::Nsd, Kind::Bind];
        let n_replying = references.iter().filter(|&&kind| case.reply(kind).message().is_some()).count();
        self.n_judged += usize::from(!case.is_tcp && n_replying >= 2);
        let view = View::of(case);
        for (n_met, aspect) in self.n_met.iter_mut().zip(ASPECTS) {
            *n_met += usize::from((aspect.is_met)(&view));
        }
        let explanations = match verdict {
            Verdict::Different(problem) => {
                self.different.entry(case.signature()).or_default().push(case.describe(problem));
                return;
            }
            Verdict::Same => Vec::new(),
            Verdict::Explained(explanations) => explanations,
        };
        self.n_agreeing[case.n_agreeing(&explanations)] += 1;
        for (n_explained, explained) in self.n_explained.iter_mut().zip(EXPLAINED) {
            *n_explained += usize::from(explanations.iter().any(|other| other.name == explained.name));
        }
        let names: Vec<&'static str> = explanations.iter().map(|explained| explained.name).collect();
        let n_alike = self.n_alike.entry(names.clone()).or_default();
        *n_alike += 1;
        let is_chosen = if names.is_empty() { n_alike.is_multiple_of(SPOILT_EVERY) } else { *n_alike <= SPOILT_MAX };
        if is_chosen {
            let (n_spoilt, unnoticed) = sabotage::unnoticed(case);
            self.n_spoilt += n_spoilt;
            for how in unnoticed {
                let title = format!("{how}, explained by {names:?}");
                let (n_unnoticed, _) = self.unnoticed.entry(title).or_insert((0, case.describe("is spoilt")));
                *n_unnoticed += 1;
            }
        }
    }

    fn text(&self, origin: &str) -> String {
        let mut text = format!(
            "{origin}: {} packets, {} of them judged by two or three references; {} replies compared, {} of them asked for again\n",
            self.n_packets, self.n_judged, self.n_cases, self.n_appeals
        );
        let [none, one, two, three] = self.n_agreeing;
        let _ = writeln!(text, "agreeing references: three {three}, two {two}, one {one}, none {none}");
        let _ = writeln!(text, "mistakes made on purpose: {}, unnoticed:", self.n_spoilt);
        for (how, (n_unnoticed, first)) in &self.unnoticed {
            let _ = writeln!(text, "{n_unnoticed:6} {how}\n{first}");
        }
        let _ = writeln!(text, "asked about:");
        for (n_met, aspect) in self.n_met.iter().zip(ASPECTS) {
            let _ = writeln!(text, "{n_met:6} {}", aspect.name);
        }
        let _ = writeln!(text, "explained:");
        for (n_explained, Explained { name, rfc, why, .. }) in self.n_explained.iter().zip(EXPLAINED) {
            let _ = writeln!(text, "{n_explained:6} {name} ({rfc}): {why}");
        }
        text
    }

    /// What is different, most frequent kind first; empty if nothing is.
    pub fn differences(&self) -> String {
        let mut kinds: Vec<(&String, &Vec<String>)> = self.different.iter().collect();
        kinds.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
        kinds.iter().take(SHOWN_MAX).fold(String::new(), |mut text, (signature, cases)| {
            let shortest = cases.iter().min_by_key(|case| case.len()).map_or("", String::as_str);
            let _ = writeln!(text, "\n=== {} times: {signature}\n{shortest}", cases.len());
            text
        })
    }

    /// Aspects that no query was about.
    pub fn unmet(&self) -> Vec<&'static str> {
        self.n_met.iter().zip(ASPECTS).filter(|(n_met, _)| **n_met == 0).map(|(_, aspect)| aspect.name).collect()
    }
}
