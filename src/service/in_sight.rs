//! Who is in sight, for outputs that keep it: faces are told when they come and go, and a camera
//! that is closed says nothing of them.

use crate::event::{Faces, State, StateChange};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The faces of one camera.
#[derive(Debug, Default)]
pub struct InSight(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// The camera that sees them.
    source: String,
    ids: Vec<u32>,
}

impl InSight {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Faces by their numbers.
    pub fn ids(&self) -> Vec<u32> {
        self.lock().ids.clone()
    }

    /// Some have come or gone.
    pub fn take(&self, faces: &Faces) {
        *self.lock() = Seen {
            source: faces.source.clone(),
            ids: faces.ids.clone(),
        };
    }

    /// A face is looked at: it was in sight before the camera was closed, and is so again.
    /// Whether that is new.
    pub fn see(&self, face: u32) -> bool {
        let mut seen = self.lock();
        let is_new = !seen.ids.contains(&face);
        if is_new {
            seen.ids.push(face);
        }
        is_new
    }

    /// A camera that is closed or gone sees nobody. Whether this is one.
    pub fn look_away(&self, change: &StateChange) -> bool {
        let is_blind = matches!(
            change.state,
            State::Muted | State::Lost | State::Ended | State::Failed
        );
        let mut seen = self.lock();
        let is_ours = is_blind && change.source == seen.source;
        if is_ours {
            seen.ids.clear();
        }
        is_ours
    }

    /// Nobody is in sight any more.
    pub fn clear(&self) {
        self.lock().ids.clear();
    }
}
