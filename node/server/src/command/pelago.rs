//! The pelago family.

use super::Command;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[];
