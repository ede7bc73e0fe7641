//! A request, read within limits of size and time.

use std::io::{self, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Bytes of the request line and the headers.
pub const MOST_HEAD: usize = 8 << 10;
/// Header lines.
const MOST_HEADERS: usize = 64;
/// Bytes of a body.
pub const MOST_BODY: usize = 1 << 10;
/// All of a request is there within this time, or it is given up.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request gets no other answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// A sentence.
    pub why: &'static str,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: u16, why: &'static str) -> Refusal {
        Refusal { status, why }
    }
}

/// What was asked for.
#[derive(Debug, Default)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What stands behind `?`; empty where nothing does.
    pub query: String,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    /// Of a `POST`.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request. `Ok(None)` when the other end sent nothing and left.
    ///
    /// # Errors
    /// A refusal with the status that says why.
    pub fn read(stream: &mut TcpStream, patience: Duration) -> Result<Option<Request>, Refusal> {
        let end = Instant::now() + patience;
        let mut bytes = Vec::new();
        let (mut request, head) = loop {
            if let Some(found) = Request::parse(&bytes)? {
                break found;
            }
            if bytes.len() >= MOST_HEAD {
                return Err(Refusal::new(431, "the head of a request has 8 kB at most"));
            }
            let most = MOST_HEAD - bytes.len();
            match receive(stream, &mut bytes, most, end)? {
                0 if bytes.is_empty() => return Ok(None),
                0 => return Err(Refusal::new(400, "the request ends within its head")),
                _ => {}
            }
        };
        let length = request.length()?;
        bytes.drain(..head);
        while bytes.len() < length {
            let missing = length - bytes.len();
            if receive(stream, &mut bytes, missing, end)? == 0 {
                return Err(Refusal::new(400, "the request ends within its body"));
            }
        }
        bytes.truncate(length);
        request.body = bytes;
        Ok(Some(request))
    }

    /// The request of a complete head, and how long that is.
    fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let head = match parsed.parse(bytes) {
            Ok(httparse::Status::Complete(head)) => head,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Refusal::new(431, "a request has 64 headers at most"));
            }
            Err(httparse::Error::Version) => {
                return Err(Refusal::new(505, "HTTP/1.1 is spoken here"));
            }
            Err(_) => return Err(Refusal::new(400, "this is no request of HTTP/1.1")),
        };
        let target = parsed.path.unwrap_or_default();
        if !target.starts_with('/') {
            return Err(Refusal::new(400, "the target of a request begins with /"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = parsed.headers.iter().map(|header| {
            let value = String::from_utf8_lossy(header.value).trim().to_owned();
            (header.name.to_ascii_lowercase(), value)
        });
        let request = Request {
            method: parsed.method.unwrap_or_default().into(),
            path: path.into(),
            query: query.into(),
            headers: headers.collect(),
            body: Vec::new(),
        };
        Ok(Some((request, head)))
    }

    /// How long the body is.
    fn length(&self) -> Result<usize, Refusal> {
        if self.header("transfer-encoding")?.is_some() {
            return Err(Refusal::new(411, "a body needs its Content-Length"));
        }
        let Some(length) = self.header("content-length")? else {
            return Ok(0);
        };
        match length.parse() {
            Ok(length) if length <= MOST_BODY => Ok(length),
            _ if length.bytes().all(|b| b.is_ascii_digit()) => {
                Err(Refusal::new(413, "the body of a request has 1 kB at most"))
            }
            _ => Err(Refusal::new(400, "Content-Length is a number")),
        }
    }

    /// The value of a header that may stand once; its name in small letters.
    ///
    /// # Errors
    /// One that stands twice: who reads the first and who reads the last would differ.
    pub fn header(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name);
        let first = values.next().map(|(_, value)| value.as_str());
        match values.next() {
            Some(_) => Err(Refusal::new(400, "a header stands twice")),
            None => Ok(first),
        }
    }

    /// The value of a cookie.
    ///
    /// # Errors
    /// As [`Request::header`].
    pub fn cookie(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let cookies = self.header("cookie")?.unwrap_or_default();
        let mut pairs = cookies.split(';').filter_map(|c| c.trim().split_once('='));
        Ok(pairs.find(|(n, _)| *n == name).map(|(_, value)| value))
    }
}

/// Receives up to `most` bytes before `end`; 0 when the other end is closed.
fn receive(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    most: usize,
    end: Instant,
) -> Result<usize, Refusal> {
    const SLOW: &str = "a request is there within 5 s";
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Refusal::new(408, SLOW));
    }
    let mut buffer = [0; 1024];
    let most = most.min(buffer.len());
    let received = stream
        .set_read_timeout(Some(left))
        .and_then(|()| stream.read(&mut buffer[..most]));
    match received {
        Ok(n) => {
            bytes.extend(&buffer[..n]);
            Ok(n)
        }
        Err(e) if e.kind() == io::ErrorKind::Interrupted => receive(stream, bytes, most, end),
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            Err(Refusal::new(408, SLOW))
        }
        // it was reset: nobody is there to read a sentence
        Err(_) => Ok(0),
    }
}
