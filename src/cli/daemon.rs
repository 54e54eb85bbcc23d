//! `--daemon`: the server in the background, as the original's `-d` had it.
//!
//! The command starts itself once more in a session of its own, passes on what that prints until it listens, and ends. So
//! whoever has seen it end with code 0 can connect, and what keeps the server from listening is told where the command was
//! given. The server stays in the directory. Its log goes on where stderr is a file; a terminal or a pipe it lets go of, as somebody may
//! wait for the end of that.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// Which of the two this process is.
#[derive(Debug)]
pub enum Role {
    /// The command. It has done its part: the server listens, or does not.
    Command(ExitCode),
    /// The server. Next: [`leave`], when it listens and has said so.
    Server,
}

/// Says to the process that is started that it is the server. It stays in the environment, for one that takes its place.
const MARK: &str = "SHAVEET_IN_BACKGROUND";

/// Starts the server and waits until it listens, or becomes it.
///
/// # Errors
/// If no process can be started.
pub fn detach() -> io::Result<Role> {
    if std::env::var_os(MARK).as_deref() == Some(OsStr::new("1")) {
        // It fails for one that has a session of its own already.
        let _ = setsid();
        return Ok(Role::Server);
    }
    let mut server = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut greeting = Vec::new();
    server.stdout.take().expect("it is piped").read_to_end(&mut greeting)?;
    let _ = io::stdout().write_all(&greeting);
    if greeting.is_empty() {
        // It has said why.
        let code = server.wait()?.code().and_then(|code| u8::try_from(code).ok());
        return Ok(Role::Command(code.map_or(ExitCode::FAILURE, ExitCode::from)));
    }
    let _ = writeln!(io::stdout(), "in the background as process {}", server.id());
    Ok(Role::Command(ExitCode::SUCCESS))
}

/// Lets go of the command, which ends by that.
///
/// # Errors
/// If there is no `/dev/null`.
pub fn leave() -> io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    let log = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    if !log.metadata()?.is_file() {
        dup2_stderr(nowhere.as_fd())?;
    }
    dup2_stdout(nowhere.as_fd())?;
    Ok(())
}
