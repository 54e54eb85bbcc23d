//! What is done, and what of it is measured.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::crowd::{Arrival, Crowd, Watch};
use super::drip::Drip;
use super::meter::{self, Meter, to_f64};
use super::probe::Probe;
use super::report::Report;
use super::setup::Webapp;
use super::wire::Wire;
use super::{Channels, Kind, Options};

/// When nothing has come for so long, what is missing is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Messages before the clock runs: everybody is known to be parked, and has been answered before.
const WARM_UP: u32 = 3;

/// Visits of `churn` that are open at the same time.
const VISITS_OPEN: usize = 64;

pub(crate) fn run(options: &Options) -> io::Result<Report> {
    let wire = Wire::new(options.target, options.address, options.transport, options.headers);
    let mut report = Report::default();
    report.add("pages", f64::from(options.pages));
    match options.scenario {
        Kind::Park => park(options, wire, &mut report),
        Kind::Fanout => fanout(options, wire, &mut report),
        Kind::Unicast => unicast(options, wire, &mut report),
        Kind::Publish => publish(options, wire, &mut report),
        Kind::Interference => interference(options, wire, &mut report),
        Kind::Drip => drip(options, &wire, &mut report),
        Kind::Churn => churn(options, wire, &mut report),
        Kind::Joins => joins(options, wire, &mut report),
        Kind::Sweep => sweep(options, wire, &mut report),
        Kind::Mixed => mixed(options, wire, &mut report),
    }?;
    Ok(report)
}

fn park(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let start = meter::memory(&options.pids)?;
    let seats = seats(options, |page| if options.channels == Channels::Own { page } else { 0 });
    let mut crowd = Crowd::new(wire.clone(), rooms(&seats), options.bytes, Watch::Texts)?;
    // What serves a poll comes into memory with the first one, and is no page's own.
    seat(&mut crowd, &wire, &seats[..1])?;
    let before = meter::memory(&options.pids)?;
    seat(&mut crowd, &wire, &seats[1..])?;
    warm_up(&mut crowd)?;
    let after = meter::memory(&options.pids)?;
    report.add("bytes_per_page", to_f64(after.saturating_sub(before)) / f64::from(options.pages - 1));
    report.add("memory_before", to_f64(start));
    report.add("memory_with_one", to_f64(before));
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn fanout(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut crowd = gather(options, wire, |_| 0)?;
    let meter = Meter::start(&options.pids)?;
    let start = Instant::now();
    for _ in 0..options.rounds {
        round(&mut crowd, 0, u64::from(options.pages))?;
    }
    settle(&mut crowd)?;
    let deliveries = options.rounds * u64::from(options.pages);
    report.add("deliveries", to_f64(deliveries));
    report.add("deliveries_per_s", to_f64(deliveries) / start.elapsed().as_secs_f64());
    report.add_cost(meter.stop()?, deliveries);
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn unicast(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut crowd = gather(options, wire, |page| page)?;
    let mut random = Random(1);
    let meter = Meter::start(&options.pids)?;
    let mut last = 0;
    for _ in 0..options.rounds {
        // Not the same twice: its next poll might still be on the way.
        let mut room = random.below(options.pages);
        while room == last && options.pages > 1 {
            room = random.below(options.pages);
        }
        last = room;
        round(&mut crowd, room, 1)?;
    }
    settle(&mut crowd)?;
    report.add("deliveries", to_f64(options.rounds));
    report.add_cost(meter.stop()?, options.rounds);
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn publish(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut crowd = Crowd::new(wire, 1, options.bytes, Watch::Texts)?;
    let mut meter = Meter::start(&options.pids)?;
    for number in 0..options.rounds + 100 {
        if number == 100 {
            meter = Meter::start(&options.pids)?;
        }
        crowd.publish(0)?;
        wait_for(&mut crowd, |crowd, _| crowd.unanswered == 0)?;
    }
    report.add_cost(meter.stop()?, options.rounds);
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn interference(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut crowd = gather(options, wire.clone(), |_| 0)?;
    let probe = Probe::start(&wire)?;
    let meter = Meter::start(&options.pids)?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut rounds = 0;
    while Instant::now() < end {
        round(&mut crowd, 0, u64::from(options.pages))?;
        rounds += 1;
    }
    let deliveries = rounds * u64::from(options.pages);
    report.add("deliveries", to_f64(deliveries));
    report.add_cost(meter.stop()?, deliveries);
    report.add_times("unrelated", probe.stop()?);
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn drip(options: &Options, wire: &Wire, report: &mut Report) -> io::Result<()> {
    let alone = Probe::start(wire)?;
    std::thread::sleep(Duration::from_secs(options.seconds));
    report.add_times("alone", alone.stop()?);
    let mut drip = Drip::open(wire.address, options.pages)?;
    let probe = Probe::start(wire)?;
    let meter = Meter::start(&options.pids)?;
    drip.go_on(Duration::from_secs(options.seconds))?;
    report.add_cost(meter.stop()?, options.seconds);
    report.add("returned", to_f64(drip.returned));
    report.add_times("unrelated", probe.stop()?);
    Ok(())
}

fn churn(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut crowd = gather(options, wire, |_| 0)?;
    let pages = crowd.len();
    (0..pages).for_each(|at| crowd.leave(at));
    settle(&mut crowd)?;
    let mut open = VecDeque::new();
    let visits = u32::try_from(options.rounds).unwrap_or(u32::MAX);
    let meter = Meter::start(&options.pids)?;
    for visit in 0..visits {
        let at = visit as usize % pages;
        crowd.enter(at, options.pages.wrapping_add(visit))?;
        open.push_back(at);
        if open.len() > VISITS_OPEN.min(pages - 1) {
            crowd.leave(open.pop_front().expect("it is longer than the limit"));
        }
        // The server keeps up with the door: nobody waits in the kernel's queue for longer than this.
        if (visit as usize).is_multiple_of(VISITS_OPEN) {
            settle(&mut crowd)?;
        }
    }
    settle(&mut crowd)?;
    report.add("visits", f64::from(visits));
    report.add_cost(meter.stop()?, u64::from(visits));
    // Who has left has taken nothing, and who is still here gets the next message.
    round(&mut crowd, 0, open.len() as u64)?;
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn joins(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let mut webapp = Webapp::connect(&wire)?;
    let mut crowd = Crowd::new(wire, 1, options.bytes, Watch::Ids)?;
    let mut arrivals = Vec::new();
    let meter = Meter::start(&options.pids)?;
    let start = Instant::now();
    let mut messages = 0;
    for page in 0..options.pages {
        let visitor = webapp.prepare(&[(page, 0)])?.remove(0);
        let at = crowd.add(visitor);
        crowd.enter(at, page)?;
        while crowd.turn(Duration::ZERO, &mut arrivals)? {}
        messages += arrivals.drain(..).count() as u64;
    }
    // The last one's message comes to everybody.
    let last = u64::from(options.pages);
    messages += wait_for(&mut crowd, |crowd, _| (0..crowd.len()).all(|at| crowd.got(at) == last))?;
    report.add("seconds", start.elapsed().as_secs_f64());
    report.add_cost(meter.stop()?, u64::from(options.pages));
    report.add("messages", to_f64(messages));
    // A page that was slower than the ring is long; the wire allows it, and it should not happen.
    report.add("skipped", to_f64((last * (last + 1) / 2).saturating_sub(messages)));
    crowd.verdict.lost += (0..crowd.len()).filter(|&at| crowd.got(at) != last).count() as u64;
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn sweep(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let before = meter::memory(&options.pids)?;
    let mut crowd = gather(options, wire.clone(), |_| 0)?;
    let parked = meter::memory(&options.pids)?;
    let mut webapp = Webapp::connect(&wire)?;
    let probe = Probe::start(&wire)?;
    let meter = Meter::start(&options.pids)?;
    let start = Instant::now();
    (0..crowd.len()).for_each(|at| crowd.leave(at));
    for page in [0, options.pages / 2, options.pages - 1] {
        let question = format!(r#"{{"method":"get_client_channels","params":["page{page}"],"id":1}}"#);
        while !webapp.call(&question)?.contains("error") {
            if start.elapsed() > PATIENCE {
                return Err(io::Error::other("pages that have left are not collected"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    report.add("seconds", start.elapsed().as_secs_f64());
    report.add_cost(meter.stop()?, u64::from(options.pages));
    report.add_times("unrelated", probe.stop()?);
    std::thread::sleep(Duration::from_secs(options.seconds));
    let after = meter::memory(&options.pids)?;
    report.add("memory_before", to_f64(before));
    report.add("memory_parked", to_f64(parked));
    report.add("memory_after", to_f64(after));
    report.add_verdict(crowd.verdict);
    Ok(())
}

fn mixed(options: &Options, wire: Wire, report: &mut Report) -> io::Result<()> {
    let before = meter::memory(&options.pids)?;
    let mut crowd = gather(options, wire, |page| page % options.rooms)?;
    report.add("memory_grown", to_f64(meter::memory(&options.pids)?.saturating_sub(before)));
    let mut random = Random(1);
    // One page in a hundred says something, five times a second.
    let interval = Duration::from_secs_f64(20.0 / f64::from(options.pages));
    let mut said: Vec<Vec<Instant>> = vec![Vec::new(); usize::try_from(options.rooms).unwrap_or(0)];
    let mut times = Vec::new();
    let mut arrivals = Vec::new();
    let meter = Meter::start(&options.pids)?;
    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let mut next = start;
    while next < end || (crowd.missing() > 0 && Instant::now() < end + PATIENCE) {
        let now = Instant::now();
        if now >= next && next < end {
            let room = random.below(options.rooms);
            said[room as usize].push(now);
            crowd.publish(room)?;
            next += interval;
        }
        let wait = if next < end { next.saturating_duration_since(Instant::now()) } else { Duration::from_millis(50) };
        crowd.turn(wait, &mut arrivals)?;
        let now = Instant::now();
        times.extend(arrivals.drain(..).filter_map(|Arrival { room, number }| {
            let at = usize::try_from(number - 1).ok()?.checked_sub(WARM_UP as usize)?;
            Some(now.duration_since(*said[room as usize].get(at)?).as_secs_f64() * 1000.0)
        }));
    }
    crowd.verdict.lost += crowd.missing();
    let cost = meter.stop()?;
    report.add("cpu_percent", cost.cpu / start.elapsed().as_secs_f64() / 10_000.0);
    report.add_cost(cost, times.len() as u64);
    report.add_times("delivery", times);
    report.add_verdict(crowd.verdict);
    Ok(())
}

/// Makes clients, connects the pages, and publishes to each room until everybody is known to be parked.
fn gather(options: &Options, wire: Wire, room_of: impl Fn(u32) -> u32) -> io::Result<Crowd> {
    let seats = seats(options, room_of);
    let mut crowd = Crowd::new(wire.clone(), rooms(&seats), options.bytes, Watch::Texts)?;
    seat(&mut crowd, &wire, &seats)?;
    warm_up(&mut crowd)?;
    Ok(crowd)
}

/// Each page and its room, room by room.
fn seats(options: &Options, room_of: impl Fn(u32) -> u32) -> Vec<(u32, u32)> {
    let mut seats: Vec<(u32, u32)> = (0..options.pages).map(|page| (page, room_of(page))).collect();
    seats.sort_by_key(|&(_, room)| room);
    seats
}

fn rooms(seats: &[(u32, u32)]) -> usize {
    seats.last().map_or(1, |&(_, room)| room as usize + 1)
}

/// Makes clients and connects the pages.
fn seat(crowd: &mut Crowd, wire: &Wire, seats: &[(u32, u32)]) -> io::Result<()> {
    for visitor in Webapp::connect(wire)?.prepare(seats)? {
        let source = visitor.number;
        let at = crowd.add(visitor);
        crowd.enter(at, source)?;
        if at.is_multiple_of(256) {
            settle(crowd)?;
        }
    }
    settle(crowd)
}

/// Publishes to each room, again and again.
fn warm_up(crowd: &mut Crowd) -> io::Result<()> {
    let mut sizes = vec![0; crowd.rooms()];
    (0..crowd.len()).for_each(|at| sizes[crowd.room(at) as usize] += 1);
    for _ in 0..WARM_UP {
        for (room, &size) in (0..).zip(&sizes) {
            round(crowd, room, size)?;
        }
        settle(crowd)?;
    }
    Ok(())
}

/// Publishes to a room and waits until everybody in it has got it. What does not come is lost.
fn round(crowd: &mut Crowd, room: u32, pages: u64) -> io::Result<()> {
    crowd.publish(room)?;
    let came = wait_for(crowd, |crowd, came| crowd.unanswered == 0 && came >= pages)?;
    if came < pages {
        crowd.verdict.lost += pages - came;
        return Err(io::Error::other(format!("{} of {pages} got the message: {:?}", came, crowd.verdict)));
    }
    Ok(())
}

/// Waits until the server has read everything that was sent so far.
fn settle(crowd: &mut Crowd) -> io::Result<()> {
    crowd.knock()?;
    wait_for(crowd, |crowd, _| crowd.unanswered == 0).map(drop)
}

/// Takes in what comes until it is enough, or nothing comes any more; returns how many messages came.
fn wait_for(crowd: &mut Crowd, enough: impl Fn(&Crowd, u64) -> bool) -> io::Result<u64> {
    let (mut came, mut arrivals) = (0, Vec::new());
    while !enough(crowd, came) {
        if !crowd.turn(PATIENCE, &mut arrivals)? {
            break;
        }
        came += arrivals.drain(..).count() as u64;
    }
    Ok(came)
}

/// A random walk that is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 32) % u64::from(limit.max(1))).expect("it is below a number of 32 bits")
    }
}
