//! Shaveet: a push server in one small binary.
//!
//! A web application creates a client per page, subscribes clients to channels and publishes messages, over JSON-RPC.
//! Pages hold a request open and get the messages.
//!
//! ```text
//!   main -> cli, config -> server -> api -> cluster -> { hub, http, websocket, broker } -> { slots, names, paged, buffer, wheel, state, clock, json, decimal, histogram, few, run }
//! ```
//!
//! Cores that do not know each other: [`hub`] knows who is subscribed, who waits and what is owed, and nothing of
//! sockets, time or HTTP; [`http`] turns bytes into requests and answers into bytes, and nothing else, and [`websocket`]
//! does the same for frames; [`broker`] is what Redis is to us. [`api`] translates between them, one file per endpoint.
//! [`server`] is the edge: sockets, the clock, and the loop that moves everything, in one thread.
//!
//! Arrows point down only. What is not there is as important: no socket, clock, log or JSON parsing in the hub; no hub
//! in `http`, `websocket` or `broker`; no `mio` outside `server` and `cli::bench`; no thread, no lock, no callback.

pub mod api;
pub mod broker;
pub mod buffer;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod decimal;
pub mod few;
pub mod histogram;
pub mod http;
pub mod hub;
pub mod json;
pub mod names;
pub mod paged;
pub mod run;
pub mod server;
pub mod slots;
pub mod state;
pub mod websocket;
pub mod wheel;
