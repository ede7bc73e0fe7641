//! Whatever a broker says.

use super::*;
use crate::config::mqtt::Mqtt as Config;
use std::collections::VecDeque;
use std::os::unix::net::UnixStream;

#[path = "../../../../tests/support/mutate.rs"]
mod mutate;

/// Gives a broker's bytes in pieces, and takes whatever is sent.
struct Piecewise {
    left: VecDeque<u8>,
    piece: usize,
    end: UnixStream,
}

impl Stream for Piecewise {
    fn fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let n = self.piece.min(self.left.len());
        into.extend(self.left.drain(..n));
        Ok(n > 0)
    }

    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

fn link(version: Version, bytes: &[u8], piece: usize) -> Link {
    let stream = Piecewise {
        left: bytes.iter().copied().collect(),
        piece,
        // the other end is gone: what is left can always be read
        end: UnixStream::pair().unwrap().0,
    };
    Link::over(Box::new(stream), Config::default().broker, version)
}

/// What is made of a broker's bytes: how many packets, and in a word what is wrong at the end.
fn read(version: Version, bytes: &[u8], piece: usize) -> (usize, String) {
    let mut link = link(version, bytes, piece);
    let mut packets = 0;
    loop {
        // a packet of the greatest length that is read, the header of another, and a piece
        assert!(link.inbox.len() <= MOST_BYTES + 5 + piece, "it hoards");
        match link.next() {
            Ok(Some(_)) => packets += 1,
            Ok(None) => match link.receive() {
                Ok(()) => {}
                Err(fault) => return (packets, fault.to_string()),
            },
            Err(fault) => return (packets, fault.to_string()),
        }
    }
}

/// A packet of `body`.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut left = body.len();
    loop {
        let more = u8::from(left > 0x7f) << 7;
        bytes.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if left == 0 {
            bytes.extend(body);
            return bytes;
        }
    }
}

/// What a broker says, each alone and all in a row.
fn said(version: Version) -> Vec<Vec<u8>> {
    let wish = b"\0\x16demeanor/door/mute/set".to_vec();
    let is_5 = version == Version::V5;
    let with = |mut body: Vec<u8>, properties: &[u8], rest: &[u8]| {
        if is_5 {
            body.extend(properties);
        }
        body.extend(rest);
        body
    };
    // properties of CONNACK: at most 20 wait, packets of 64 kB, a keep-alive of 60 s, a reason
    let accepted = b"\x13\x21\0\x14\x27\0\x01\0\0\x13\0\x3c\x1f\0\x05hello";
    // of PUBLISH: it expires, its payload is text, somebody's own
    let dated = b"\x10\x02\0\0\0\x3c\x01\x01\x26\0\x01a\0\x03abc";
    let mut packets = vec![
        packet(0x20, &with(vec![0, 0], accepted, b"")),
        packet(0x20, &with(vec![0, 0x86], b"\0", b"")),
        packet(0x40, &[0, 7]),
        packet(0x90, &with(vec![0, 1], b"\0", &[0, 0, 0x80])),
        packet(0x30, &with(wish.clone(), dated, b"ON")),
        packet(0x31, &with(wish.clone(), b"\0", b"OFF")),
        packet(0x30, &with(wish, b"\0", &[b'x'; 3 * MOST_BYTES])),
        packet(0xd0, b""),
    ];
    if is_5 {
        packets.push(packet(0x40, b"\0\x07\x10\0"));
        packets.push(packet(0xe0, b"\x8e\0"));
    }
    packets.push(packets.concat());
    packets
}

#[test]
fn whole_packets_are_read_however_they_come_and_what_is_too_long_is_passed_over() {
    for version in [Version::V5, Version::V311] {
        let said = said(version);
        let (all, each) = said.split_last().unwrap();
        for piece in [1, 2, 7, MOST_BYTES] {
            let (packets, end) = read(version, all, piece);
            // all but the one that is too long
            assert_eq!(packets, each.len() - 1, "{version:?}, {piece}: {end}");
            assert!(end.contains("it closed the connection"), "{end}");
        }
    }
}

#[test]
fn whatever_a_broker_says_is_read_or_refused() {
    for version in [Version::V5, Version::V311] {
        let name = format!("mqtt_{version:?}");
        mutate::run(&name, &said(version), |bytes| {
            let (packets, end) = read(version, bytes, MOST_BYTES);
            let (_, in_pieces) = read(version, bytes, 61);
            assert_eq!(end, in_pieces);
            (packets.min(16), end)
        });
    }
}
