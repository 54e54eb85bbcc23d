//! Leaves out of the program what would unwind its stack: a twelfth of it, which nothing uses, as a panic is its end
//! (`panic = "abort"`) and a stripped program has no names to show in a backtrace.
//!
//! Linkers have no option for it, but a script can throw sections away (GNU ld and LLVM's lld read it).

use std::env;
use std::fs;
use std::path::Path;

const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    // Tests unwind, and other systems keep their tables elsewhere.
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let path = Path::new(&env::var("OUT_DIR").expect("cargo says where")).join("no-unwinding.ld");
        fs::write(&path, SCRIPT).expect("the place for output can be written to");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", path.display());
    }
}
