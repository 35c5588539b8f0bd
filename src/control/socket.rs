//! The server's end of the control socket: takes a request line, has it answered, writes the response line, closes.
//!
//! Who may come is decided by the socket's file mode (owner and group), who came by the kernel (`SO_PEERCRED`).

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::{Uid, User};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{
    Backend, connections,
    protocol::{self, REQUEST_OCTETS_MAX, Response},
};
use crate::shutdown::Shutdown;

/// Connections at once.
const CONNECTIONS_MAX: usize = 32;
/// Length of the listen backlog.
const BACKLOG: i32 = 128;
/// Longest wait for a whole request.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time an answer may take, above the longest that a client waits.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a response to be taken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a user's name: it may come from a directory service.
const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("a running server answers at the control socket `{}` already", .0.display())]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("`{}` exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system says no.
    #[error("could not {doing} `{}`: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// At which path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Opens the socket at `path`: makes its directory, replaces a socket that nobody answers at, and lets owner and group in.
pub fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |error| BindError::Io { doing, path, error }
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed("create the directory", parent))?;
    }
    remove_stale(path)?;
    let opening = || failed("open the control socket", path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(opening())?;
    socket.bind(&SockAddr::unix(path).map_err(opening())?).map_err(opening())?;
    // Before `listen` nobody can connect: there is no moment in which the mode is not yet right.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(opening())?;
    socket.listen(BACKLOG).map_err(opening())?;
    socket.set_nonblocking(true).map_err(opening())?;
    Ok(socket.into())
}

/// Removes the socket of a server that is gone.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BindError::Io { doing: "look at", path: path.to_owned(), error }),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        // `WouldBlock`: its backlog is full, so somebody is there.
        Ok(()) => return Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(BindError::InUse(path.to_owned())),
        Err(error) => return Err(BindError::Io { doing: "connect to the existing", path: path.to_owned(), error }),
    }
    fs::remove_file(path).map_err(|error| BindError::Io {
        doing: "remove the stale control socket",
        path: path.to_owned(),
        error,
    })
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Answers at `listener` until `shutdown.drain`, lets running requests end until `shutdown.abort`, and removes the socket's file.
pub async fn serve<B: Backend>(listener: UnixListener, backend: Arc<B>, shutdown: Shutdown) {
    let path = listener.local_addr().ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "control: the socket cannot be served");
            return;
        }
    };
    let serve = |stream| serve_connection(stream, backend.clone(), shutdown.clone());
    let running = connections::accept(&listener, CONNECTIONS_MAX, &shutdown, serve).await;
    // While the listener is open the path is ours: a new server would have found that somebody answers. What cannot be removed here,
    // because privileges are gone, the next start finds stale.
    if let Some(path) = path {
        let _ = fs::remove_file(path);
    }
    drop(listener);
    connections::finish(running, &shutdown).await;
}

async fn serve_connection<B: Backend>(mut stream: UnixStream, backend: Arc<B>, shutdown: Shutdown) {
    let line = tokio::select! {
        line = timeout(READ_TIMEOUT, read_line(&mut stream)) => line,
        () = shutdown.drain.cancelled() => return,
    };
    let response = match line {
        Err(_) => Response::error("no whole request came in time"),
        Ok(Err(error)) => {
            tracing::debug!(%error, "control: connection lost");
            return;
        }
        Ok(Ok(Line::Nothing)) => return,
        Ok(Ok(Line::TooLong)) => Response::error(format!("the request is longer than {REQUEST_OCTETS_MAX} octets")),
        Ok(Ok(Line::Whole(line))) => answer(&line, &stream, &*backend).await,
    };
    let line = match protocol::encode_response(&response) {
        Ok(line) => line,
        Err(error) => {
            tracing::error!(%error, "control: a response cannot be written");
            return;
        }
    };
    match timeout(WRITE_TIMEOUT, stream.write_all(&line)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "control: connection lost"),
        Err(_) => tracing::debug!("control: a client does not take its response"),
    }
}

async fn answer<B: Backend>(line: &[u8], stream: &UnixStream, backend: &B) -> Response {
    let request = match protocol::decode_request(line) {
        Ok(request) => request,
        Err(error) => return Response::error(error.to_string()),
    };
    let by = match stream.peer_cred() {
        Ok(credentials) => user_name(Uid::from_raw(credentials.uid())).await,
        Err(error) => return Response::error(format!("could not tell who is asking: {error}")),
    };
    tracing::debug!(?request, by, "control: request");
    match timeout(ANSWER_TIMEOUT, backend.handle(request, by)).await {
        Ok(response) => response,
        Err(_) => Response::error("the server did not get to an answer in time"),
    }
}

/// The name of the user `uid`, `uid N` if it has none.
async fn user_name(uid: Uid) -> String {
    let lookup = tokio::task::spawn_blocking(move || User::from_uid(uid));
    match timeout(USER_TIMEOUT, lookup).await {
        Ok(Ok(Ok(Some(user)))) => user.name,
        _ => format!("uid {uid}"),
    }
}

/// What came before the first newline.
enum Line {
    Whole(Vec<u8>),
    TooLong,
    /// The other end closed without a word.
    Nothing,
}

async fn read_line(stream: &mut UnixStream) -> io::Result<Line> {
    let mut line = Vec::with_capacity(1024);
    loop {
        let start = line.len();
        let room = REQUEST_OCTETS_MAX - start;
        if room == 0 {
            return Ok(Line::TooLong);
        }
        let is_end = (&mut *stream).take(room as u64).read_buf(&mut line).await? == 0;
        if let Some(newline) = line.iter().skip(start).position(|&byte| byte == b'\n') {
            line.truncate(start + newline);
            return Ok(Line::Whole(line));
        }
        if is_end {
            return Ok(if line.is_empty() { Line::Nothing } else { Line::Whole(line) });
        }
    }
}
