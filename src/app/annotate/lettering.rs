//! Letters as strokes, drawn for this program: no font has to be found or licensed.

/// Height of a capital in units of the table.
pub const CAPITAL: f32 = 6.0;
/// Depth of a descender in the same units.
pub const DESCENDER: f32 = 2.0;
/// Space between letters.
const GAP: f32 = 1.7;
/// Width of a space.
const SPACE: f32 = 1.6;

/// A point in units: x to the right, y downwards; capitals stand on y = 6.
pub type Point = (f32, f32);

/// Strokes of `!` to `~`. A stroke is a run of points, a point two digits: x, then y.
/// A stroke of two equal points is a dot.
#[rustfmt::skip]
const STROKES: [&str; 94] = [
    "0004 0606", "0002 2022", "1016 3036 0242 0444", "413010010213334445361605 2026",
    "4006 0010110100 3545463635", "4612112031320405162644", "0002", "10010516", "00111506",
    "2125 0244 0442", "2125 0343", "151607", "0333", "0606", "3006",
    "103041453616050110", "011016 0626", "01103041420646", "0110304142334445361605 2333",
    "36300444", "40000312324345361605", "413010010516364544331304", "004016",
    "13020110304142331304051636454433", "423313020110304145361605",
    "0303 0606", "1313 151607", "310335", "0242 0444", "013305", "01103041422324 2626",
    "36160501103041443432 3222132434",
    "062046 1434", "00063645443303 3342413000", "4130100105163645", "00062644422000",
    "40000646 0333", "400006 0333", "41301001051636454323", "0006 4046 0343", "0006",
    "3035261605", "0006 4004 2246", "000646", "0600234046", "06004640",
    "103041453616050110", "06003041423303", "103041453616050110 2446", "06003041423303 2346",
    "413010010213334445361605", "0040 2026", "000516364540", "002640", "0016223640",
    "0046 4006", "002340 2326", "00400646", "10000616", "0036", "00101606", "022042", "0747",
    "0011",
    "02223336 341405162635", "0006 0312223335261605", "3322120305162635",
    "3036 3322120305162635", "043433221203051636", "30201116 0232",
    "3322120305162635 32372808", "0006 0312223336", "0206 0000", "121708 1010",
    "0006 3205 1436", "0006", "0206 03122326 23324346", "0206 0312223336",
    "122233352616050312", "0208 0312223335261605", "3238 3322120305162635", "0206 03122232",
    "3212031424352606", "10152636 0232", "0205162635 3236", "022642", "0216233642",
    "0236 3206", "0226 4218", "02320636", "20111203141526", "0007", "00111223141506",
    "04132433",
];

/// A letter that the table lacks: an empty box.
const UNKNOWN: &str = "0141460601";

fn strokes(letter: char) -> &'static str {
    let at = (letter as usize).checked_sub('!' as usize);
    match (letter, at.and_then(|at| STROKES.get(at))) {
        (' ', _) => "",
        (_, Some(strokes)) => strokes,
        _ => UNKNOWN,
    }
}

/// The points of a stroke.
fn points(stroke: &str) -> impl Iterator<Item = Point> {
    let digit = |byte: &u8| f32::from(byte.wrapping_sub(b'0'));
    let (pairs, _) = stroke.as_bytes().as_chunks::<2>();
    pairs.iter().map(move |[x, y]| (digit(x), digit(y)))
}

/// How far the next letter begins behind this one, in units.
fn advance(letter: char) -> f32 {
    let right = strokes(letter).split(' ').flat_map(points);
    let width = right.map(|p| p.0).fold(0.0, f32::max);
    GAP + if letter == ' ' { SPACE } else { width }
}

/// Width of a text in units.
pub fn width(text: &str) -> f32 {
    (text.chars().map(advance).sum::<f32>() - GAP).max(0.0)
}

/// The straight lines that a text is made of, in units from its top left corner.
pub fn lines(text: &str) -> Vec<[Point; 2]> {
    let (mut lines, mut left) = (Vec::new(), 0.0);
    for letter in text.chars() {
        for stroke in strokes(letter).split(' ') {
            let at: Vec<Point> = points(stroke).map(|(x, y)| (left + x, y)).collect();
            lines.extend(at.windows(2).map(|ends| [ends[0], ends[1]]));
        }
        left += advance(letter);
    }
    lines
}

/// `text` in lines of at most `most` units, at most `rows` of them; what is left out is
/// told by dots.
pub fn wrap(text: &str, most: f32, rows: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let longer = lines.last().map(|line| format!("{line} {word}"));
        match longer.filter(|line| width(line) <= most) {
            Some(line) => {
                lines.pop();
                lines.push(line);
            }
            None => lines.push(word.to_owned()),
        }
    }
    let cut = lines.len() > rows;
    lines.truncate(rows);
    if let Some(last) = lines.last_mut().filter(|_| cut) {
        last.push_str("...");
    }
    lines.iter().map(|line| fit(line, most)).collect()
}

/// `text`, cut and ended by dots if it is wider than `most` units.
pub fn fit(text: &str, most: f32) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while !kept.is_empty() && width(&dotted(&kept)) > most {
        kept.pop();
    }
    dotted(&kept)
}

fn dotted(letters: &[char]) -> String {
    let kept: String = letters.iter().collect();
    format!("{}...", kept.trim_end_matches(['.', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_drawn_and_no_two_look_alike() {
        let mut seen = std::collections::BTreeMap::new();
        for letter in '!'..='~' {
            let drawn = strokes(letter);
            assert_ne!(drawn, UNKNOWN, "{letter}");
            for stroke in drawn.split(' ') {
                assert!(stroke.len() >= 4 && stroke.len() % 2 == 0, "{letter}");
                assert!(stroke.bytes().all(|b| b.is_ascii_digit()), "{letter}");
                assert!(
                    points(stroke).all(|(x, y)| x <= 4.0 && y <= 8.0),
                    "{letter}"
                );
            }
            // O and 0, I and l are strokes alike, as in many an alphabet
            let twin = seen.insert(drawn, letter);
            assert!(matches!(twin, None | Some('0' | 'I')), "{letter} {twin:?}");
        }
        assert_eq!(strokes('é'), UNKNOWN);
        assert_eq!(strokes('\u{1F600}'), UNKNOWN);
    }

    #[test]
    fn text_is_wrapped_and_cut_to_its_room() {
        let text = "the quick brown fox jumps over the lazy dog";
        let lines = wrap(text, 60.0, 9);
        assert!(
            lines.len() > 2 && lines.iter().all(|l| width(l) <= 60.0),
            "{lines:?}"
        );
        assert_eq!(lines.join(" "), text);
        let cut = wrap(text, 60.0, 2);
        assert!(cut.len() == 2 && cut[1].ends_with("..."), "{cut:?}");
        assert!(width(&fit("incomprehensibilities", 40.0)) <= 40.0);
        assert_eq!(wrap("  ", 60.0, 2), Vec::<String>::new());
    }
}
