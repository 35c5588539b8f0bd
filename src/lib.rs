//! Fingerpost tells each client which realserver to go to: by DNS answer, by HTTP 302, or by carrying its TCP over the last hop. Three ways,
//! one health view, one decision.
//!
//! The map, level by level; a file uses its own level and those before it:
//!
//! 1. words: [`types`], [`name`], [`diagnostic`] (mistakes with file, line and caret), [`certificate`], [`observe`], [`shutdown`]
//! 2. inputs: [`config`] (the TOML file), [`protect`] (cookies, rate limits), [`zone`] (master files), [`geo`] (address → place), [`health`] (rise and fall; also the probes)
//! 3. state: [`state`], the one mutable truth, makes [`snapshot`], the immutable view that everybody reads
//! 4. decision: [`select`], who serves a client, best first; one small file a policy, and `explain`
//! 5. meaning: [`dns::answer`](dns), `redirect::decision`, `l4::attempts`: what a query, a request, a connection gets
//! 6. rehearsal: [`plan`], what a change would do to clients before it is in force
//! 7. shells: `dns::{udp, tcp, encrypted}`, `redirect::serve`, `l4::{tcp, pump}`, [`control`] (socket, metrics, dashboard), `health::scheduler`
//! 8. assembly: [`runtime`] (bind, run, reload, drain), then [`cli`]
//!
//! The way of a query: `dns::udp` takes the current snapshot → `dns::respond` = `query` (bytes → question) → `answer` (→ `select` where the
//! name is a POOL) → `encode` (→ bytes). Redirect and L4 are the same with other ends: request or connection → `select` → go there.
//!
//! The way of a change: a file saved, a probe ended, an operator's word → `state::Event` → `runtime`'s owner task applies it, alone → a
//! new snapshot, swapped in atomically. What is refused leaves everything as it was.
//!
//! What holds, above all what is absent:
//!
//! * `select` knows nothing about DNS, HTTP or sockets; `dns`, `redirect` and `l4` never use each other.
//! * Up to *meaning* there is no clock, randomness, log, counter, socket or `async`: they are arguments and returned values.
//! * Nobody changes a snapshot; a request reads one, from its beginning to its end. An index into it never outlives it.
//! * Between a datagram and its answer there is no lock and no allocation.
//! * A transport decides nothing: every one calls `dns::respond`, or `dns::exchange` for what is signed, a zone transfer or a NOTIFY.
//! * What an operator writes is either wholly in force or not at all; network input never panics, and every queue, table and wait has a limit.

pub mod certificate;
pub mod cli;
pub mod config;
pub mod control;
pub mod diagnostic;
pub mod dns;
pub mod geo;
pub mod health;
pub mod l4;
pub mod name;
pub mod observe;
pub mod plan;
pub mod protect;
pub mod redirect;
pub mod runtime;
pub mod select;
pub mod shutdown;
pub mod snapshot;
pub mod state;
pub mod types;
pub mod zone;
