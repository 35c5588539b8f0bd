//! The last hop: carries clients' TCP connections to realservers.
//!
//! Who is tried, in which order, is `attempts` (pure, from `select`); accepting, connecting and ending is [`serve`]; moving bytes is `pump`.
//! Nothing here looks at what is carried. UDP and the kernel's IPVS are not here.

mod attempts;
mod counters;
mod pump;
mod tcp;

pub use attempts::{Attempt, REALSERVERS_MAX, attempts};
pub use counters::Counters;
pub use tcp::serve;

#[cfg(test)]
mod tests;
