//! The program, run to its end for what it prints, or watched while it runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::received;

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

/// Many times what the slowest step takes.
const LIMIT: Duration = Duration::from_secs(20);

/// A started program. Dropped, it is killed.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout is a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    /// Starts it with a stdout that nobody reads any more.
    pub(crate) fn start_unheard(mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        drop(child.stdout.take());
        Running { child, lines: channel().1 }
    }

    /// The next line of its stdout.
    pub(crate) fn line(&self) -> String {
        received(&self.lines, LIMIT).expect("one more line on stdout")
    }

    /// The next line, less `listening on `.
    pub(crate) fn listening(&self) -> String {
        let line = self.line();
        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("a listening line, not {line:?}")).to_owned()
    }

    /// The same, less `http://`.
    pub(crate) fn listening_tcp(&self) -> String {
        let address = self.listening();
        address.strip_prefix("http://").unwrap_or_else(|| panic!("a TCP listener, not {address:?}")).to_owned()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it still runs");
    }

    /// The lines that it prints until it ends.
    pub(crate) fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// How it ended. Its stdout is closed when it has.
    pub(crate) fn ended(mut self) -> ExitStatus {
        loop {
            match received(&self.lines, LIMIT) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return self.child.wait().expect("it is our child");
                }
                Err(RecvTimeoutError::Timeout) => panic!("it did not end"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
