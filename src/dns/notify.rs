//! NOTIFY (RFC 1996): tells secondaries that a zone has a new serial, so that they need not wait for their next refresh.
//!
//! Every zone at start, then each whose serial has changed, to each configured secondary: over UDP, again after a growing wait until there is
//! an answer, one message at a time for a zone and secondary. Health that changes what a POOL stands for changes no serial, and tells nobody.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tracing::{debug, info, warn};

use super::{
    Counters,
    answer::CLASS_IN,
    clock::time_since_1970,
    header::{Counts, HEADER_OCTETS, Header, NOTIFY},
    tsig::Session,
    wire::open,
};
use crate::{
    config::Party,
    name::Name,
    shutdown::Shutdown,
    snapshot::{Snapshot, Snapshots},
    zone::{Zone, rtype},
};

/// Header flags of a request: the opcode and AA (RFC 1996 §4.5).
const REQUEST_FLAGS: [u8; 2] = [NOTIFY << 3 | 0x04, 0];
/// How often the zones are compared with what was told.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Exchanges at once; more wait.
const EXCHANGES_MAX: usize = 32;
/// Waits for an answer, each twice as long as the one before: about a minute in all. Then the secondary is left to its refresh timer.
const ATTEMPTS: u32 = 5;
/// The first of them.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest answer that is read.
const RESPONSE_OCTETS_MAX: usize = 1232;

/// One zone and who is to be told.
#[derive(Clone, Debug)]
struct Errand {
    apex: Name,
    party: Party,
}

/// What came of an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The secondary knows of this serial, or has answered that it does not care.
    Answered { serial: u32, rcode: u8 },
    /// No answer, or nobody to ask.
    Unanswered,
    /// There is no such zone any more.
    Gone,
}

/// Tells every change until `shutdown.drain`.
pub async fn notify_secondaries(snapshots: Arc<Snapshots>, counters: Arc<Counters>, shutdown: Shutdown) {
    let mut look = interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<Arc<Snapshot>> = None;
    let mut known: HashMap<Name, u32> = HashMap::new();
    // Those that wait and those under way; no zone and secondary is there twice.
    let mut waiting: VecDeque<Errand> = VecDeque::new();
    let mut busy: HashSet<(Name, SocketAddr)> = HashSet::new();
    let mut exchanges: JoinSet<(Errand, Told)> = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.drain.cancelled() => return,
            Some(ended) = exchanges.join_next(), if !exchanges.is_empty() => {
                let Ok((errand, told)) = ended else { continue };
                busy.remove(&(errand.apex.clone(), errand.party.address));
                counters.transfers.count_notify(told.outcome());
                log(&errand, told);
                let now = serial_of(&snapshots.load(), &errand.apex);
                if let Told::Answered { serial, .. } = told && now.is_some_and(|now| now != serial) {
                    add(&mut waiting, &mut busy, errand);
                }
            }
            _ = look.tick() => {
                let snapshot = snapshots.load_full();
                if !seen.as_ref().is_some_and(|seen| is_same(seen, &snapshot)) {
                    for errand in changes(&snapshot, &mut known) {
                        add(&mut waiting, &mut busy, errand);
                    }
                    seen = Some(snapshot);
                }
            }
        }
        while exchanges.len() < EXCHANGES_MAX
            && let Some(errand) = waiting.pop_front()
        {
            let snapshots = snapshots.clone();
            exchanges.spawn(async move {
                let told = tell(&snapshots, &errand).await;
                (errand, told)
            });
        }
    }
}

fn is_same(old: &Snapshot, new: &Snapshot) -> bool {
    Arc::ptr_eq(&old.zones, &new.zones) && Arc::ptr_eq(&old.transfer, &new.transfer)
}

fn add(waiting: &mut VecDeque<Errand>, busy: &mut HashSet<(Name, SocketAddr)>, errand: Errand) {
    if busy.insert((errand.apex.clone(), errand.party.address)) {
        waiting.push_back(errand);
    }
}

/// What is to be told of `snapshot` to whom, `known` being the serials before; it becomes those of now.
fn changes(snapshot: &Snapshot, known: &mut HashMap<Name, u32>) -> Vec<Errand> {
    let mut errands = Vec::new();
    known.retain(|apex, _| snapshot.zones.get(apex).is_some());
    for served in snapshot.zones.iter().filter(|served| !served.is_expired) {
        let (apex, serial) = (served.zone.apex(), served.zone.serial());
        if known.insert(apex.clone(), serial) != Some(serial) {
            errands.extend(
                snapshot.transfer.notify.iter().map(|party| Errand { apex: apex.clone(), party: party.clone() }),
            );
        }
    }
    errands
}

fn serial_of(snapshot: &Snapshot, apex: &Name) -> Option<u32> {
    snapshot.zones.get(apex).map(|served| served.zone.serial())
}

/// Tells one secondary until it answers. What is told is the serial of the moment, also when it changes meanwhile.
async fn tell(snapshots: &Snapshots, errand: &Errand) -> Told {
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        let Some(served) = snapshots.load().zones.get(&errand.apex).cloned() else { return Told::Gone };
        let serial = served.zone.serial();
        // Many zones that change at once are not repeated at once.
        let until = Instant::now() + wait.mul_f64(0.75 + 0.5 * fastrand::f64());
        match exchange(&served.zone, &errand.party, until).await {
            Ok(Some(rcode)) => return Told::Answered { serial, rcode },
            Ok(None) => {}
            Err(problem) => {
                debug!(zone = %errand.apex, secondary = %errand.party.address, %problem, "NOTIFY not sent");
                tokio::time::sleep_until(until).await;
            }
        }
        wait *= 2;
    }
    Told::Unanswered
}

/// Sends one request and waits for its response; `None` if there is none in time.
async fn exchange(zone: &Zone, party: &Party, until: Instant) -> io::Result<Option<u8>> {
    let any: IpAddr = if party.address.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(party.address).await?;
    let (message, mut session) = request(zone, party, fastrand::u16(..), time_since_1970().as_secs());
    socket.send(&message).await?;
    let mut buffer = [0; RESPONSE_OCTETS_MAX];
    loop {
        let Ok(received) = timeout_at(until, socket.recv(&mut buffer)).await else { return Ok(None) };
        let response = buffer.get(..received?).unwrap_or_default();
        let now = time_since_1970().as_secs();
        if let Some(rcode) = rcode_of(response, &message, session.as_mut(), now) {
            return Ok(Some(rcode));
        }
    }
}

/// The request: the zone's name, and its SOA as a hint (RFC 1996 §3.7).
fn request(zone: &Zone, party: &Party, id: u16, now: u64) -> (Vec<u8>, Option<Session>) {
    let mut message = Vec::with_capacity(512);
    message.extend(id.to_be_bytes());
    message.extend(REQUEST_FLAGS);
    message.extend([0, 1, 0, 1, 0, 0, 0, 0]);
    message.extend(zone.apex().as_wire());
    message.extend(rtype::SOA.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    let soa = zone.soa();
    let rdata = soa.rdatas().next().unwrap_or_default();
    message.extend(0xc00c_u16.to_be_bytes());
    message.extend(rtype::SOA.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend(soa.ttl.get().to_be_bytes());
    message.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
    message.extend(rdata);
    let session = party.key.as_ref().map(|key| Session::request(key.clone(), &mut message, now));
    (message, session)
}

/// The response code of `response`, if it is the response to `request`.
fn rcode_of(response: &[u8], request: &[u8], session: Option<&mut Session>, now: u64) -> Option<u8> {
    let (asked, _, _) = Header::parse(request)?;
    let (header, Counts { questions, .. }, _) = Header::parse(response)?;
    if !header.is_response() || header.opcode() != NOTIFY || header.id != asked.id {
        return None;
    }
    // Some echo no question.
    let has_question = questions == 0 || {
        let (asked, echoed) = (open(request).ok()?.question, open(response).ok()?.question);
        echoed.eq_ignore_ascii_case(asked)
    };
    let rcode = response.get(..HEADER_OCTETS)?.get(3)? & 0x0f;
    match session {
        // Who cannot sign at all says so unsigned; it is no news that a forger could give.
        Some(session) => session.check(response, now).ok()?.map(|_| rcode).filter(|_| has_question),
        None => has_question.then_some(rcode),
    }
}

impl Told {
    fn outcome(self) -> NotifyOutcome {
        match self {
            Self::Answered { rcode: 0, .. } => NotifyOutcome::Answered,
            Self::Answered { .. } => NotifyOutcome::Refused,
            Self::Unanswered | Self::Gone => NotifyOutcome::Unanswered,
        }
    }
}

/// What came of a NOTIFY, for those who count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotifyOutcome {
    /// NOERROR.
    Answered,
    /// Another response code.
    Refused,
    /// Nothing.
    Unanswered,
}

impl NotifyOutcome {
    /// All of them.
    pub(super) const ALL: [NotifyOutcome; 3] = [Self::Answered, Self::Refused, Self::Unanswered];

    /// As a metric's label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
        }
    }
}

fn log(errand: &Errand, told: Told) {
    let (zone, secondary) = (&errand.apex, errand.party.address);
    match told {
        Told::Answered { serial, rcode: 0 } => info!(%zone, serial, %secondary, "secondary notified"),
        Told::Answered { serial, rcode } => warn!(%zone, serial, %secondary, rcode, "secondary refuses NOTIFY"),
        Told::Unanswered => warn!(%zone, %secondary, "secondary does not answer NOTIFY"),
        Told::Gone => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::{CONFIG, snapshot};

    const ZONE: &str = "$ORIGIN example.org.\n$TTL 300\n@ SOA ns1 h 7 2 3 4 60\n@ NS ns1\nns1 A 192.0.2.53\n";

    fn notifying(zones: &[&str]) -> Arc<Snapshot> {
        let notify = "[dns]\nnotify = [\"192.0.2.54\", \"[2001:db8::54]:5300\"]\n";
        snapshot(&CONFIG.replace("[dns]\n", notify), zones)
    }

    fn told(snapshot: &Snapshot, known: &mut HashMap<Name, u32>) -> Vec<String> {
        let errands = changes(snapshot, known);
        errands.iter().map(|errand| format!("{} {}", errand.apex, errand.party.address)).collect()
    }

    #[test]
    fn every_secondary_hears_of_new_zones_and_new_serials_only() {
        let mut known = HashMap::new();
        let both = ["example.org. 192.0.2.54:53", "example.org. [2001:db8::54]:5300"];
        assert_eq!(told(&notifying(&[ZONE]), &mut known), both);
        assert_eq!(told(&notifying(&[ZONE]), &mut known), [""; 0]);
        assert_eq!(told(&notifying(&[&ZONE.replace(" 7 ", " 8 ")]), &mut known), both);
        assert_eq!(told(&notifying(&[]), &mut known), [""; 0]);
        assert!(known.is_empty(), "nothing is kept of a zone that is gone");
    }

    #[test]
    fn rfc1996_3_7_request_has_the_soa_and_only_its_own_response_counts() {
        let snapshot = notifying(&[ZONE]);
        let zone = &snapshot.zones.iter().next().expect("zone").zone;
        let (message, _) = request(zone, &snapshot.transfer.notify[0], 0x1234, 0);
        let parsed = hickory_proto::op::Message::from_vec(&message).expect("message");
        assert_eq!(parsed.metadata.op_code, hickory_proto::op::OpCode::Notify);
        assert!(parsed.metadata.authoritative && parsed.answers[0].to_string().contains(" 7 2 3 4 60"));
        let mut response = message.clone();
        assert_eq!(rcode_of(&response, &message, None, 0), None, "no response");
        response[2] |= 0x80;
        assert_eq!(rcode_of(&response, &message, None, 0), Some(0));
        response[3] = 5;
        assert_eq!(rcode_of(&response, &message, None, 0), Some(5));
        response[0] ^= 1;
        assert_eq!(rcode_of(&response, &message, None, 0), None, "another id");
        response[0] ^= 1;
        response[13] ^= 1;
        assert_eq!(rcode_of(&response, &message, None, 0), None, "another zone");
        for length in 0..response.len() {
            let _ = rcode_of(&response[..length], &message, None, 0);
        }
    }
}
