//! The program, run to its end: for what it prints.

use std::process::{Command, Output};

/// The program with an environment in which only PATH is left of ours.
pub(crate) fn shaveet(args: &[&str]) -> Command {
    let mut command = Command::new(super::BINARY);
    command.args(args).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Runs a program that ends by itself.
pub(crate) fn ended(mut command: Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}
