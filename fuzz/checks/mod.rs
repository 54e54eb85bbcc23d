//! What must hold of whatever strangers send, one file for each place that reads it. `fuzz/targets` has a fuzzer look for
//! something of which it does not hold, `tests/it/fuzz.rs` tries what has been kept.

#![allow(dead_code, reason = "each target uses one of them")]

pub(crate) mod access;
pub(crate) mod chunked;
pub(crate) mod decoder;
pub(crate) mod facts;
pub(crate) mod frames;
pub(crate) mod link;
pub(crate) mod poll;
pub(crate) mod query;
mod read;
pub(crate) mod rpc;
pub(crate) mod simulation;
pub(crate) mod token;
mod world;
