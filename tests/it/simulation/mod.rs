//! Pools, zones, health and operators made up from a seed, without sockets: thousands of steps in which what must always hold is held, and
//! explanations that must say what is answered.
//!
//! A failure prints its seed. `FINGERPOST_SEED=… cargo test --test it simulation` does the same again, `FINGERPOST_STEPS` makes it longer.

mod explained;
mod steps;
mod world;

use std::env;

/// The seed to do again, if the environment names one.
fn seed_to_replay() -> Option<u64> {
    let text = env::var("FINGERPOST_SEED").ok()?;
    Some(text.trim().parse().expect("FINGERPOST_SEED is a number"))
}

/// Says the seed when a test ends in a failure.
struct OnFailure(u64);

impl Drop for OnFailure {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again with: FINGERPOST_SEED={} cargo test --test it simulation", self.0);
        }
    }
}
