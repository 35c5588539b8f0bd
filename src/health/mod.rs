//! Who is up: what is probed ([`Target`]), the rise/fall machine ([`Checked`], pure), arithmetic over several checks ([`calculate`]), and, as
//! shells, the probes themselves, the scheduler that makes them, and what connections that fail elsewhere tell ([`passive`]).
//!
//! The machine knows no clock and the probes know no pools. What a realserver's health means for traffic is `select`'s.

mod machine;
pub mod passive;
pub mod probe;
pub mod scheduler;
mod target;

pub use machine::{Cause, Checked, Failure, Outcome};
pub use target::{ConnectFailure, Target, calculate};
