//! PNG files taken apart and put together again.

/// A file of `width` × `height` pixels of this type, all bytes zero unless `data` are given.
pub fn png(width: u32, height: u32, colour: png::ColorType, data: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().unwrap();
    let zeros = vec![0; width as usize * height as usize * colour.samples()];
    writer.write_image_data(data.unwrap_or(&zeros)).unwrap();
    writer.finish().unwrap();
    bytes
}

/// Name and content of every chunk.
pub fn chunks(png: &[u8]) -> Vec<([u8; 4], Vec<u8>)> {
    let mut rest = &png[8..];
    let mut chunks = Vec::new();
    while rest.len() >= 12 {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let name = rest[4..8].try_into().unwrap();
        chunks.push((name, rest[8..8 + length].to_vec()));
        rest = &rest[12 + length..];
    }
    chunks
}

/// The file with these chunks.
pub fn file(chunks: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1A\n".to_vec();
    for (name, content) in chunks {
        out.extend((content.len() as u32).to_be_bytes());
        let from = out.len();
        out.extend(name);
        out.extend(content);
        let sum = crc(&out[from..]);
        out.extend(sum.to_be_bytes());
    }
    out
}

/// The file with a chunk at this place among the others.
pub fn with(png: &[u8], at: usize, name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut all = chunks(png);
    all.insert(at.min(all.len()), (*name, content.to_vec()));
    file(&all)
}

/// CRC-32.
pub fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| match sum & 1 {
            1 => (sum >> 1) ^ 0xEDB8_8320,
            _ => sum >> 1,
        })
    })
}

/// Bytes that inflate to about `size` zeros: what a PNG of that many grey pixels holds.
pub fn bomb(size: u32) -> Vec<u8> {
    let side = 10_000;
    let file = png(side, size / side, png::ColorType::Grayscale, None);
    let data = chunks(&file)
        .into_iter()
        .filter(|(name, _)| name == b"IDAT");
    data.flat_map(|(_, content)| content).collect()
}

/// A zlib stream that holds the bytes as they are.
pub fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend(block);
    }
    let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65521;
        (a, (a + b) % 65521)
    });
    out.extend((b << 16 | a).to_be_bytes());
    out
}

/// A file of this colour type and depth, interlaced or not, with whole bytes for pixels:
/// `pixel` gives those at a column and row.
pub fn raw(
    (width, height): (u32, u32),
    (colour, depth): (u8, u8),
    interlaced: bool,
    pixel: impl Fn(u32, u32) -> Vec<u8>,
) -> Vec<u8> {
    let passes: &[(u32, u32, u32, u32)] = match interlaced {
        false => &[(0, 0, 1, 1)],
        true => &[
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ],
    };
    let mut rows = Vec::new();
    for (x0, y0, dx, dy) in passes {
        if *x0 >= width {
            continue;
        }
        for y in (*y0..height).step_by(*dy as usize) {
            rows.push(0);
            (*x0..width)
                .step_by(*dx as usize)
                .for_each(|x| rows.extend(pixel(x, y)));
        }
    }
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth, colour, 0, 0, u8::from(interlaced)]);
    file(&[
        (*b"IHDR", header),
        (*b"IDAT", stored(&rows)),
        (*b"IEND", Vec::new()),
    ])
}
