//! The addresses of a name, without anybody waiting: the system's resolver may take many seconds, so another process asks it
//! (`cli/look_up.rs`, which is this program), and ends when it knows. Its end wakes the loop (SIGCHLD).
//!
//! A thread would do, but this program has none; and what the system offers besides, such as getent, is not in every image.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};

/// A question that is asked. Dropped, it is not asked any more.
#[derive(Debug)]
pub(super) struct LookUp {
    child: Child,
    port: u16,
}

/// This very program, though another one may be where it was started from.
const PROGRAM: &str = "/proc/self/exe";

/// Bytes that an answer may have: far more than a pipe keeps for who does not read yet.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

impl LookUp {
    /// Asks.
    ///
    /// # Errors
    /// If there can be no process.
    pub(super) fn begin(host: &str, port: u16) -> io::Result<LookUp> {
        let mut command = Command::new(PROGRAM);
        command.args(["look-up", host]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(LookUp { child: command.spawn()?, port })
    }

    /// The answer, if it has come: addresses, the preferred one first, at least one; or why there is none.
    pub(super) fn answer(&mut self) -> Option<Result<Vec<SocketAddr>, String>> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(self.read(status.success())),
            Err(error) => Some(Err(error.to_string())),
        }
    }

    fn read(&mut self, is_found: bool) -> Result<Vec<SocketAddr>, String> {
        let mut text = String::new();
        if let Some(pipe) = self.child.stdout.take() {
            pipe.take(ANSWER_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
        }
        let addresses = text.lines().filter_map(|line| line.parse::<IpAddr>().ok());
        let addresses: Vec<_> = addresses.map(|address| SocketAddr::new(address, self.port)).collect();
        match text.lines().next() {
            _ if is_found && !addresses.is_empty() => Ok(addresses),
            Some(error) if !is_found => Err(format!("its address is not found: {error}")),
            _ => Err("its address is not found".into()),
        }
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        // Both fail only if it has gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
