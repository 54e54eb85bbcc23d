//! `shaveet upgrade PID`: has a server become the program that stands where it was started from, and says whether it has.

use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::server::{UPGRADE_VARIABLE, Verdict};

/// How often is looked, and how many times: longer than a trial and what is under way may take.
const INTERVAL: Duration = Duration::from_millis(20);
const LOOKS: u32 = 1000;

/// Upgrades the server of that process.
///
/// # Errors
/// Why it is not upgraded.
pub fn upgrade(pid: u32) -> Result<String, String> {
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| format!("{pid} is no process"))?;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("there is no process {pid}"),
        io::ErrorKind::PermissionDenied => format!("process {pid} is another user's"),
        _ => format!("process {pid}: {error}"),
    };
    // Whoever does not know the signal would be ended by it.
    if !takes_signal(pid).map_err(failed)? {
        return Err(format!("process {pid} is no server of this kind: it does not listen to SIGUSR2"));
    }
    let before = times(pid).map_err(failed)?;
    // Without it, it takes longer to find out.
    let verdict = Verdict::listen(pid).ok();
    kill_process(process, Signal::USR2).map_err(|error| failed(error.into()))?;
    for _ in 0..LOOKS {
        // It has not begun before it listens to signals again.
        if times(pid).map_err(failed)? > before && takes_signal(pid).map_err(failed)? {
            return Ok(format!("process {pid} runs the program that is installed now\n"));
        }
        if let Some(why) = verdict.as_ref().and_then(Verdict::heard) {
            return Err(format!("process {pid} goes on as before: {why}"));
        }
        #[allow(clippy::disallowed_methods, reason = "this is no server: nobody waits but its user")]
        thread::sleep(INTERVAL);
    }
    Err(format!("process {pid} goes on as before; its log says why"))
}

/// How often the process has become another.
fn times(pid: u32) -> io::Result<u64> {
    let environment = fs::read(format!("/proc/{pid}/environ"))?;
    let value = environment.split(|byte| *byte == 0).find_map(|variable| {
        variable.strip_prefix(UPGRADE_VARIABLE.as_bytes())?.strip_prefix(b"=").map(String::from_utf8_lossy)
    });
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}

/// Whether the process has a handler for the signal.
fn takes_signal(pid: u32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    Ok(caught.unwrap_or(0) >> (Signal::USR2.as_raw() - 1) & 1 == 1)
}
