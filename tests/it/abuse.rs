//! What strangers and misfortune do to a server: too many connections, silence, a process that is stopped for a while.

#![allow(clippy::disallowed_methods, reason = "a process that is stopped says nothing: time has to pass")]

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::metrics::Scraper;
use crate::support::{Client, Connection, Missing, Server, Shape, Signal, get, poll_path, said, says, timed, until};
use socket2::{Domain, Socket, Type};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Whether a request on a new connection from this address is answered.
fn is_served(server: &Server, from: IpAddr) -> Option<Connection> {
    let mut connection = Connection::open(server.address(), Some(from));
    connection.offer(get("/nowhere"));
    connection.within(crate::support::PATIENCE).is_ok_and(|answer| answer.status == 404).then_some(connection)
}

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let limits = ["--max-connections-per-address", "5", "--max-new-per-address", "1000"];
    let server = Server::with(&[&limits[..], &["--trusted-proxy", "127.0.0.1"]].concat());
    let held: Vec<_> = (0..5).map_while(|_| is_served(&server, STRANGER)).collect();
    assert_eq!(held.len(), 5);
    assert!((0..5).all(|_| is_served(&server, STRANGER).is_none()), "it has five already");
    assert!(is_served(&server, OTHER).is_some(), "another one");
    // A trusted proxy speaks for many.
    let proxied: Vec<_> = (0..20).map_while(|_| is_served(&server, Ipv4Addr::LOCALHOST.into())).collect();
    assert_eq!(proxied.len(), 20);
    drop(held);
    until("it is let in again", || is_served(&server, STRANGER).is_some());
    let told = server.log().lines().filter(|line| line.contains("--max-connections-per-address")).count();
    assert_eq!(told, 1, "{}", server.log());
}

#[test]
fn one_address_makes_so_many_new_ones_within_a_second() {
    const MOST: usize = 5;
    let server = Server::with(&["--max-new-per-address", &MOST.to_string()]);
    // As many as a fast peer makes: more than a few seconds' share.
    let (served, time) = timed(|| (0..200).filter(|_| is_served(&server, STRANGER).is_some()).count());
    let share = MOST * (usize::try_from(time.as_secs()).expect("it is short") + 2);
    assert!((MOST..share).contains(&served), "{served} of 200 within {time:?}");
    until("it is let in later", || is_served(&server, STRANGER).is_some());
    assert!(server.log().contains("--max-new-per-address"), "{}", server.log());
}

#[test]
fn when_all_places_are_taken_the_web_application_still_gets_through() {
    let server = Server::with(&["--max-connections", "10", "--rpc-listen", "127.0.0.1:0"]);
    let local = Ipv4Addr::LOCALHOST.into();
    let held: Vec<_> = (0..10).map_while(|_| is_served(&server, local)).collect();
    assert_eq!(held.len(), 10);
    let mut outside = server.connect();
    outside.offer(get("/nowhere"));
    outside.waits();
    let call = crate::support::post(r#"{"method":"system.list_methods","params":[],"id":1}"#);
    let mut caller = Connection::open(&server.for_calls[0], None);
    assert_eq!(caller.ask(call).json()["id"], 1);
    drop((held, caller));
    assert_eq!(outside.answer().status, 404);
    assert!(server.log().contains("--max-connections is the limit"), "{}", server.log());
}

/// Silent, dripping and half-closed connections cost a turn now and then, and not one for each.
#[test]
fn a_thousand_silent_or_dripping_connections_keep_nobody_waiting() {
    crate::support::crowd::raise_descriptor_limit();
    let server = Server::start();
    let alice = server.listener("alice", &["room"]);
    let mut crowd: Vec<Connection> = (0..1000).map(|_| server.connect()).collect();
    for (at, connection) in crowd.iter_mut().enumerate() {
        match at % 3 {
            0 => {}
            1 => connection.offer("GET /message_up"),
            _ => connection.offer("POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{"),
        }
    }
    server.turn();
    for round in 0..20 {
        crowd.iter_mut().skip(1).step_by(3).for_each(|connection| connection.offer("d"));
        let mut page = alice.park();
        server.publish("room", "hello");
        assert_eq!(page.news(), serde_json::json!({"room": [says(round + 2, "hello")]}));
    }
}

/// A process of its own, for the descriptors: ten thousand connections, of which a third is silent, a third sends a head and a third
/// a body that does not come to its end, a byte of one after the other. It drips for as long as it has a standard input.
const CROWD: &str = r#"
    use Socket; use Fcntl;
    my ($port, $count) = @ARGV;
    my @begun = ("", "GET /message_up", "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{");
    my @crowd = map {
        socket(my $socket, PF_INET, SOCK_STREAM, 0) or die $!;
        connect($socket, sockaddr_in($port, INADDR_LOOPBACK)) or die $!;
        syswrite($socket, $begun[$_ % 3]) if $_ % 3;
        $socket
    } 1..$count;
    $| = 1;
    print "there\n";
    my $at = 0;
    while (1) {
        vec(my $stdin = '', fileno(STDIN), 1) = 1;
        last if select($stdin, undef, undef, 0.01);
        for (1..20) { syswrite($crowd[$at % $count], "d") if ++$at % 3 != 2; }
    }
"#;

/// So many are slower than p99 of [`REQUESTS`].
const SLOWER: usize = REQUESTS / 100;
const REQUESTS: usize = 1000;

#[test]
fn ten_thousand_silent_or_dripping_connections_leave_others_as_fast() {
    let patient = ["--head-timeout", "10m", "--body-timeout", "10m", "--idle-timeout", "10m"];
    let server = Server::with(&patient);
    let mut scraper = Scraper::new(&server);
    let mut connection = server.connect();
    let mut p99 = || {
        let mut times: Vec<Duration> = (0..REQUESTS).map(|_| timed(|| connection.ask(get("/nowhere"))).1).collect();
        times.sort_unstable();
        times[REQUESTS - 1 - SLOWER]
    };
    let alone = p99();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -n $(ulimit -Hn); exec perl -e \"$0\" \"$@\"",
        CROWD,
        &server.port().to_string(),
        "10000",
    ]);
    let mut crowd = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is perl");
    let mut said = String::new();
    BufReader::new(crowd.stdout.take().expect("it is piped")).read_line(&mut said).expect("a line");
    assert_eq!(said, "there\n");
    scraper.until("connections", |open| open >= 10_000.0);
    let among_them = p99();
    assert!(scraper.get("connections") >= 10_000.0, "they are still there");
    drop(crowd.stdin.take());
    crowd.wait().expect("it ends");
    // A machine may have other things to do. Had each request to wait for one round of the crowd, it were a hundred times as much.
    let most = 5 * alone + Duration::from_millis(10);
    assert!(among_them < most, "p99 is {among_them:?}, and {alone:?} without them");
    println!("p99 is {among_them:?} with ten thousand others, and {alone:?} without");
    scraper.until("connections", |open| open < 10.0);
}

#[test]
fn time_in_which_the_process_was_stopped_does_not_count() {
    const MAX_IDLE: Duration = Duration::from_secs(2);
    let timers = ["--max-idle", "2s", "--min-alive", "2s", "--sweep-interval", "100ms", "--poll-timeout", "20s"];
    let server = Server::with(&timers);
    let begin = Instant::now();
    let pages: Vec<_> = (0..20).map(|at| server.listener(&format!("page{at}"), &["room"])).collect();
    // Nothing can be read from a process that is stopped: time has to pass.
    let ((), stopped) = timed(|| {
        server.signal(Signal::STOP);
        std::thread::sleep(2 * MAX_IDLE);
        server.signal(Signal::CONT);
    });
    until("it has noticed", || server.log().contains("was stopped for"));
    // Several sweeps later all are there, if not so much other time has passed: they could not have come back.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        let there = server.present("room").len();
        assert!(there == pages.len() || begin.elapsed() - stopped >= MAX_IDLE, "{there} are left");
    }
    // Who stays away from then on is collected as ever.
    until("they are collected", || server.present("room").is_empty());
    drop(pages);
}

/// Half of the pages break off, without a word, just as a message comes. They ask by the resume protocol: of the original's what has
/// left the process before the word of the end has come is gone.
#[test]
fn pages_that_vanish_take_nothing_from_those_that_stay() {
    let server = Server::with(&["--presence", "off"]);
    let before = crate::support::crowd::descriptors(server.pid());
    let clients: Vec<_> = (0..100).map(|at| server.subscriber(&format!("page{at}"), &["room"])).collect();
    let path = |client: &Client<'_>| Shape::Object.path(&[client], "");
    let mut pages: Vec<Option<Connection>> = clients.iter().map(|client| Some(server.park_at(&path(client)))).collect();
    for page in pages.iter_mut().step_by(2).filter_map(Option::take) {
        // A reset in place of a goodbye.
        page.socket.set_linger(Some(Duration::ZERO)).expect("TCP can");
    }
    server.publish("room", "hello");
    for (client, page) in clients.iter().zip(pages) {
        let answer = page.map_or_else(|| client.resume(""), |mut page| Shape::Object.read(&page.answer()));
        assert_eq!(said(&answer), ["hello"], "{}", client.id);
    }
    until("nothing is left of them", || crate::support::crowd::descriptors(server.pid()) == before);
}

/// A poll of a page that does not read the answer: its socket takes next to nothing.
fn deaf(server: &Server, client: &Client<'_>) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("every socket can");
    let mut page = Connection::over(socket, server.address(), None);
    page.send(get(&poll_path(&[client])));
    page
}

/// Pages whose sockets take nothing, and with them more than the server's own sockets can take.
#[test]
fn pages_that_never_read_keep_nobody_waiting_and_lose_nothing() {
    let server = Server::with(&["--presence", "off", "--write-timeout", "1s", "--max-answer", "16MiB"]);
    let before = crate::support::crowd::descriptors(server.pid());
    let clients: Vec<_> = (0..20).map(|at| server.subscriber(&format!("page{at}"), &["room", "hall"])).collect();
    let deaf: Vec<Connection> = clients.iter().map(|client| deaf(&server, client)).collect();
    let alice = server.subscriber("alice", &["lobby"]);
    let large = "x".repeat(3 << 20);
    server.publish("room", &large);
    server.publish("hall", &large);
    for round in 1..=20 {
        let mut page = alice.park();
        server.publish("lobby", "hello");
        assert_eq!(page.news(), serde_json::json!({"lobby": [says(round, "hello")]}));
    }
    until("they are given up", || crate::support::crowd::descriptors(server.pid()) == before);
    drop(deaf);
    let news = clients[0].news();
    assert!(["room", "hall"].iter().all(|channel| crate::support::texts(&news, channel) == [large.as_str()]));
}

/// It takes several times as long as nothing may move, and something moves all the while.
#[test]
fn a_page_that_reads_slowly_has_all_of_its_answer() {
    const STALL_MAX: Duration = Duration::from_secs(2);
    const PAUSE: Duration = Duration::from_millis(300);
    const MIB: usize = 1 << 20;
    let large = ["--history-bytes", "64MiB", "--max-answer", "64MiB", "--write-timeout", "2s"];
    let server = Server::with(&[&["--presence", "off"], &large[..]].concat());
    let alice = server.subscriber("alice", &["room"]);
    let text = "x".repeat(3 * MIB);
    server.publish_all("room", [text.as_str(); 6]);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(MIB / 4).expect("every socket can");
    let mut page = Connection::over(socket, server.address(), None);
    let (length, time) = timed(|| {
        page.send(get(&poll_path(&[&alice])));
        let (mut length, mut chunk) = (0, vec![0; MIB]);
        page.socket.set_read_timeout(Some(crate::support::PATIENCE)).expect("a time above zero");
        while length < 6 * text.len() {
            page.socket
                .read_exact(&mut chunk)
                .unwrap_or_else(|why| panic!("it is cut off behind {length} bytes: {why}"));
            length += chunk.len();
            std::thread::sleep(PAUSE);
        }
        length
    });
    assert!(time > 2 * STALL_MAX, "{length} bytes in {time:?}");
    // It has had them all.
    assert_eq!(alice.park().within(crate::support::QUIET).map(|answer| answer.status), Err(Missing::Silent));
}

/// Who says that nothing more will come of it (FIN) still gets answers to what it has asked, but takes no poll: it may be gone.
#[test]
fn a_peer_that_closes_its_half_is_answered_what_it_has_asked() {
    let server = Server::start();
    let before = crate::support::crowd::descriptors(server.pid());
    let half = |bytes: &str| {
        let mut connection = server.connect();
        connection.send(bytes);
        connection.socket.shutdown(Shutdown::Write).expect("it is connected");
        connection
    };
    let mut asked = half(&(get("/nowhere") + &get("/nowhere")));
    assert_eq!([asked.answer().status, asked.answer().status], [404; 2]);
    asked.closes();
    for cut in ["", "GET /no", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{"] {
        half(cut).closes();
    }
    let alice = server.listener("alice", &["room"]);
    half(&get(&poll_path(&[&alice]))).closes();
    server.publish("room", "hello");
    assert_eq!(crate::support::texts(&alice.news(), "room"), ["hello"], "it has taken nothing");
    until("nothing is left of them", || crate::support::crowd::descriptors(server.pid()) == before);
}
