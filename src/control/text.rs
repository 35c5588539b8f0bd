//! [`Status`] for people: tables that fit a terminal, what needs attention first.
//!
//! Pure: a value in, text out. Whatever comes from zones, operators or the network is shown without its control characters, which a
//! terminal would obey.

use std::fmt::Write;

use jiff::Timestamp;

use super::protocol::Status;

/// The status as `fingerpost status` prints it.
pub fn status_text(status: &Status, now: Timestamp) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "fingerpost {}, {now}", status.version);
    text
}
