//! Tidegate's integration tests: one binary, a module per capability.
//!
//! Tests use running servers instead of in-process mocks: the embedded server, also with injected
//! faults, and Garage, moto and PostgreSQL, which `servers` installs and starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod assumptions;
mod catalog;
mod conformance;
mod corpus;
mod credentials;
mod datafusion_copy;
mod documentation;
mod examples;
mod faults;
mod features;
mod inserts;
mod judged;
mod kills;
mod library;
mod lineitem;
mod listing;
mod manners;
mod memory;
mod misbehaving;
mod objects;
mod partitions;
mod passthrough;
mod pauses;
mod plans;
mod postgres;
mod program;
mod random_files;
mod read_functions;
mod readers;
mod repl;
mod round_trip;
mod same_rows;
mod same_sql;
mod scheduling;
mod scripts;
mod secrecy;
mod serve;
mod servers;
mod statements;
mod terminal;
mod texts;
mod validate;
mod widened;
mod wrong_rows;
