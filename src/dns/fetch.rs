//! Asks a primary whether it has a newer zone, and has it sent: over TCP, everything with a limit. Where there is a zone already, only what has
//! changed is asked for (IXFR); whatever goes wrong with that, the whole zone is asked for after it.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};
use tracing::info;

use super::{
    answer::AXFR,
    clock::time_since_1970,
    differences::{self, Answer, IncomingDifferences},
    incoming::{self, Incoming, IncomingError},
    tsig::{ResponseError, Session},
    wire::is_newer,
};
use crate::{
    config::Party,
    name::Name,
    zone::{Zone, rtype},
};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for a message to come.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest time for all of it.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// What a primary has.
#[derive(Debug)]
pub enum Fetched {
    /// Nothing newer.
    Current,
    /// A zone with this serial, as a master file.
    Zone {
        /// The serial.
        serial: u32,
        /// The master file; names in it are absolute.
        text: String,
        /// Whether only what has changed was sent.
        is_by_differences: bool,
    },
}

/// Why a primary was of no use.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// It said nothing for too long, or too much.
    #[error("no answer in time")]
    Timeout,
    /// What it said cannot be used.
    #[error("its answer cannot be used: {0}")]
    Answer(Box<str>),
}

impl From<IncomingError> for FetchError {
    fn from(error: IncomingError) -> Self {
        Self::Answer(error.to_string().into())
    }
}

impl From<ResponseError> for FetchError {
    fn from(error: ResponseError) -> Self {
        Self::Answer(error.to_string().into())
    }
}

/// Fetches the zone `apex` from `primary` if its serial is after that of `have`, or if we have none.
///
/// # Errors
/// Whatever kept it from being fetched whole.
pub async fn fetch(apex: &Name, primary: &Party, have: Option<&Arc<Zone>>) -> Result<Fetched, FetchError> {
    timeout(TRANSFER_TIMEOUT, fetch_in_time(apex, primary, have)).await.map_err(|_| FetchError::Timeout)?
}

async fn fetch_in_time(apex: &Name, primary: &Party, have: Option<&Arc<Zone>>) -> Result<Fetched, FetchError> {
    let mut stream = connect(primary).await?;
    if let Some(have) = have {
        let id = fastrand::u16(..);
        let mut session = send(&mut stream, incoming::query(apex, rtype::SOA, id), primary).await?;
        let message = receive(&mut stream, session.as_mut()).await?;
        if !is_newer(incoming::serial(&message, apex, id)?, have.serial()) {
            return Ok(Fetched::Current);
        }
        match fetch_differences(&mut stream, apex, primary, have).await {
            Ok(fetched) => return Ok(fetched),
            Err(problem) => {
                let primary = primary.address;
                info!(zone = %apex, %primary, %problem, "what has changed in the zone cannot be used: fetching all of it");
            }
        }
        // Whatever else comes on the old one belongs to what went wrong.
        stream = connect(primary).await?;
    }
    fetch_whole(&mut stream, apex, primary).await
}

async fn fetch_whole(stream: &mut TcpStream, apex: &Name, primary: &Party) -> Result<Fetched, FetchError> {
    let id = fastrand::u16(..);
    let mut session = send(stream, incoming::query(apex, AXFR, id), primary).await?;
    let mut zone = Incoming::new(apex.clone(), id);
    while !zone.take(&receive(stream, session.as_mut()).await?)? {}
    check_end(session.as_ref())?;
    let (serial, text) = zone.finish().ok_or(IncomingError::NoSoa)?;
    Ok(Fetched::Zone { serial, text, is_by_differences: false })
}

async fn fetch_differences(
    stream: &mut TcpStream,
    apex: &Name,
    primary: &Party,
    have: &Arc<Zone>,
) -> Result<Fetched, FetchError> {
    let id = fastrand::u16(..);
    let mut session = send(stream, differences::query(have, id), primary).await?;
    let mut answer = IncomingDifferences::new(apex.clone(), id, have.serial());
    while !answer.take(&receive(stream, session.as_mut()).await?)? {}
    check_end(session.as_ref())?;
    match answer.finish().ok_or(IncomingError::NoSoa)? {
        Answer::Current => Ok(Fetched::Current),
        Answer::Whole(serial, text) => Ok(Fetched::Zone { serial, text, is_by_differences: false }),
        Answer::Differences(differences) => {
            let (serial, have) = (differences.serial(), have.clone());
            // The zone may be large.
            let applied = spawn_blocking(move || differences.apply(&have)).await;
            let text = applied.map_err(io::Error::other)??;
            Ok(Fetched::Zone { serial, text, is_by_differences: true })
        }
    }
}

/// The last message of a transfer must be signed if the first was (RFC 8945 §5.3.1).
fn check_end(session: Option<&Session>) -> Result<(), FetchError> {
    if session.is_some_and(|session| !session.is_complete()) { Err(ResponseError::Unsigned.into()) } else { Ok(()) }
}

async fn connect(primary: &Party) -> Result<TcpStream, FetchError> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(primary.address)).await;
    Ok(connected.map_err(|_| FetchError::Timeout)??)
}

async fn send(stream: &mut TcpStream, mut message: Vec<u8>, primary: &Party) -> Result<Option<Session>, FetchError> {
    let now = time_since_1970().as_secs();
    let session = primary.key.as_ref().map(|key| Session::request(key.clone(), &mut message, now));
    let mut framed = u16::try_from(message.len()).map_err(io::Error::other)?.to_be_bytes().to_vec();
    framed.extend(message);
    timeout(MESSAGE_TIMEOUT, stream.write_all(&framed)).await.map_err(|_| FetchError::Timeout)??;
    Ok(session)
}

/// The next message, its signature checked and taken off.
async fn receive(stream: &mut TcpStream, session: Option<&mut Session>) -> Result<Vec<u8>, FetchError> {
    let read = timeout(MESSAGE_TIMEOUT, read_message(stream)).await;
    let message = read.map_err(|_| FetchError::Timeout)??;
    match session {
        None => Ok(message),
        Some(session) => Ok(session.check(&message, time_since_1970().as_secs())?.unwrap_or(message)),
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = Vec::new();
    stream.take(length.into()).read_to_end(&mut message).await?;
    if message.len() == usize::from(length) { Ok(message) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        dns::{
            encode::Transport,
            exchange::{Circumstances, Exchange, exchange},
            header::HEADER_OCTETS,
            testing::{CONFIG, snapshot},
            wire::open,
        },
        snapshot::Snapshot,
    };

    const OLD: &str = "$ORIGIN example.org.\n@ 60 SOA ns h 1 2 3 4 60\n@ 60 NS ns\nwww 60 A 192.0.2.1\n";

    /// What a primary does when it is asked for differences.
    #[derive(Clone, Debug)]
    enum Answered {
        /// Sends all of the zone.
        Whole,
        /// Answers with a response code.
        Rcode(u8),
        /// Closes the connection.
        Closed,
        /// Sends these as records.
        Records(Vec<Vec<u8>>),
    }

    /// A record of `www`, or of the apex for the SOA.
    fn record(is_soa: bool, rdata: &[u8]) -> Vec<u8> {
        let owner: &[u8] = if is_soa { b"\xc0\x0c" } else { b"\x03www\xc0\x0c" };
        let rtype = if is_soa { rtype::SOA } else { rtype::A };
        let length = u16::try_from(rdata.len()).expect("length");
        [owner, &rtype.to_be_bytes(), &[0, 1, 0, 0, 0, 60], &length.to_be_bytes(), rdata].concat()
    }

    fn soa(serial: u8) -> Vec<u8> {
        record(true, &[&[0, 0, 0, 0, 0, serial][..], &[0; 16]].concat())
    }

    /// Answers one query; `None` closes.
    fn answer(snapshot: &Arc<Snapshot>, wire: &[u8], answered: &Answered) -> Option<Vec<Vec<u8>>> {
        let peer = ([127, 0, 0, 1], 53).into();
        let circumstances = Circumstances { peer, transport: Transport::Tcp, random: 0, now: Duration::ZERO };
        let opening = open(wire).expect("query");
        let is_ixfr = opening.question.ends_with(&[0, 251, 0, 1]);
        let (rcode, records) = match answered {
            Answered::Rcode(rcode) if is_ixfr => (*rcode, &Vec::new()),
            Answered::Records(records) if is_ixfr => (0, records),
            Answered::Closed if is_ixfr => return None,
            _ => {
                return match exchange(snapshot, wire, circumstances) {
                    Exchange::Reply { message, .. } => Some(vec![message]),
                    Exchange::Transfer(mut outgoing) => {
                        let messages = std::iter::from_fn(|| outgoing.next_message(0));
                        Some(messages.map(|message| message.expect("fits")).collect())
                    }
                    Exchange::Drop(_) => None,
                };
            }
        };
        let mut message = wire[..HEADER_OCTETS].to_vec();
        message[2..4].copy_from_slice(&[0x84, rcode]);
        message[6..12].copy_from_slice(&[0, u8::try_from(records.len()).expect("count"), 0, 0, 0, 0]);
        message.extend(opening.question);
        message.extend(records.concat());
        Some(vec![message])
    }

    /// The address that `www` has after fetching from a primary that has serial 2 and answers like this, and whether by differences.
    async fn fetched(answered: Answered) -> (String, bool) {
        let config = CONFIG.replace("[dns]\n", "[dns]\nallow_transfer = [\"127.0.0.0/8\"]\n");
        let snapshot = snapshot(&config, &[&OLD.replace("h 1 ", "h 2 ").replace("192.0.2.1", "192.0.2.2")]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let primary = Party { address: listener.local_addr().expect("address"), key: None };
        let serving = async {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                while let Ok(wire) = read_message(&mut stream).await {
                    let Some(messages) = answer(&snapshot, &wire, &answered) else { break };
                    for message in messages {
                        let length = u16::try_from(message.len()).expect("length").to_be_bytes();
                        // Who has heard enough may be gone.
                        let _ = stream.write_all(&[&length[..], &message].concat()).await;
                    }
                }
            }
        };
        let zone = Arc::new(Zone::from_text(Path::new("example.org.zone"), OLD).expect("zone").0);
        let fetched = tokio::select! {
            fetched = fetch(zone.apex(), &primary, Some(&zone)) => fetched.expect("fetched"),
            () = serving => panic!("serves for ever"),
        };
        let Fetched::Zone { serial: 2, text, is_by_differences } = fetched else { panic!("{fetched:?}") };
        let address = text.lines().find_map(|line| line.strip_prefix("www.example.org. 60 IN A "));
        (address.expect("www").to_owned(), is_by_differences)
    }

    #[tokio::test]
    async fn rfc1995_differences_are_applied_and_what_goes_wrong_with_them_ends_with_the_whole_zone() {
        let (old, new) = (record(false, &[192, 0, 2, 1]), record(false, &[192, 0, 2, 9]));
        let right = vec![soa(2), soa(1), old.clone(), soa(2), new.clone(), soa(2)];
        assert_eq!(fetched(Answered::Records(right.clone())).await, ("192.0.2.9".to_owned(), true));
        for (reason, answered) in [
            ("the whole zone at once", Answered::Whole),
            ("NOTIMP", Answered::Rcode(4)),
            ("FORMERR", Answered::Rcode(1)),
            ("closes", Answered::Closed),
            ("another serial than ours", Answered::Records(vec![soa(2), soa(9), old, soa(2), new.clone(), soa(2)])),
            ("takes out what is not there", Answered::Records(vec![soa(2), soa(1), new.clone(), soa(2), soa(2)])),
            ("goes on", Answered::Records([right, vec![new]].concat())),
        ] {
            assert_eq!(fetched(answered).await, ("192.0.2.2".to_owned(), false), "{reason}");
        }
    }
}
