//! Asks a primary whether it has a newer zone, and has it sent: one TCP connection, everything on it with a limit.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    answer::AXFR,
    clock::time_since_1970,
    incoming::{self, Incoming, IncomingError},
    tsig::{ResponseError, Session},
    wire::is_newer,
};
use crate::{config::Party, name::Name, zone::rtype};

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

/// Fetches the zone `apex` from `primary` if its serial is after `have`, or if we have none.
///
/// # Errors
/// Whatever kept it from being fetched whole.
pub async fn fetch(apex: &Name, primary: &Party, have: Option<u32>) -> Result<Fetched, FetchError> {
    timeout(TRANSFER_TIMEOUT, fetch_in_time(apex, primary, have)).await.map_err(|_| FetchError::Timeout)?
}

async fn fetch_in_time(apex: &Name, primary: &Party, have: Option<u32>) -> Result<Fetched, FetchError> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(primary.address)).await;
    let mut stream = connected.map_err(|_| FetchError::Timeout)??;
    if let Some(have) = have {
        let id = fastrand::u16(..);
        let mut session = send(&mut stream, incoming::query(apex, rtype::SOA, id), primary).await?;
        let message = receive(&mut stream, session.as_mut()).await?;
        if !is_newer(incoming::serial(&message, apex, id)?, have) {
            return Ok(Fetched::Current);
        }
    }
    let id = fastrand::u16(..);
    let mut session = send(&mut stream, incoming::query(apex, AXFR, id), primary).await?;
    let mut zone = Incoming::new(apex.clone(), id);
    loop {
        let message = receive(&mut stream, session.as_mut()).await?;
        if zone.take(&message)? {
            break;
        }
    }
    if session.is_some_and(|session| !session.is_complete()) {
        return Err(ResponseError::Unsigned.into());
    }
    let (serial, text) = zone.finish().ok_or(IncomingError::NoSoa)?;
    Ok(Fetched::Zone { serial, text })
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
