//! Commands of consumer groups. What they deliver is judged by what was acknowledged ([`crate::deliveries`]); what else is
//! known of their streams is not told any more.

use super::commands::{Answer, Call};

impl Call<'_, '_> {
    /// What such a command answers: what it did answer.
    pub(super) fn group(&mut self, name: &str) -> Option<Answer> {
        let key = match name {
            "xgroup" => self.key(2),
            "xautoclaim" | "xpending" | "xack" => self.key(1),
            "xreadgroup" => {
                let streams = self.args.iter().position(|word| word == "STREAMS")?;
                self.key(streams + 1)
            }
            _ => return None,
        };
        self.execution.leave_untold(&key);
        Some(Ok(self.actual.clone()))
    }
}
