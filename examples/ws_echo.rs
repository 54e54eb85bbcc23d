//! A WebSocket server that says back what it hears, on the codec of the push server: for conformance suites.
//!
//! ```sh
//! cargo run --release --example ws_echo -- 127.0.0.1:9001
//! ```
//!
//! A thread for each connection keeps it short; the push server itself has one for all.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use shaveet::http::{self, Method, Step as HttpStep};
use shaveet::websocket::{self, Decoder, Event, Limits, Step};

const HTTP_LIMITS: http::Limits = http::Limits { head_bytes: 16 << 10, body_bytes: 0 };

/// What suites send at most.
const LIMITS: Limits = Limits { frame_bytes: 64 << 20, message_bytes: 64 << 20 };

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || match serve(stream) {
            Ok(()) => {}
            Err(error) => eprintln!("{error}"),
        });
    }
    Ok(())
}

pub(crate) fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(mut input) = shake_hands(&mut stream)? else { return Ok(()) };
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let mut output = Vec::new();
        let ends = echo(&mut decoder, &input, &mut output);
        stream.write_all(&output)?;
        if ends {
            // What it still sends is read, or the last frame would be lost with the connection.
            stream.shutdown(std::net::Shutdown::Write)?;
            return io::copy(&mut stream, &mut io::sink()).map(|_| ());
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        input.clear();
        input.extend_from_slice(&buffer[..count]);
    }
}

/// Reads the request and answers it. What has come behind it; nothing if it is refused.
fn shake_hands(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let (mut decoder, mut input) = (http::Decoder::new(), Vec::new());
    let mut buffer = vec![0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        input.extend_from_slice(&buffer[..count]);
        let (request, used) = match decoder.next(&HTTP_LIMITS, &input) {
            Ok(HttpStep::Request { request, used }) => (request, used),
            Ok(_) => continue,
            Err(error) => return Err(io::Error::other(format!("{error:?}"))),
        };
        match websocket::accept(|name| request.header_values(name)) {
            Ok(accept) if request.method == Method::Get => {
                let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
                write!(stream, "{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")?;
                return Ok(Some(input.split_off(used)));
            }
            refused => {
                write!(stream, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
                return Err(io::Error::other(format!("{refused:?}")));
            }
        }
    }
}

/// Says back what the bytes amount to. True if that was all.
fn echo(decoder: &mut Decoder, mut input: &[u8], output: &mut Vec<u8>) -> bool {
    loop {
        let event = match decoder.next(&LIMITS, input) {
            Ok(Step::More) => return false,
            Ok(Step::Event { event, used }) => {
                input = &input[used..];
                event
            }
            Err(error) => {
                websocket::write_close(output, Some(error.close_code()), "");
                return true;
            }
        };
        match event {
            Event::Text(text) => websocket::write_text(output, text.as_bytes()),
            Event::Binary(bytes) => websocket::write_binary(output, &bytes),
            Event::Ping(payload) => websocket::write_pong(output, &payload),
            Event::Pong(_) => {}
            Event::Close(code) => {
                websocket::write_close(output, code, "");
                return true;
            }
        }
    }
}
