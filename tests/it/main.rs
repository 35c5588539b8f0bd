//! Tests of the program from outside: its shape as source, its binary, its documents.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)] // clippy sees tests only behind `#[test]`, not what they call

mod tidy;
