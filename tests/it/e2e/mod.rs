//! The real binary, end to end: `serve` on a configuration in a temporary folder, with `dig`, `curl` and `unbound` as its clients.
//!
//! Every port is 0, or stands on a loopback address that no other test has; ports are learnt from `fingerpost status`. Nothing waits by
//! sleeping: what takes time is asked for again and again until a deadline.

mod checks;
mod clients;
mod control;
mod demo;
mod dns;
mod encrypted;
mod guards;
mod health;
mod l4;
mod nameserver;
mod operate;
mod plan;
mod process;
mod protocol;
mod realserver;
mod redirect;
mod reload;
mod server;
mod steering;
mod tools;
mod transfer;
mod unbound;
mod zones;
