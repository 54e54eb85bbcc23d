//! Peers that want nothing, or never come to the end of it: a third is silent, a third sends its head byte by byte, a third
//! its body.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How a peer of each third begins.
const BEGINNINGS: [&[u8]; 3] =
    [b"", b"GET /message_updates?callback=", b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{"];

/// Each sends a byte in so many beats.
const BEATS: u32 = 100;
const BEAT: Duration = Duration::from_millis(10);

/// Many of them.
pub(crate) struct Drip {
    address: SocketAddr,
    peers: Vec<TcpStream>,
    /// Peers that the server has let go of, and that have come again.
    pub(crate) returned: u64,
}

impl Drip {
    pub(crate) fn open(address: SocketAddr, count: u32) -> io::Result<Drip> {
        let mut drip = Drip { address, peers: Vec::new(), returned: 0 };
        for at in 0..count as usize {
            let peer = drip.come(at)?;
            drip.peers.push(peer);
        }
        Ok(drip)
    }

    /// Drips for so long.
    pub(crate) fn go_on(&mut self, time: Duration) -> io::Result<()> {
        let begin = Instant::now();
        let beats = u32::try_from(time.as_millis() / BEAT.as_millis()).unwrap_or(u32::MAX);
        for beat in 0..beats {
            std::thread::sleep((begin + BEAT * beat).saturating_duration_since(Instant::now()));
            for at in ((beat % BEATS) as usize..self.peers.len()).step_by(BEATS as usize) {
                let byte: &[u8] = if at % BEGINNINGS.len() == 0 { b"" } else { b"x" };
                if self.peers[at].write(byte).is_err() {
                    self.peers[at] = self.come(at)?;
                    self.returned += 1;
                }
            }
        }
        Ok(())
    }

    fn come(&self, at: usize) -> io::Result<TcpStream> {
        let mut peer = TcpStream::connect(self.address)?;
        peer.set_nodelay(true)?;
        peer.write_all(BEGINNINGS[at % BEGINNINGS.len()])?;
        peer.set_nonblocking(true)?;
        Ok(peer)
    }
}
