//! What happens on one connection of DNS over TCP or TLS (RFC 7766): framed messages, pipelined. Answers come in the order of the queries, but
//! a zone on its way holds up nobody: what is asked behind it is answered between its messages, which is why messages have ids (§6.2.1.1, §7).
//!
//! Memory is bounded: one message read, one written, and so many transfers, each of which makes a message when it is its turn.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    time::{Instant, timeout, timeout_at},
};

use super::{
    clock::time_since_1970,
    exchange::{Circumstances, concerns},
    tcp::{End, IDLE_TIMEOUT, QUERIES_MAX, READ_TIMEOUT, Server, WRITE_TIMEOUT, answer_framed},
    transfers::{self, MESSAGE_TIMEOUT, Sending},
};

/// What a connection reads ahead: a few pipelined queries.
const READ_AHEAD_OCTETS: usize = 1024;
/// Zones on their way on one connection at once. While there are so many nothing more is read.
const SENDINGS_MAX: usize = 4;

/// Answers the queries of one connection.
pub(super) async fn converse(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    peer: SocketAddr,
    server: &Server,
) -> End {
    let mut messages = Messages::new(reader);
    let mut sendings: VecDeque<Sending> = VecDeque::new();
    let mut n_queries = 0;
    // How it ends, once nothing more is read.
    let mut end = None;
    loop {
        if let Some(end) = end.filter(|_| sendings.is_empty()) {
            return end;
        }
        // Without an order: of a reader and of transfers that are always ready neither keeps the other from its turn.
        let next = tokio::select! {
            () = server.shutdown.drain.cancelled(), if end.is_none() => Next::End(End::Closed),
            read = messages.next(sendings.is_empty()), if end.is_none() && sendings.len() < SENDINGS_MAX => match read {
                Ok(wire) => Next::Query(wire),
                Err(end) => Next::End(end),
            },
            (at, has_turn) = next_turn(&mut sendings), if !sendings.is_empty() => Next::Turn(at, has_turn),
        };
        let written = match next {
            // What is on its way is still sent: who asks, says that it has nothing more to ask, and reads on is in its right.
            Next::End(found) => {
                end = Some(found);
                continue;
            }
            Next::Query(wire) => {
                n_queries += 1;
                match answer(server, &wire, peer) {
                    Reply::Nothing => {
                        end = Some(End::Closed);
                        continue;
                    }
                    Reply::Zone(sending) => {
                        sendings.push_back(sending);
                        Ok(())
                    }
                    Reply::Message(framed) => {
                        // A peer that is taking a zone may be slower.
                        let patience = if sendings.is_empty() { WRITE_TIMEOUT } else { MESSAGE_TIMEOUT };
                        let written = write(&mut writer, &framed, patience).await;
                        if written.is_err() {
                            server.messages().send_errors.add(1);
                        }
                        written
                    }
                }
            }
            Next::Turn(at, has_turn) => match sendings.remove(at) {
                Some(sending) if has_turn => send_next(sending, &mut sendings, &mut writer).await,
                Some(sending) => {
                    sending.fail("too many transfers at once");
                    Err(End::Timeout)
                }
                None => Ok(()),
            },
        };
        if let Err(end) = written {
            return end;
        }
        if n_queries == QUERIES_MAX && end.is_none() {
            end = Some(End::Closed);
        }
    }
}

/// What a connection does next.
enum Next {
    /// Answers this.
    Query(Vec<u8>),
    /// Sends a message of this transfer, or gives up waiting for its turn.
    Turn(usize, bool),
    /// Reads no more.
    End(End),
}

/// What a query gets.
enum Reply {
    Message(Vec<u8>),
    Zone(Sending),
    /// And no further hearing: who sends such a thing is no resolver.
    Nothing,
}

fn answer(server: &Server, wire: &[u8], peer: SocketAddr) -> Reply {
    if !concerns(wire) {
        return answer_framed(server, wire, peer).map_or(Reply::Nothing, Reply::Message);
    }
    let circumstances =
        Circumstances { peer, transport: server.transport, random: fastrand::u64(..), now: time_since_1970() };
    let snapshot = server.snapshots.load_full();
    match transfers::answer(&snapshot, wire, circumstances, &server.counters, server.messages()) {
        transfers::Reply::Message(message) => frame(&message).map_or(Reply::Nothing, Reply::Message),
        transfers::Reply::Zone(sending) => Reply::Zone(*sending),
        transfers::Reply::Nothing => Reply::Nothing,
    }
}

/// The first transfer that has its turn, or that has waited for it in vain.
async fn next_turn(sendings: &mut VecDeque<Sending>) -> (usize, bool) {
    poll_fn(|context| poll_turns(sendings, context)).await
}

fn poll_turns(sendings: &mut VecDeque<Sending>, context: &mut Context<'_>) -> Poll<(usize, bool)> {
    for (at, sending) in sendings.iter_mut().enumerate() {
        if let Poll::Ready(has_turn) = sending.poll_turn(context) {
            return Poll::Ready((at, has_turn));
        }
    }
    Poll::Pending
}

/// Sends one message of a transfer, which goes behind the others then; the last one is its end.
async fn send_next(
    mut sending: Sending,
    sendings: &mut VecDeque<Sending>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Result<(), End> {
    let message = match sending.next_message(time_since_1970().as_secs()) {
        None => {
            sending.finish();
            return Ok(());
        }
        Some(Ok(message)) => message,
        Some(Err(problem)) => {
            sending.fail(&problem.to_string());
            return Err(End::Closed);
        }
    };
    let Some(framed) = frame(&message) else {
        sending.fail("a message is too long");
        return Err(End::Closed);
    };
    match write(writer, &framed, MESSAGE_TIMEOUT).await {
        Ok(()) if sending.is_overdue() => {
            sending.fail("it takes too long");
            Err(End::Timeout)
        }
        Ok(()) => {
            sending.count(message.len());
            sendings.push_back(sending);
            Ok(())
        }
        Err(end) => {
            sending.fail(if end == End::Timeout { "the peer is too slow" } else { "the connection is gone" });
            Err(end)
        }
    }
}

/// A message with its length before it; `None` if it has too many octets for that.
fn frame(message: &[u8]) -> Option<Vec<u8>> {
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend(u16::try_from(message.len()).ok()?.to_be_bytes());
    framed.extend(message);
    Some(framed)
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), framed: &[u8], patience: Duration) -> Result<(), End> {
    let written = async {
        writer.write_all(framed).await?;
        writer.flush().await
    };
    let written: io::Result<()> = timeout(patience, written).await.map_err(|_| End::Timeout)?;
    written.map_err(|_| End::Closed)
}

/// The messages that come in on a stream. What has been read of one is kept while something else is done.
struct Messages<R> {
    reader: BufReader<R>,
    /// Length octets and message, as far as they are there. Grows as octets come in, not as they are promised.
    read: Vec<u8>,
    /// When the rest of a message that has begun must be there.
    due: Option<Instant>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    fn new(reader: R) -> Self {
        let reader = BufReader::with_capacity(READ_AHEAD_OCTETS, reader);
        Self { reader, read: Vec::new(), due: None }
    }

    /// The next message, or how the stream ends. May be dropped and called again. A peer that waits for something need not ask for something
    /// else: only of one that `is_idle` the time from the call to the next octet is limited.
    async fn next(&mut self, is_idle: bool) -> Result<Vec<u8>, End> {
        let idle_until = is_idle.then(|| Instant::now() + IDLE_TIMEOUT);
        loop {
            if let Some(message) = self.take() {
                self.due = None;
                return Ok(message);
            }
            let more = self.reader.fill_buf();
            let more = match self.due.or(idle_until) {
                Some(due) => timeout_at(due, more).await.map_err(|_| End::Timeout)?,
                None => more.await,
            };
            let more = more.map_err(|_| End::Closed)?;
            if more.is_empty() {
                return Err(End::Closed);
            }
            self.due.get_or_insert_with(|| Instant::now() + READ_TIMEOUT);
            let n_missing = n_missing(&self.read).min(more.len());
            self.read.extend(more.iter().take(n_missing));
            self.reader.consume(n_missing);
        }
    }

    /// The message, if all of it is there.
    fn take(&mut self) -> Option<Vec<u8>> {
        if n_missing(&self.read) > 0 {
            return None;
        }
        Some(std::mem::take(&mut self.read).split_off(2))
    }
}

/// Octets to be read next: those that the length takes, or that it says are still to come.
fn n_missing(read: &[u8]) -> usize {
    match read {
        [high, low, message @ ..] => usize::from(u16::from_be_bytes([*high, *low])) - message.len(),
        _ => 2 - read.len(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn message_in_pieces_is_kept_while_something_else_is_done() {
        let (mut client, server) = duplex(1 << 17);
        let mut messages = Messages::new(server);
        let sent = [&[0, 3][..], b"abc", &[0, 0], &[0xff, 0xff], &[7; 0xffff], &[0, 1]].concat();
        let mut received = Vec::new();
        for piece in sent.chunks(1000) {
            client.write_all(piece).await.expect("sent");
            // Nothing more may come, so the wait for it is given up each time.
            while let Ok(message) = timeout(Duration::from_millis(1), messages.next(true)).await {
                received.push(message.expect("message"));
            }
        }
        assert_eq!(received, [b"abc".to_vec(), Vec::new(), vec![7; 0xffff]]);
        drop(client);
        assert_eq!(messages.next(true).await, Err(End::Closed), "one octet is missing");
    }

    #[tokio::test(start_paused = true)]
    async fn time_runs_while_idle_and_from_the_first_octet_of_a_message() {
        let (mut client, server) = duplex(100);
        let mut messages = Messages::new(server);
        assert!(timeout(IDLE_TIMEOUT * 2, messages.next(false)).await.is_err(), "a zone is on its way");
        let start = Instant::now();
        assert_eq!(messages.next(true).await, Err(End::Timeout));
        assert_eq!(start.elapsed(), IDLE_TIMEOUT);
        client.write_all(&[0]).await.expect("sent");
        let start = Instant::now();
        assert!(timeout(READ_TIMEOUT / 2, messages.next(false)).await.is_err());
        assert_eq!(messages.next(true).await, Err(End::Timeout));
        assert_eq!(start.elapsed(), READ_TIMEOUT);
    }
}
