//! How much a recording or a text may ask of us.

use std::time::Duration;

/// Longest recording read from a file; a live stream may go on for ever.
pub const MAX_AUDIO: Duration = Duration::from_secs(4 * 3600);
/// Most channels of a recording or a device.
pub const MAX_CHANNELS: u16 = 32;
/// Bytes a WAV file may put before its sound (pictures, notes, padding).
pub const MAX_WAV_HEADER: u64 = 64 << 20;
/// Longest Opus packet; RFC 7845 lets a stereo packet reach 61,298 bytes.
pub const MAX_OPUS_PACKET: usize = 64 << 10;
/// Broken Ogg pages in a row before a file is given up.
pub const MAX_BROKEN_PAGES: u32 = 256;
/// Longest line of text in bytes.
pub const MAX_LINE: usize = 1 << 20;
/// Largest file of words in bytes; four hours of JSON with every word's time are a tenth.
pub const MAX_TRANSCRIPT: usize = 64 << 20;
/// Chunks or lines that wait between a reading thread and the poll.
pub const QUEUE: usize = 64;
/// Pictures that wait between a reading thread and the poll.
pub const PICTURE_QUEUE: usize = 2;
/// Bytes of a stream that may hold no picture before it is given up.
pub const MAX_GARBAGE: usize = 4 << 20;
/// Largest labelled table, in bytes.
pub const MAX_TABLE: usize = 256 << 20;
/// Largest configuration, in bytes.
pub const MAX_CONFIG: usize = 1 << 20;
/// Bytes of a program's line on standard error that are kept.
pub const MAX_NOTE: usize = 512;
