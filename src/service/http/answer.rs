//! An answer with the headers that keep other sites out.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What is sent back.
#[derive(Debug)]
pub struct Answer {
    status: u16,
    kind: &'static str,
    body: String,
    /// Further headers.
    more: Vec<(&'static str, String)>,
}

impl Answer {
    /// With a body of this media type.
    pub fn new(status: u16, kind: &'static str, body: impl Into<String>) -> Answer {
        Answer {
            status,
            kind,
            body: body.into(),
            more: Vec::new(),
        }
    }

    /// One line for people.
    pub fn text(status: u16, sentence: &str) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
    }

    /// An object.
    pub fn json(value: &serde_json::Value) -> Answer {
        Answer::new(200, "application/json", format!("{value}\n"))
    }

    /// The same with another header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.more.push((name, value.into()));
        self
    }

    /// The head of the answer; without a length when it goes on for ever.
    fn head(&self, is_stream: bool) -> String {
        let Answer { status, kind, .. } = self;
        let word = word(*status);
        let mut head = format!("HTTP/1.1 {status} {word}\r\nContent-Type: {kind}\r\n");
        if !is_stream {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        head += "Connection: close\r\n\
                 Cache-Control: no-store\r\n\
                 X-Content-Type-Options: nosniff\r\n\
                 Referrer-Policy: no-referrer\r\n\
                 Cross-Origin-Resource-Policy: same-origin\r\n";
        for (name, value) in &self.more {
            head += &format!("{name}: {value}\r\n");
        }
        if !self.more.iter().any(|(name, _)| *name == POLICY) {
            head += "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n";
        }
        head + "\r\n"
    }

    /// Sends all of it, and waits a moment until the other end has it.
    ///
    /// # Errors
    /// The connection's.
    pub fn send(&self, stream: &mut TcpStream) -> io::Result<()> {
        let text = self.head(false) + &self.body;
        stream.write_all(text.as_bytes())?;
        linger(stream)
    }

    /// Sends the head of a stream of events.
    ///
    /// # Errors
    /// The connection's.
    pub fn begin(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(self.head(true).as_bytes())
    }
}

/// The header that says what a page may load and run.
pub const POLICY: &str = "Content-Security-Policy";

/// Ends our side, and lets what the other end still sends run out: a connection that is closed
/// over unread bytes is reset, and the answer with it.
fn linger(stream: &mut TcpStream) -> io::Result<()> {
    use std::io::Read;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 4096];
    for _ in 0..64 {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Ok(())
}

fn word(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
