//! Tests of the whole: what a user, an operator or another program meets.

#[cfg(test)]
mod e2e;
