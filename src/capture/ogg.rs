//! Ogg pages from any reader, checked by their sums, with a way on behind a broken one.
//!
//! Own reader rather than a crate: `ogg` needs to seek (a pipe cannot), and does not tell
//! the page numbers that show how much was lost.

use std::io::{self, Read};

/// Bytes before a page's segment table.
const HEADER: usize = 27;
/// Read ahead by this much.
const READ: usize = 16 << 10;

/// One page of a logical stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    /// It begins in the middle of a packet.
    pub(super) continued: bool,
    /// First page of its stream.
    pub(super) first: bool,
    /// Last page of its stream.
    pub(super) last: bool,
    /// Position at its end; `None` when no packet ends here.
    pub(super) granule: Option<u64>,
    pub(super) serial: u32,
    pub(super) sequence: u32,
    lacing: Vec<u8>,
    body: Vec<u8>,
}

impl Page {
    /// The pieces of packets in this page, each with whether the packet ends with it.
    pub(super) fn pieces(&self) -> Vec<(&[u8], bool)> {
        let (mut pieces, mut from, mut to) = (Vec::new(), 0, 0);
        for lace in &self.lacing {
            to += usize::from(*lace);
            if *lace < 255 {
                pieces.push((&self.body[from..to], true));
                from = to;
            }
        }
        if from < to {
            pieces.push((&self.body[from..to], false));
        }
        pieces
    }
}

/// What came of looking for a page.
pub(super) enum Found {
    Page(Page),
    /// More broken pages in a row than allowed.
    Hopeless,
    End,
}

/// A reader of pages.
pub(super) struct Pages {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    at: usize,
    at_end: bool,
    /// Pages or stretches that had to be passed over so far.
    pub(super) broken: u32,
    /// The data end in the middle of a page.
    pub(super) truncated: bool,
    most_broken: u32,
}

impl Pages {
    pub(super) fn new(reader: Box<dyn Read + Send>, most_broken: u32) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            at: 0,
            at_end: false,
            broken: 0,
            truncated: false,
            most_broken,
        }
    }

    /// From now on no number of broken pages is hopeless.
    pub(super) fn never_give_up(&mut self) {
        self.most_broken = u32::MAX;
    }

    pub(super) fn next_page(&mut self) -> io::Result<Found> {
        let mut failures = 0u32;
        loop {
            if !self.seek_capture_pattern()? {
                return Ok(Found::End);
            }
            if let Some(page) = self.page_here()? {
                return Ok(Found::Page(page));
            }
            self.broken = self.broken.saturating_add(1);
            failures = failures.saturating_add(1);
            if failures > self.most_broken {
                return Ok(Found::Hopeless);
            }
            self.at += 1;
        }
    }

    /// Moves to the next capture pattern, `OggS`.
    fn seek_capture_pattern(&mut self) -> io::Result<bool> {
        loop {
            let found = self.buffer[self.at..].windows(4).position(|w| w == b"OggS");
            if let Some(offset) = found {
                self.at += offset;
                return Ok(true);
            }
            // The pattern's beginning may be the last three bytes.
            self.at = self.at.max(self.buffer.len().saturating_sub(3));
            if !self.has(self.buffer.len() - self.at + 1)? {
                return Ok(false);
            }
        }
    }

    /// The page that begins here, `None` if it is broken or incomplete.
    fn page_here(&mut self) -> io::Result<Option<Page>> {
        if !self.has(HEADER)? {
            self.truncated = true;
            return Ok(None);
        }
        let segments = usize::from(self.buffer[self.at + 26]);
        if !self.has(HEADER + segments)? {
            self.truncated = true;
            return Ok(None);
        }
        let table = self.at + HEADER;
        let lacing = self.buffer[table..table + segments].to_vec();
        let body: usize = lacing.iter().map(|lace| usize::from(*lace)).sum();
        let total = HEADER + segments + body;
        if !self.has(total)? {
            self.truncated = true;
            return Ok(None);
        }
        let bytes = &self.buffer[self.at..self.at + total];
        if bytes[4] != 0 || checksum(bytes) != word(bytes, 22) {
            return Ok(None);
        }
        let granule = u64::from(word(bytes, 6)) | u64::from(word(bytes, 10)) << 32;
        let page = Page {
            continued: bytes[5] & 1 != 0,
            first: bytes[5] & 2 != 0,
            last: bytes[5] & 4 != 0,
            granule: (granule != u64::MAX).then_some(granule),
            serial: word(bytes, 14),
            sequence: word(bytes, 18),
            body: bytes[total - body..].to_vec(),
            lacing,
        };
        self.at += total;
        // A page seen whole after all: what looked truncated was only damaged.
        self.truncated = false;
        Ok(Some(page))
    }

    /// Reads until `count` bytes lie ahead; `false` at the end of the data.
    fn has(&mut self, count: usize) -> io::Result<bool> {
        while self.buffer.len() - self.at < count && !self.at_end {
            if self.at > READ {
                self.buffer.drain(..self.at);
                self.at = 0;
            }
            let old = self.buffer.len();
            self.buffer.resize(old + READ, 0);
            let read = match self.reader.read(&mut self.buffer[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
                other => other.map(Some),
            };
            self.buffer
                .truncate(old + read.as_ref().map_or(0, |count| count.unwrap_or(0)));
            self.at_end = read? == Some(0);
        }
        Ok(self.buffer.len() - self.at >= count)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// CRC-32 of polynomial 0x04C11DB7, not reflected, over the page with a zero sum field.
fn checksum(page: &[u8]) -> u32 {
    page.iter().enumerate().fold(0, |crc, (at, byte)| {
        let byte = if (22..26).contains(&at) { 0 } else { *byte };
        let [top, ..] = crc.to_be_bytes();
        crc << 8 ^ CRC_TABLE[usize::from(top ^ byte)]
    })
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 {
                crc << 1 ^ 0x04C1_1DB7
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};
