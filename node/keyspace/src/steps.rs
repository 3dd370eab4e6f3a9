//! Long work in short steps: after so many bytes others have their turn.

/// Bytes of a step, about: some hundred microseconds of copying into new memory. Builds for tests have shorter ones.
pub(crate) const STEP_BYTES: usize = if cfg!(debug_assertions) { 16 << 10 } else { 256 << 10 };

/// What a step has done so far, and what is called between two steps.
pub(crate) struct Steps<'p> {
    bytes: usize,
    pause: &'p mut dyn FnMut(),
}

impl<'p> Steps<'p> {
    /// The first step begins. `pause` lets others have their turn: nothing is locked when it is called.
    pub(crate) fn new(pause: &'p mut dyn FnMut()) -> Self {
        Self { bytes: 0, pause }
    }

    /// So many bytes are done, or something that takes as long.
    #[inline]
    pub(crate) fn done(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= STEP_BYTES {
            self.bytes = 0;
            (self.pause)();
        }
    }

    /// Appends bytes, no more than a step at a time.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        for piece in bytes.chunks(STEP_BYTES) {
            out.extend_from_slice(piece);
            self.done(piece.len());
        }
    }
}
