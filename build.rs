//! Lays out the program by a linker script (GNU ld and LLVM's lld read it), so that one that waits takes less memory.
//!
//! What would unwind the stack is left out: a twelfth of the program, which nothing uses, as a panic is its end
//! (`panic = "abort"`) and a stripped program has no names to show in a backtrace.
//!
//! What a server does not run before somebody comes stands together, at the front. The kernel maps the 64 KiB around whatever is
//! touched, and functions of all kinds mixed have nearly the whole program in memory when it has only started. A function
//! that stands in the wrong place costs memory and nothing else.

use std::env;
use std::fs;
use std::path::Path;

const WITHOUT_UNWINDING: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT AFTER .text;\n";

/// Of modules below, what a start runs all the same.
const AT_ONCE: [&str; 5] = [
    "shaveet::*::new",
    "shaveet::*::change",
    "shaveet::*::with_headers",
    "shaveet::cli::ask::syntax",
    "core::slice::memchr",
];

/// Crates and modules that are not run before somebody comes, or ever by a server. Any part of a path will do.
const LATER: [&str; 48] = [
    "shaveet::api",
    "shaveet::hub",
    "shaveet::http",
    "shaveet::websocket",
    "shaveet::cluster",
    "shaveet::broker::link",
    "shaveet::broker::codec",
    "shaveet::server::serve",
    "shaveet::server::stream",
    "shaveet::server::handover",
    "shaveet::server::passing",
    "shaveet::server::storage::restore",
    "shaveet::server::upgrade::*::inherit",
    "shaveet::config::file",
    "shaveet::cli::ask",
    "shaveet::cli::bench",
    "shaveet::cli::channels",
    "shaveet::cli::clients",
    "shaveet::cli::manual::completions",
    "shaveet::cli::manual::page",
    "shaveet::cli::publish",
    "shaveet::cli::reference",
    "shaveet::cli::tail",
    "shaveet::cli::why",
    "alloc::collections::btree",
    "clap_builder::error",
    "clap_builder::output",
    "clap_complete",
    "clap_mangen",
    "core::num::flt2dec",
    "core::slice::sort",
    "crc32fast",
    "hashbrown",
    "httparse",
    "memchr",
    "miniz_oxide",
    "nom",
    "postcard",
    "redis_protocol",
    "roff",
    "rustc_demangle",
    "serde_json",
    "sha1_smol",
    "std::backtrace_rs",
    "strsim",
    "toml",
    "toml_parser",
    "winnow",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // Tests unwind, and other systems keep their tables elsewhere.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let path = Path::new(&env::var("OUT_DIR").expect("cargo says where")).join("layout.ld");
        let [at_once, later] = [AT_ONCE.map(section).join(" "), LATER.map(section).join(" ")];
        let order = format!("SECTIONS {{ .text : {{ *({at_once}) *({later}) }} }} INSERT AFTER .init;\n");
        fs::write(&path, format!("{WITHOUT_UNWINDING}{order}")).expect("the place for output can be written to");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    }
}

/// The sections of the functions below a path: each has one, named after it, and there each part of its path has its length before
/// it, as in `.text._ZN7shaveet3hub...`.
fn section(path: &str) -> String {
    let part = |part: &str| if part == "*" { part.to_owned() } else { format!("{}{part}", part.len()) };
    format!(".text.*{}*", path.split("::").map(part).collect::<String>())
}
