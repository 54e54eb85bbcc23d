//! Why an upgrade has failed, from the server to the command that asked for it.
//!
//! A signal brings no answer, and a process that became another is seen from outside (its environment has changed), but not one
//! that could not. So the command listens, at a name in the abstract namespace that says which server it has asked, and the
//! server says a line there if somebody does. Nobody has to: whoever sends the signal by hand finds it in the log. Whoever
//! takes the name before the command hears why, and that is all; the command believes the process alone that it has asked.

use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use rustix::net::sockopt::socket_peercred;
use socket2::{Domain, SockAddr, Socket, Type};

/// Bytes of a line: some hundred times what any takes.
const BYTES_MAX: u64 = 4096;

/// Where the command hears why its upgrade failed.
#[derive(Debug)]
pub struct Verdict {
    listener: UnixListener,
    pid: u32,
}

impl Verdict {
    /// Of the server in that process. Next: the signal.
    ///
    /// # Errors
    /// Somebody else listens there already, or the system has no such names. Nothing is heard then.
    pub fn listen(pid: u32) -> io::Result<Verdict> {
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name(pid))?)?;
        listener.set_nonblocking(true)?;
        Ok(Verdict { listener, pid })
    }

    /// What the server has said meanwhile.
    #[must_use]
    pub fn heard(&self) -> Option<String> {
        let (stream, _) = self.listener.accept().ok()?;
        let credentials = socket_peercred(&stream).ok()?;
        if u32::try_from(credentials.pid.as_raw_pid()) != Ok(self.pid) {
            return None;
        }
        let mut text = String::new();
        stream.take(BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    }
}

/// Says it to whoever listens. Never waits: who does not take it at once finds it in the log.
pub(super) fn tell(why: &str) {
    let tell = || -> io::Result<()> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(format!("\0{}", name(std::process::id())))?)?;
        (&socket).write_all(why.as_bytes())
    };
    // Mostly nobody does.
    let _ = tell();
}

fn name(pid: u32) -> String {
    format!("shaveet-upgrade-{pid}")
}
