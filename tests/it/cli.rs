//! The program as whoever starts it sees it: help, version, wrong arguments, variables, what it prints, how it ends.
//!
//! Every server listens on a free port, and a test knows that it listens by the line on its stdout. Nothing sleeps; what
//! does not come in time fails.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::program::{Ended, Running, ended, shaveet};
use crate::support::{BINARY, Nest, Server};
use rustix::process::Signal;

/// A path for a socket, short enough for one (108 bytes), removed in the end.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> SocketPath {
        let path = std::env::temp_dir().join(format!("shaveet-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        SocketPath(path)
    }

    fn address(&self) -> String {
        format!("unix:{}", self.0.display())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn help_has_headings_examples_and_variables() {
    let Ended { code, stdout, stderr } = ended(shaveet(&["--help"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(ended(shaveet(&["-h"])).stdout, stdout);
    assert!(stdout.starts_with("A push server"), "{stdout}");
    for part in ["Listening:", "Access:", "Timers ", "Limits ", "Examples:", "File, environment:"] {
        assert!(stdout.contains(&format!("\n{part}")), "{part} in {stdout}");
    }
}

#[test]
fn help_into_a_closed_pipe_is_no_panic() {
    let mut child = shaveet(&["--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn help_can_be_asked_for_in_a_word() {
    assert_eq!(ended(shaveet(&["help"])).stdout, ended(shaveet(&["--help"])).stdout);
    assert_eq!(ended(shaveet(&["help", "publish"])).stdout, ended(shaveet(&["publish", "--help"])).stdout);
}

#[test]
fn version_is_the_packages() {
    let Ended { code, stdout, stderr } = ended(shaveet(&["--version"]));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("shaveet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_values_name_flag_value_and_what_is_allowed() {
    for (flag, value, allowed) in [
        ("--listen", "localhost:8082", "127.0.0.1:8082"),
        ("--listen", "/run/shaveet.sock", "unix:/run/shaveet.sock"),
        ("-p", "65536", "0 to 65535"),
        ("--rpc-allow", "localhost", "10.0.0.0/8"),
        ("--rpc-allow", "", "`any`"),
        ("--trusted-proxy", "10.0.0.0/33", "10.0.0.0/8"),
        ("--poll-timeout", "25", "10ms to 1d"),
        ("--max-idle", "2d", "10ms to 1d"),
        ("--departed-age", "31d", "10ms to 30d"),
        ("--history", "0", "1 to 1000000"),
        ("--departed-max", "-1", "0 to 10000000"),
        ("--max-head", "1023", "1KiB to 1GiB"),
        ("--max-body", "2GiB", "1KiB to 1GiB"),
        ("--max-answer", "much", "1KiB to 1GiB"),
    ] {
        let Ended { code, stdout, stderr } = ended(shaveet(&[flag, value]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{flag} {value}");
        for part in [flag, &format!("'{value}'"), allowed] {
            assert!(stderr.contains(part), "{part} in {stderr}");
        }
    }
}

#[test]
fn unknown_flags_and_stray_words_are_refused() {
    for arg in ["--pol-timeout", "8082", "--poll-timeout"] {
        let Ended { code, stderr, .. } = ended(shaveet(&[arg]));
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(arg), "{stderr}");
    }
}

#[test]
fn variables_are_read_as_flags_are() {
    let mut command = shaveet(&[]);
    command.env("SHAVEET_POLL_TIMEOUT", "soon");
    let Ended { code, stderr, .. } = ended(command);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("SHAVEET_POLL_TIMEOUT: invalid value 'soon'") && stderr.contains("10ms to 1d"), "{stderr}");
}

#[test]
fn flags_win_over_variables() {
    let mut command = shaveet(&["--poll-timeout", "25s", "--listen", "127.0.0.1:0"]);
    command.env("SHAVEET_POLL_TIMEOUT", "soon").env("SHAVEET_LISTEN", "nowhere");
    let server = Running::start(command);
    TcpStream::connect(server.listening_tcp()).expect("it listens");
}

#[test]
fn container_managers_port_variable_is_not_ours() {
    let mut command = shaveet(&["--listen", "127.0.0.1:0"]);
    command.env("SHAVEET_PORT", "tcp://10.0.0.1:8082");
    Running::start(command).listening_tcp();
}

#[test]
fn a_misspelt_variable_is_told_and_one_of_others_is_not() {
    let variables = [
        ("SHAVEET_POL_TIMEOUT", "1s"),
        ("SHAVEET_Listen", "nowhere"),
        ("SHAVEET_URL", "http://push"),
        ("SHAVEET_PORT_8082_TCP", "tcp://10.0.0.1:8082"),
        ("SHAVEET_SERVICE_HOST", "10.0.0.1"),
        ("SHAVEET_HISTORY", "7"),
    ];
    let mut check = shaveet(&["check"]);
    check.envs(variables);
    let Ended { code, stdout, stderr } = ended(check);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("history = 7 "), "{stdout}");
    let mut said: Vec<&str> = stderr.lines().collect();
    said.sort_unstable();
    let expected = [
        "shaveet: SHAVEET_Listen: unknown variable, which says nothing; did you mean SHAVEET_LISTEN?",
        "shaveet: SHAVEET_POL_TIMEOUT: unknown variable, which says nothing; did you mean SHAVEET_POLL_TIMEOUT?",
    ];
    assert_eq!(said, expected);
    // A server says the same, and serves.
    let mut server = shaveet(&["--listen", "127.0.0.1:0"]);
    server.envs(variables).stderr(Stdio::piped());
    let mut server = Running::start(server);
    server.listening_tcp();
    server.signal(Signal::TERM);
    let mut log = String::new();
    server.child.stderr.take().expect("it is a pipe").read_to_string(&mut log).expect("a text");
    assert!(log.contains("WARN  SHAVEET_POL_TIMEOUT: unknown variable"), "{log}");
}

#[test]
fn each_listener_has_its_line() {
    let socket = SocketPath::new("lines");
    let mut command = shaveet(&["-p", "0"]);
    command.env("SHAVEET_LISTEN", format!("127.0.0.1:0,{}", socket.address()));
    let server = Running::start(command);
    TcpStream::connect(server.listening_tcp()).expect("it listens on TCP");
    assert_eq!(server.listening(), socket.address());
    UnixStream::connect(&socket.0).expect("it listens on the socket");
    let everywhere = server.listening_tcp();
    let port = everywhere.rsplit_once(':').expect("it has a port").1;
    TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens everywhere");
}

#[test]
fn lines_to_try_work_as_pasted() {
    let socket = SocketPath::new("paste");
    let nest = Nest::new("paste");
    let token = format!("--rpc-token-file {}", nest.file("token", "0123456789abcdef0123\n").display());
    for (address, more) in [("127.0.0.1:0", ""), ("0", ""), (&*socket.address(), ""), ("127.0.0.1:0", &*token)] {
        let server = Running::start(on_a_terminal(&format!("exec timeout 60 {BINARY} --listen {address} {more}")));
        // The log is there, too.
        let mut line = server.line();
        while !line.starts_with("  ") {
            line = server.line();
        }
        let script = [line, server.line(), server.line()];
        assert!(script.iter().all(|line| line.starts_with("  ")), "{script:?}");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script.join("\n"));
        let shell = Running::start(shell);
        // The background poll and the calls share one stdout, so an answer may stand in a line with another.
        let mut line = shell.line();
        while !line.contains("hello") {
            line = shell.line();
        }
        assert!(line.contains("show({"), "{line}");
        server.signal(Signal::TERM);
        server.ended();
    }
}

/// A shell's command on a terminal of its own, which util-linux has. SIGTERM ends both.
fn on_a_terminal(command: &str) -> Command {
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--command", command, "/dev/null"]).stdin(Stdio::null());
    terminal
}

#[test]
fn lines_to_try_are_for_people() {
    let server = Running::start(shaveet(&["--listen", "127.0.0.1:0"]));
    server.listening_tcp();
    server.signal(Signal::TERM);
    assert_eq!(server.rest(), Vec::<String>::new());
}

#[test]
fn busy_port_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let Ended { code, stdout, stderr } = ended(shaveet(&["--listen", &address]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("shaveet: ") && line.contains(&address)), "{stderr}");
}

#[test]
fn unusable_socket_path_is_named() {
    let Ended { code, stdout, stderr } = ended(shaveet(&["--listen", "unix:/nonexistent/shaveet.sock"]));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let named = |line: &str| line.starts_with("shaveet: ") && line.contains("/nonexistent/shaveet.sock");
    assert!(stderr.lines().any(named), "{stderr}");
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        // Nobody else is there.
        let server = Running::start(shaveet(&["--listen", "127.0.0.8:0"]));
        let address = server.listening_tcp();
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0), "{signal:?}");
        assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    }
}

#[test]
fn closed_stdout_does_not_stop_it() {
    let socket = SocketPath::new("closed");
    let mut server = Running::start_unheard(shaveet(&["--listen", &socket.address()]));
    // Nothing can tell that it listens, so ask, as often as takes many times its start.
    let connected = (0..10_000_000).any(|_| {
        assert_eq!(server.child.try_wait().unwrap(), None, "it runs without a reader");
        thread::yield_now();
        UnixStream::connect(&socket.0).is_ok()
    });
    assert!(connected, "it listens");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn a_log_that_nobody_can_write_holds_nobody_up() {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec "$0" "$@" 2>/dev/full"#, BINARY]);
    let server = Server::run(command, &["--log", "trace", "--presence", "off"]);
    let alice = server.subscriber("alice", &["room"]);
    let mut parked = alice.park();
    server.publish("room", "hello");
    assert!(parked.answer().text().contains("hello"));
    assert_eq!(server.log(), "", "it went nowhere");
    assert_eq!(server.stop().code(), Some(0));
}
