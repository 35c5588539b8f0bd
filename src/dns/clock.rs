//! The time as [`respond`](super::respond) is told it. The only clock of DNS, for transports.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970 began; zero on a machine whose clock stands before that.
pub fn time_since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
