//! A restart where somebody else keeps the listening sockets, as systemd does: nobody is refused, and with `--state` every page
//! goes on where it was.

use crate::support::crowd::{newcomers, raise_descriptor_limit};
use crate::support::streams::Events;
use crate::support::{
    BINARY, Client, Connection, Missing, Nest, PATIENCE, Server, Shape, Signal, get, post, said, since, until,
};
use serde_json::json;
use socket2::SockAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Listens at two ports of 127.0.0.1, and runs the server there again and again: a USR1 ends it, and another begins; with a TERM it
/// is the last.
const KEEPER: &str = r#"
    use Socket; use POSIX;
    my @kept = map {
        socket(my $socket, PF_INET, SOCK_STREAM, 0) or die $!;
        bind($socket, sockaddr_in(0, INADDR_LOOPBACK)) && listen($socket, 4096) or die $!;
        my $fd = POSIX::dup(fileno($socket));
        $fd = POSIX::dup($fd) while $fd < 10;
        $fd
    } 1..2;
    my ($child, $is_over) = (0, 0);
    $SIG{USR1} = sub { kill 'TERM', $child };
    $SIG{TERM} = sub { $is_over = 1; kill 'TERM', $child };
    until ($is_over) {
        $child = fork;
        if (!$child) {
            POSIX::dup2($kept[$_], 3 + $_) for 0..1;
            POSIX::close($_) for @kept;
            @ENV{"LISTEN_FDS", "LISTEN_PID"} = (2, $$);
            exec @ARGV;
        }
        1 while waitpid($child, 0) != $child;
    }
    exit($? >> 8);
"#;

/// Pages that poll, and pages that stream.
const POLLS: usize = 5000;
const STREAMS: usize = 500;

const PUBLISHED_EVERY: Duration = Duration::from_millis(100);

#[test]
fn thousands_hear_everything_once_through_two_restarts() {
    raise_descriptor_limit();
    let nest = Nest::new("restart");
    let state = nest.file("other", "").with_file_name("state").display().to_string();
    let mut command = Command::new("perl");
    command.args(["-e", KEEPER, BINARY]);
    let more = ["--presence", "off", "--history", "10000", "--history-age", "1h", "--drain", "1s", "--state", &state];
    let server = Server::run_bare(command, &more);
    let ids: Vec<String> = (0..POLLS + STREAMS).map(|id| format!("c{id}")).collect();
    let keys = newcomers(&server, &ids);
    let client = |at: usize| Client { server: &server, id: ids[at].clone(), key: keys[at].clone() };
    let mut pages: Vec<Page> = (0..POLLS).map(|at| Page::open(&client(at))).collect();
    let mut streams: Vec<Events> = (POLLS..ids.len()).map(|at| Events::open(&client(at), None)).collect();
    let (published, (over, is_over)) = (AtomicUsize::new(0), mpsc::channel::<()>());
    thread::scope(|scope| {
        let (address, published) = (server.address(), &published);
        scope.spawn(move || {
            while is_over.recv_timeout(PUBLISHED_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                publish(address, published.load(Ordering::Relaxed));
                published.fetch_add(1, Ordering::Relaxed);
            }
        });
        for round in 0..3 {
            pages.iter_mut().for_each(Page::go_on);
            if round < 2 {
                server.signal(Signal::USR1);
                until("another one has begun", || server.log().matches("room for about").count() > round + 1);
            }
        }
        drop(over);
    });
    let all = published.load(Ordering::Relaxed);
    for page in &mut pages {
        while page.heard < all {
            page.go_on();
        }
    }
    for (at, stream) in streams.iter_mut().enumerate() {
        for text in 0..all {
            assert_eq!(next_message(stream, &client(POLLS + at)), text.to_string());
        }
    }
    assert!(all > 3, "{all} messages");
    assert_eq!(server.stop().code(), Some(0));
}

/// Publishes a number, until it is certain that it is.
fn publish(to: &SockAddr, number: usize) {
    let options = json!({"idempotency_key": number.to_string()});
    let call = json!({"method": "publish", "params": ["room", number.to_string(), options], "id": 1});
    loop {
        let mut connection = Connection::open(to, None);
        connection.offer(post(call.to_string()));
        match connection.within(PATIENCE) {
            Ok(answer) if answer.status == 200 => return,
            Ok(_) | Err(Missing::Closed) => {}
            Err(Missing::Silent) => panic!("a call is not answered"),
        }
    }
}

/// The text of the next message, on another connection if that has ended.
fn next_message(stream: &mut Events, client: &Client<'_>) -> String {
    loop {
        match stream.within(PATIENCE) {
            Ok(Some(event)) if event.kind == "message" => {
                return event.data["data"].as_str().expect("a text").to_owned();
            }
            Ok(Some(event)) => assert_ne!(event.kind, "gap", "{event:?}"),
            Ok(None) | Err(Missing::Closed) => *stream = Events::resume(client, &stream.last_id),
            Err(Missing::Silent) => panic!("no event"),
        }
    }
}

/// A page that polls, and counts what it hears: 0, 1, 2...
struct Page {
    address: SockAddr,
    connection: Connection,
    path: String,
    heard: usize,
}

impl Page {
    fn open(client: &Client<'_>) -> Page {
        let path = Shape::Object.path(&[client], "");
        let address = client.server.address().clone();
        let mut page = Page { connection: Connection::open(&address, None), address, path, heard: 0 };
        page.connection.offer(get(&page.path));
        page
    }

    /// Its answer, if there is one, and the next poll.
    fn go_on(&mut self) {
        match self.connection.within(PATIENCE) {
            Ok(answer) => {
                let answer = answer.json();
                assert_eq!(answer["gaps"], json!([]), "{answer}");
                for text in said(&answer) {
                    assert_eq!(text, self.heard.to_string());
                    self.heard += 1;
                }
                let path = self.path.rsplit_once('=').expect("it ends with the position").0;
                self.path = format!("{path}={}", since(&answer));
            }
            Err(Missing::Closed) => self.connection = Connection::open(&self.address, None),
            Err(Missing::Silent) => panic!("a poll is not answered"),
        }
        self.connection.offer(get(&self.path));
    }
}
