//! Who is up: what is probed ([`Target`]), the rise/fall machine ([`Checked`], pure), and, as a shell, the probes themselves.
//!
//! The machine knows no clock and the probes know no pools. What a realserver's health means for traffic is `select`'s.

mod machine;
mod probe;
pub mod scheduler;
mod target;

pub use machine::{Checked, Outcome};
pub use probe::{Clients, probe};
pub use target::Target;
