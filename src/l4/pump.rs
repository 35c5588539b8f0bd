//! Moves bytes between two connections, both ways at once, until both ways are over, one side fails or nothing has come for too long.
//!
//! An idle connection holds no buffer: bytes are read into one buffer a thread, and what the other side does not take at once is the only
//! thing that is kept. While it is kept, nothing more is read from that side.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    net::Shutdown,
    pin::{Pin, pin},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

/// Bytes read at once, and so the most that is kept for one direction.
const CHUNK_OCTETS: usize = 64 << 10;

/// Chunks of one direction before the other one has its turn.
const CHUNKS_AT_ONCE: usize = 16;

/// How long the peers have to close after the idle timeout has closed to them.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    static CHUNK: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK_OCTETS].into());
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all they had to say.
    Finished,
    /// Nothing came from either side for the idle timeout; both were told.
    Idle,
    /// A side took no more, but had its say.
    Cut,
    /// A side failed; the other was told so with a RST.
    Aborted,
}

/// Counts of bytes, added to while the connection runs.
pub(super) struct Carried<'c> {
    pub(super) to_realserver: &'c AtomicU64,
    pub(super) to_client: &'c AtomicU64,
}

/// Carries everything between `client` and `realserver`, and closes both in the way that the end asks for.
///
/// The end of one direction is passed on, and the other goes on. Bytes in either direction, and nothing else, put off `idle_timeout`.
pub(super) async fn pump(
    mut client: TcpStream,
    mut realserver: TcpStream,
    idle_timeout: Duration,
    carried: Carried<'_>,
) -> End {
    let mut up = Direction::default();
    let mut down = Direction::default();
    let end = run(&mut up, &mut down, &mut client, &mut realserver, idle_timeout, carried).await;
    match end {
        End::Finished => {}
        // To close with the other side's data unread would send a RST, and that may destroy what has not been read there yet.
        End::Cut => {
            finish(&client);
            finish(&realserver);
            discard(&mut client, &mut realserver).await;
        }
        End::Aborted => {
            reset(&client);
            reset(&realserver);
        }
        End::Idle => {
            // A FIN claims that everything has arrived.
            if down.has_kept() {
                reset(&client)
            } else {
                finish(&client)
            }
            if up.has_kept() {
                reset(&realserver)
            } else {
                finish(&realserver)
            }
            discard(&mut client, &mut realserver).await;
        }
    }
    end
}

async fn run(
    up: &mut Direction,
    down: &mut Direction,
    client: &mut TcpStream,
    realserver: &mut TcpStream,
    idle_timeout: Duration,
    carried: Carried<'_>,
) -> End {
    let mut last = Instant::now();
    let mut idle = pin!(sleep(idle_timeout));
    poll_fn(|context| {
        let before = (up.n_written, down.n_written, up.n_read + down.n_read);
        let up_now = up.poll(context, client, realserver, down.is_over());
        let down_now = down.poll(context, realserver, client, up.is_over());
        let (to_realserver, to_client) = (up.n_written - before.0, down.n_written - before.1);
        if to_realserver > 0 {
            carried.to_realserver.fetch_add(to_realserver, Relaxed);
        }
        if to_client > 0 {
            carried.to_client.fetch_add(to_client, Relaxed);
        }
        match (up_now, down_now) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(End::Aborted),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                return Poll::Ready(match (up.is_over(), down.is_over()) {
                    (true, true) => End::Finished,
                    (false, false) => End::Aborted,
                    _ => End::Cut,
                });
            }
            _ => {}
        }
        if to_realserver > 0 || to_client > 0 || up.n_read + down.n_read > before.2 {
            last = Instant::now();
        }
        // The timer is set anew only when it fires, not with every byte.
        while idle.as_mut().poll(context).is_ready() {
            if last + idle_timeout <= Instant::now() {
                return Poll::Ready(End::Idle);
            }
            idle.as_mut().reset(last + idle_timeout);
        }
        Poll::Pending
    })
    .await
}

/// One way through the pump.
#[derive(Default)]
struct Direction {
    n_read: u64,
    n_written: u64,
    /// What was read and not yet taken; empty almost always.
    kept: VecDeque<u8>,
    state: State,
}

// state    what the sender does   what the receiver gets
// open     may send more          bytes
// ending   has ended              what is kept, then the end
// over     has ended              nothing more
// lost     is not read any more   nothing: it failed. Its own last words, the other direction, still count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ending,
    Over,
    Lost,
}

impl Direction {
    fn is_over(&self) -> bool {
        self.state == State::Over
    }

    fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Moves what can be moved. Ready once this direction has nothing more to do; an error is the sender's.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        is_other_over: bool,
    ) -> Poll<io::Result<()>> {
        for _ in 0..CHUNKS_AT_ONCE {
            if self.has_kept() {
                let taken = ready!(Pin::new(&mut *to).poll_write(context, self.kept.as_slices().0));
                let n_taken = self.count_taken(taken);
                self.kept.drain(..n_taken);
                if self.kept.is_empty() {
                    self.kept = VecDeque::new();
                }
                continue;
            }
            match self.state {
                State::Open => ready!(CHUNK.with_borrow_mut(|chunk| self.poll_chunk(context, from, to, chunk)))?,
                State::Ending => {
                    self.state = State::Over;
                    // With both directions over the sockets are closed anyway, and that says the same.
                    if !is_other_over {
                        finish(to);
                    }
                }
                State::Over | State::Lost => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once into `chunk` and writes what came; keeps what was not taken.
    fn poll_chunk(
        &mut self,
        context: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        chunk: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(chunk);
        ready!(Pin::new(from).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if read.is_empty() {
            self.state = State::Ending;
            return Poll::Ready(Ok(()));
        }
        self.n_read += read.len() as u64;
        let n_taken = match Pin::new(to).poll_write(context, read) {
            Poll::Ready(taken) => self.count_taken(taken),
            Poll::Pending => 0,
        };
        if self.state == State::Open {
            self.kept.extend(read.get(n_taken..).unwrap_or_default());
        }
        Poll::Ready(Ok(()))
    }

    /// How many bytes the receiver took; when it failed, none, and it gets no more.
    fn count_taken(&mut self, taken: io::Result<usize>) -> usize {
        let Ok(n_taken) = taken else {
            self.state = State::Lost;
            self.kept.clear();
            return 0;
        };
        self.n_written += n_taken as u64;
        n_taken
    }
}

/// Sends a FIN after all that has been written.
fn finish(stream: &TcpStream) {
    // Fails only when the connection is gone already.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Makes the coming close send a RST.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only when the connection is gone already.
    let _ = stream.set_zero_linger();
}

/// Reads and forgets what still comes, until both sides have ended or [`LINGER`] is over.
async fn discard(client: &mut TcpStream, realserver: &mut TcpStream) {
    let both = poll_fn(|context| {
        CHUNK.with_borrow_mut(|chunk| {
            let client = poll_discard(context, client, chunk);
            let realserver = poll_discard(context, realserver, chunk);
            if client.is_ready() && realserver.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
    });
    // Whoever has not ended by now is cut off.
    let _ = timeout(LINGER, both).await;
}

fn poll_discard(context: &mut Context<'_>, stream: &mut TcpStream, chunk: &mut [u8]) -> Poll<()> {
    for _ in 0..CHUNKS_AT_ONCE {
        let mut buffer = ReadBuf::new(chunk);
        let result = ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
        if result.is_err() || buffer.filled().is_empty() {
            return Poll::Ready(());
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}
