//! `--daemon`: the command ends when the server listens, and the server goes on.

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::support::program::{Ended, ended, shaveet};
use crate::support::{Nest, until};
use rustix::process::{Pid, Signal, getsid, kill_process, test_kill_process};

/// A server in the background; it does not outlive the test.
struct Daemon(Pid);

impl Daemon {
    /// The one whose command has printed this.
    fn of(stdout: &str) -> Daemon {
        let line = stdout.lines().last().expect("the command says something");
        let pid = line.strip_prefix("in the background as process ").and_then(|pid| pid.parse().ok());
        Daemon(pid.and_then(Pid::from_raw).unwrap_or_else(|| panic!("a process, not {line:?}")))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).expect("it runs");
    }

    fn has_gone(&self) -> bool {
        // Whoever adopts it may be slow to bury it.
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.0.as_raw_nonzero())).unwrap_or_default();
        test_kill_process(self.0).is_err() || state.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn the_command_ends_when_the_server_listens_and_the_server_goes_on_by_itself() {
    let nest = Nest::new("daemon");
    for flag in ["-d", "--daemon"] {
        // That this ends means that the server holds none of its streams.
        let Ended { code, stdout, stderr } = ended(shaveet(&[flag, "--listen", &nest.listener()]));
        let daemon = Daemon::of(&stdout);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stdout.starts_with("listening on unix:"), "{stdout}");
        UnixStream::connect(&nest.socket).expect("it listens when the command has ended");
        assert_eq!(getsid(Some(daemon.0)).expect("it runs"), daemon.0, "a session of its own");
        for stream in 0..3 {
            let path = format!("/proc/{}/fd/{stream}", daemon.0.as_raw_nonzero());
            assert_eq!(std::fs::read_link(path).expect("it runs").to_str(), Some("/dev/null"), "{stream}");
        }
        daemon.signal(Signal::TERM);
        until("it stops", || daemon.has_gone());
        assert!(!nest.socket.exists(), "cleanly");
    }
}

#[test]
fn the_log_goes_on_where_it_is_a_file_and_the_configuration_is_read_again() {
    let nest = Nest::new("daemon-log");
    let log = nest.file("log", "");
    let settings = nest.file("a.toml", "rpc-host = \"a\"\n");
    // Its directory stays, so that the file is found again by this name.
    let mut command = shaveet(&["-d", "--config", "a.toml", "--listen", &nest.listener()]);
    command.current_dir(settings.parent().expect("it is in a directory"));
    command.stdout(Stdio::piped()).stderr(File::options().append(true).open(&log).expect("it is there"));
    let mut command = command.spawn().expect("the program starts");
    let mut stdout = String::new();
    command.stdout.take().expect("it is piped").read_to_string(&mut stdout).expect("it prints UTF-8");
    assert!(command.wait().expect("it is our child").success());
    let daemon = Daemon::of(&stdout);
    let logged = |what: &str| std::fs::read_to_string(&log).expect("it is there").contains(what);
    std::fs::write(&settings, "rpc-host = \"b\"\n").expect("it is there");
    daemon.signal(Signal::HUP);
    until("it says what has changed", || logged("rpc-host: a -> b (a.toml:1)"));
    daemon.signal(Signal::TERM);
    until("it says that it has stopped", || logged("stopped"));
}

#[test]
fn what_keeps_it_from_listening_is_told_by_the_command() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let Ended { code, stdout, stderr } = ended(shaveet(&["-d", "--listen", &address]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.contains("shaveet: cannot listen on ") && stderr.contains(&address), "{stderr}");
    let Ended { code, stdout, stderr } = ended(shaveet(&["-d", "--config", "/missing.toml"]));
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "once: {stderr}");
}
