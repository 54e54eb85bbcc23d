//! The server from outside: bytes to the real binary over real sockets, a file for each of its sides.
//!
//! One program, so that it is built once, and what waits in one file does so beside another.

mod support;

mod abuse;
mod access;
mod additions;
mod bench;
mod broker;
mod channels;
mod cli;
mod commands;
mod config;
mod conformance;
mod daemon;
mod dashboard;
mod descriptors;
mod documents;
mod fuzz;
mod health;
mod http;
mod library;
mod lifetimes;
mod manual;
mod memory;
mod memory_max;
mod metrics;
mod nginx;
mod nodes;
mod nodes_crowd;
mod nodes_cut;
mod nodes_failover;
mod nodes_keys;
mod nodes_nginx;
mod pace;
mod packaging;
mod pages;
mod polling;
mod reload;
mod restart;
mod resume;
mod rpc;
mod rpc_specification;
mod slices;
mod slow_line;
mod soak;
mod state;
mod stop;
mod streams;
mod supervisor;
mod system_calls;
mod torture;
mod upgrade;
mod wall_clock;
