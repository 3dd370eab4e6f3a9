//! Long work in short steps: after so many bytes others have their turn.

/// Bytes that are read with something locked, about: some hundred microseconds. Builds for tests read fewer.
pub(crate) const STEP_BYTES: usize = if cfg!(debug_assertions) { 16 << 10 } else { 256 << 10 };
/// Bytes of a step with nothing locked: some ten microseconds of copying into new memory, or of elements that are put one by
/// one. Whoever is called after it looks at a clock, for how long some elements take depends on what they are.
const ASK_BYTES: usize = 16 << 10;

/// What a step has done so far, and what is called between two steps.
pub(crate) struct Steps<'p> {
    bytes: usize,
    pause: &'p mut dyn FnMut(),
}

impl<'p> Steps<'p> {
    /// The first step begins. `pause` lets others have their turn if that is due: nothing is locked when it is called.
    pub(crate) fn new(pause: &'p mut dyn FnMut()) -> Self {
        Self { bytes: 0, pause }
    }

    /// So many bytes are done, or something that takes as long.
    #[inline]
    pub(crate) fn done(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes >= ASK_BYTES {
            self.bytes = 0;
            (self.pause)();
        }
    }

    /// Appends bytes, no more than a step at a time.
    pub(crate) fn append(&mut self, out: &mut Vec<u8>, bytes: &[u8]) {
        for piece in bytes.chunks(ASK_BYTES) {
            out.extend_from_slice(piece);
            self.done(piece.len());
        }
    }
}
