//! The command line's end of the control socket. Blocking: a command has nothing else to do while it waits.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::{self, LineError, RESPONSE_OCTETS_MAX, Request, Response};

/// Longest wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a reload: zones of a million records take their time.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at this path.
    #[error("no server answers at `{}`; is `fingerpost serve` running with this configuration?", .0.display())]
    NoServer(PathBuf),
    /// The socket's mode keeps this user out.
    #[error("not allowed to talk to the server at `{}`; run this as root, or as a user of the socket's group", .0.display())]
    NotAllowed(PathBuf),
    /// The server is there and says nothing.
    #[error("the server at `{}` did not answer within {} s", path.display(), waited.as_secs())]
    TimedOut {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The server closed the connection, as one that stops does.
    #[error("the server at `{}` closed the connection without an answer", .0.display())]
    Closed(PathBuf),
    /// More than [`RESPONSE_OCTETS_MAX`].
    #[error("the server's answer is longer than {RESPONSE_OCTETS_MAX} octets")]
    TooLong,
    /// The two ends do not understand each other.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Anything else.
    #[error("could not talk to the server at `{}`: {error}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Asks the server at `path`. A refusal is a [`Response::Error`], not an error.
pub fn request(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let waited = if matches!(request, Request::Reload) { RELOAD_TIMEOUT } else { ANSWER_TIMEOUT };
    exchange(path, &protocol::encode_request(request)?, waited)
}

fn exchange(path: &Path, line: &[u8], waited: Duration) -> Result<Response, ClientError> {
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NoServer(path.to_owned()),
        ErrorKind::PermissionDenied => ClientError::NotAllowed(path.to_owned()),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::TimedOut { path: path.to_owned(), waited },
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => ClientError::Closed(path.to_owned()),
        _ => ClientError::Io { path: path.to_owned(), error },
    };
    let mut stream = connect(path, waited).map_err(failed)?;
    match stream.write_all(line) {
        // The server may refuse a request before it has read all of it; then its answer is there to be read.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.map_err(failed)?,
    }
    let mut response = Vec::new();
    let most = RESPONSE_OCTETS_MAX as u64;
    BufReader::new(stream).take(most).read_until(b'\n', &mut response).map_err(failed)?;
    match response.last() {
        Some(b'\n') => Ok(protocol::decode_response(&response)?),
        Some(_) if response.len() >= RESPONSE_OCTETS_MAX => Err(ClientError::TooLong),
        _ => Err(ClientError::Closed(path.to_owned())),
    }
}

fn connect(path: &Path, waited: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Before connecting: it also bounds the wait for a place in a full backlog.
    socket.set_write_timeout(Some(waited))?;
    socket.set_read_timeout(Some(waited))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}
