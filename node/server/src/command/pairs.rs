//! Names with values, as `MSET` and `HSET` take them.
//!
//! A command's writes share one stamp, so it must not write one name twice: of a name that is given more than once
//! only the last value is written, which is also what clients see after Redis has written them all.

use std::collections::HashMap;

/// A name and its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// The pairs in `args` (names and values in turn) whose name does not come again, in order.
pub(super) fn last_of_each<'a>(args: &[&'a [u8]]) -> impl Iterator<Item = Pair<'a>> {
    let count = args.len() / 2;
    let last: Option<HashMap<&[u8], usize>> =
        (count > SEARCHED_MAX).then(|| (0..count).map(|index| (args[index * 2], index)).collect());
    (0..count).filter_map(move |index| {
        let name = args[index * 2];
        let comes_again = match &last {
            Some(last) => last.get(name) != Some(&index),
            None => args[index * 2 + 2..].iter().step_by(2).any(|later| *later == name),
        };
        (!comes_again).then(|| (name, args[index * 2 + 1]))
    })
}

/// Up to so many pairs, each name is looked for among those after it, which needs no memory.
const SEARCHED_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &[&str], expected: &[&str]) {
        let args: Vec<&[u8]> = given.iter().map(|text| text.as_bytes()).collect();
        let kept: Vec<&[u8]> = last_of_each(&args).flat_map(|(name, value)| [name, value]).collect();
        let expected: Vec<&[u8]> = expected.iter().map(|text| text.as_bytes()).collect();
        assert_eq!(kept, expected, "{given:?}");
    }

    #[test]
    fn of_a_name_given_twice_the_last_value_is_left() {
        check(&["a", "1"], &["a", "1"]);
        check(&["a", "1", "b", "2", "a", "3"], &["b", "2", "a", "3"]);
        check(&["a", "b", "b", "a"], &["a", "b", "b", "a"]);
        check(&[], &[]);
    }

    #[test]
    fn many_pairs_are_treated_as_few_are() {
        let texts: Vec<String> = (0..200).map(|number| (number % 7).to_string()).collect();
        let given: Vec<&str> = texts.iter().flat_map(|name| [name.as_str(), "v"]).collect();
        let names = ["4", "5", "6", "0", "1", "2", "3"];
        assert_eq!((200 - 7) % 7, 4);
        check(&given, &names.iter().flat_map(|name| [*name, "v"]).collect::<Vec<_>>());
    }
}
