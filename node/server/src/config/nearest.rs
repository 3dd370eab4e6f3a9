//! The name somebody probably meant.

use super::table::SETTINGS;

/// The name in the table that is nearest to `name`, unless none is near.
pub fn nearest_setting(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let names = SETTINGS.iter().flat_map(|setting| setting.names.iter().copied());
    let ranked = names.map(|known| (distance(&name, known), known));
    let (distance, known) = ranked.min()?;
    (distance <= DISTANCE_MAX).then_some(known)
}

/// Typing errors count one each; a name that is the beginning of another (`heartbeat` of `heartbeat-ms`) is near.
fn distance(name: &str, known: &str) -> usize {
    if name.len() >= 3 && known.starts_with(name) {
        return 1;
    }
    strsim::damerau_levenshtein(name, known)
}

/// More than three errors make another word.
const DISTANCE_MAX: usize = 3;
