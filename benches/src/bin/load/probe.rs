//! An unrelated visitor: a thread with a connection of its own, which asks for nothing in particular, again and again,
//! and takes the time.
//!
//! A server that stands still for 100 ms does not keep one visitor waiting but everybody who comes meanwhile. So a long
//! wait is counted once more for each beat within it, with what was left of it then.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::wire::{Answer, Wire};

/// A visitor under way.
pub(crate) struct Probe {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<f64>>>,
}

/// A visitor comes so often.
const BEAT: Duration = Duration::from_millis(2);

impl Probe {
    pub(crate) fn start(wire: &Wire) -> io::Result<Probe> {
        let mut stream = TcpStream::connect(wire.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut request = Vec::new();
        wire.write_unrelated(&mut request);
        let enough = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&enough);
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                visit(&mut stream, &request)?;
                let mut wait = start.elapsed();
                std::thread::sleep(BEAT.saturating_sub(wait));
                times.push(wait.as_secs_f64() * 1000.0);
                while wait > BEAT {
                    wait -= BEAT;
                    times.push(wait.as_secs_f64() * 1000.0);
                }
            }
            Ok(times)
        });
        Ok(Probe { enough, thread })
    }

    /// The milliseconds that each request took.
    pub(crate) fn stop(self) -> io::Result<Vec<f64>> {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the visitor's thread has panicked"))?
    }
}

fn visit(stream: &mut TcpStream, request: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while Answer::split(&answer).is_none() {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other("the server has closed the unrelated visitor's connection")),
            count => answer.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(())
}
