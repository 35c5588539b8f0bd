//! Tests of the program from outside: its shape as source, its binary, its documents.

mod tidy;
