//! Which face of this frame is which of the last: by overlap alone.
//!
//! Numbers count the faces of a session. Nothing about a face is kept but where it was, so a
//! person who leaves and comes back is a new number.

use super::faces::Rect;

/// A box that overlaps a track's last one by less is another face.
const OVERLAP: f32 = 0.3;
/// A track that was not seen for this many frames is over.
const PATIENCE: u32 = 5;

/// Gives faces their numbers, frame by frame.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    last: u32,
}

#[derive(Debug)]
struct Track {
    id: u32,
    place: Rect,
    missed: u32,
}

impl Tracker {
    /// Numbers of the faces of the next frame, in their order, from 1.
    ///
    /// The pair that overlaps most is matched first.
    pub fn update(&mut self, faces: &[Rect]) -> Vec<u32> {
        let mut pairs = Vec::new();
        for (t, track) in self.tracks.iter().enumerate() {
            for (f, face) in faces.iter().enumerate() {
                let overlap = track.place.overlap(face);
                if overlap >= OVERLAP {
                    pairs.push((overlap, t, f));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut ids: Vec<Option<u32>> = vec![None; faces.len()];
        let mut seen = vec![false; self.tracks.len()];
        for (_, t, f) in pairs {
            if !seen[t] && ids[f].is_none() {
                seen[t] = true;
                ids[f] = Some(self.tracks[t].id);
                self.tracks[t].place = faces[f];
            }
        }
        for (track, seen) in self.tracks.iter_mut().zip(seen) {
            track.missed = if seen { 0 } else { track.missed + 1 };
        }
        self.tracks.retain(|t| t.missed <= PATIENCE);
        let numbered = ids.into_iter().zip(faces);
        numbered
            .map(|(id, face)| id.unwrap_or_else(|| self.begin(*face)))
            .collect()
    }

    /// Whether a number is still given to a face that comes back now.
    #[must_use]
    pub fn follows(&self, id: u32) -> bool {
        self.tracks.iter().any(|t| t.id == id)
    }

    /// Numbers that are given to faces now, or to such as may come back in a moment.
    #[must_use]
    pub fn ids(&self) -> Vec<u32> {
        self.tracks.iter().map(|t| t.id).collect()
    }

    /// What comes is another stream; its faces get new numbers.
    pub fn forget(&mut self) {
        self.tracks.clear();
    }

    fn begin(&mut self, place: Rect) -> u32 {
        self.last = self.last.wrapping_add(1);
        self.tracks.push(Track {
            id: self.last,
            place,
            missed: 0,
        });
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f32) -> Rect {
        Rect {
            x,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        }
    }

    #[test]
    fn a_face_that_moves_keeps_its_number_and_a_new_one_gets_the_next() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.update(&[at(0.0), at(50.0)]), [1, 2]);
        // the order of the detector does not matter
        assert_eq!(tracker.update(&[at(52.0), at(2.0), at(90.0)]), [2, 1, 3]);
        assert_eq!(tracker.update(&[at(4.0)]), [1]);
    }

    #[test]
    fn a_blink_is_bridged_and_a_long_absence_is_not() {
        let mut tracker = Tracker::default();
        tracker.update(&[at(0.0)]);
        for _ in 0..PATIENCE {
            assert!(tracker.update(&[]).is_empty());
        }
        assert_eq!(tracker.update(&[at(1.0)]), [1]);
        for _ in 0..=PATIENCE {
            tracker.update(&[]);
        }
        assert_eq!(tracker.update(&[at(1.0)]), [2]);
        assert_eq!(tracker.tracks.len(), 1);
    }

    #[test]
    fn two_faces_never_share_a_number() {
        let mut tracker = Tracker::default();
        tracker.update(&[at(0.0)]);
        let ids = tracker.update(&[at(1.0), at(0.5)]);
        assert_eq!(ids, [2, 1]);
    }
}
