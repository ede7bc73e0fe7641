//! Colours. Those of faces are Okabe and Ito's, which most colour-blind people tell apart.

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Boxes of faces, in turn.
const FACES: [Colour; 7] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [204, 121, 167],
    [213, 94, 0],
    [0, 114, 178],
];

/// What the words looked at.
pub const LOOKED: Colour = [255, 176, 32];
/// How much of [`LOOKED`] the patch takes on that was looked at most.
pub const TINTED: f32 = 0.42;
/// How much darker a patch is that was not looked at.
pub const DIMMED: f32 = 0.45;

/// The colour of the `index`-th face.
pub fn face(index: usize) -> Colour {
    FACES[index % FACES.len()]
}

/// Black or white, whichever is read better upon `colour`.
pub fn ink_on([r, g, b]: Colour) -> Colour {
    let luma = 299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b);
    if luma > 128_000 {
        [20, 18, 16]
    } else {
        [255; 3]
    }
}

/// `#rrggbb`
pub fn hex([r, g, b]: Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}
