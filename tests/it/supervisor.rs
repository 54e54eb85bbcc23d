//! What systemd, or whoever speaks like it, is told, and what it hands over. The other end is the protocol's own: a datagram
//! socket (sd_notify(3)), and a program that listens before it becomes the server (sd_listen_fds(3)).

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::support::{BINARY, Connection, Nest, PATIENCE, Server, Signal, get, post, says, until};
use serde_json::json;

/// Where a server says how it is.
struct Ear {
    socket: UnixDatagram,
    nest: Nest,
}

impl Ear {
    /// `name` is the test's own.
    fn new(name: &str) -> Ear {
        let nest = Nest::new(name);
        let socket = UnixDatagram::bind(&nest.socket).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        Ear { socket, nest }
    }

    fn start(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Server {
        let mut command = Command::new(BINARY);
        command.env("NOTIFY_SOCKET", &self.nest.socket).envs(variables.iter().copied());
        Server::run(command, arguments)
    }

    /// The first lines of what is said next.
    fn hear(&self) -> String {
        let mut buffer = [0; 1000];
        let mut receive = std::iter::repeat_with(|| self.socket.recv(&mut buffer));
        let count = receive.find(|result| !result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Interrupted));
        let count = count.expect("they do not end").expect("it says something");
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}

#[test]
fn it_says_when_it_listens_reads_its_configuration_again_becomes_another_and_stops() {
    let ear = Ear::new("supervisor-states");
    let server = ear.start(&[], &[]);
    assert_eq!(ear.hear(), "READY=1\n");
    server.turn();
    server.signal(Signal::HUP);
    let reloading = ear.hear();
    // systemd wants to know when it began (Type=notify-reload).
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(ear.hear(), "READY=1\n");
    server.signal(Signal::USR2);
    assert!(ear.hear().starts_with("RELOADING=1\n"));
    assert_eq!(ear.hear(), "READY=1\n");
    server.turn();
    server.signal(Signal::TERM);
    assert_eq!(ear.hear(), "STOPPING=1\n");
}

#[test]
fn a_watchdog_hears_that_the_loop_turns() {
    let ear = Ear::new("supervisor-watchdog");
    let _server = ear.start(&[("WATCHDOG_USEC", "100000")], &[]);
    assert_eq!(ear.hear(), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(ear.hear(), "WATCHDOG=1\n");
    }
}

#[test]
fn a_watchdog_hears_from_the_program_that_takes_over_and_just_before_it_does() {
    let ear = Ear::new("supervisor-upgrade");
    // As systemd says whom it means: the process stays, and so it is meant.
    let mut command = Command::new("sh");
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$@\"", "sh", BINARY]);
    command.env("NOTIFY_SOCKET", &ear.nest.socket).env("WATCHDOG_USEC", "600000");
    let server = Server::run(command, &[]);
    let hears = |expected: &[&str]| {
        for expected in expected {
            let said = ear.hear();
            assert!(said.starts_with(expected), "{said:?} in place of {expected:?}");
        }
    };
    hears(&["READY=1\n", "WATCHDOG=1\n"]);
    for _ in 0..2 {
        server.signal(Signal::USR2);
        // It goes on turning while a child tries.
        let said = std::iter::repeat_with(|| ear.hear()).find(|said| said != "WATCHDOG=1\n");
        assert!(said.as_ref().is_some_and(|said| said.starts_with("RELOADING=1\n")), "{said:?}");
        hears(&["WATCHDOG=1\n", "READY=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n", "WATCHDOG=1\n"]);
    }
}

/// Listens at a port of 127.0.0.1 and at a path, and becomes the server.
const ACTIVATOR: &str = r#"
    use Socket; use POSIX;
    my $path = shift @ARGV;
    socket(T, PF_INET, SOCK_STREAM, 0) or die $!;
    bind(T, sockaddr_in(0, INADDR_LOOPBACK)) && listen(T, 10) or die $!;
    socket(U, PF_UNIX, SOCK_STREAM, 0) or die $!;
    bind(U, sockaddr_un($path)) && listen(U, 10) or die $!;
    # The descriptors 3 and 4, which Perl may have taken for these very sockets, in the other order.
    my ($t, $u) = (POSIX::dup(fileno(T)), POSIX::dup(fileno(U)));
    ($t, $u) = map { my $fd = $_; $fd = POSIX::dup($fd) while $fd < 10; $fd } ($t, $u);
    POSIX::dup2($t, 3); POSIX::dup2($u, 4);
    @ENV{"LISTEN_FDS", "LISTEN_PID"} = (2, $$);
    exec @ARGV;
"#;

fn activated(nest: &Nest, arguments: &[&str]) -> Server {
    let mut command = Command::new("perl");
    command.args(["-e", ACTIVATOR]).arg(&nest.socket).arg(BINARY);
    Server::run_bare(command, arguments)
}

#[test]
fn listeners_that_it_is_given_are_its_own() {
    let nest = Nest::new("supervisor-listeners");
    let server = activated(&nest, &["--presence", "off"]);
    // In place of the default port, and both are for everything.
    assert_eq!(server.addresses().len(), 2);
    let mut poll = server.subscriber("alice", &["room"]).park();
    let mut by_path = Connection::open(&socket2::SockAddr::unix(&nest.socket).expect("a short path"), None);
    let call = json!({"method": "new_message", "params": ["app", "x", "room", false], "id": 1});
    assert_eq!(by_path.ask(post(call.to_string())).json()["result"], 1);
    assert_eq!(poll.news(), json!({"room": [says(1, "x")]}));
    // They go on to the next program, and the path stays when there is none: it is not ours.
    server.signal(Signal::USR2);
    until("it has become another", || server.log().contains("has taken over"));
    assert_eq!(by_path.ask(get("/nowhere")).status, 404);
    server.turn();
    assert_eq!(server.stop().code(), Some(0));
    assert!(nest.socket.exists());
}

#[test]
fn one_for_calls_is_named_as_such() {
    let nest = Nest::new("supervisor-calls");
    let server = activated(&nest, &["--rpc-listen", &nest.listener()]);
    let call = post(json!({"method": "create_client", "params": ["a"], "id": 1}).to_string());
    assert_eq!(server.ask(&call).status, 404);
    assert_eq!(Connection::open(&server.for_calls[0], None).ask(&call).status, 200);
}
