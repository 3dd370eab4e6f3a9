//! Scripts: several commands of the other families on several keys, which every region sees at once.

use super::{Family, Requests, all_keys, hashes, keys, lists, request, sets, sketches, sorted_sets, streams, strings};
use crate::random::Random;
use std::collections::BTreeSet;

/// The family.
pub const FAMILY: Family = Family { name: "scripts", summary: "EVAL of a script that runs two to five commands", draw };

/// Runs the commands that its arguments are, each after how many words it has, and answers what they do.
const SCRIPT: &str = "local answers, at = {}, 1 \
                      while at <= #ARGV do \
                      local last = at + tonumber(ARGV[at]) \
                      answers[#answers + 1] = redis.pcall(unpack(ARGV, at + 1, last)) \
                      at = last + 1 \
                      end \
                      return answers";

fn draw(random: &mut Random) -> Requests {
    // Counters are in transactions: what a script answers has no more than the 53 bits of a Lua number.
    let families = [
        &strings::FAMILY,
        &hashes::FAMILY,
        &sets::FAMILY,
        &keys::FAMILY,
        &sorted_sets::FAMILY,
        &lists::FAMILY,
        &streams::FAMILY,
        &sketches::FAMILY,
    ];
    let mut commands = Requests::new();
    for _ in 0..random.between(2, 5) {
        commands.extend((families[random.weighted(&[20, 20, 20, 6, 16, 16, 8, 8])].draw)(random));
    }
    vec![call_of(&commands)]
}

/// The call that runs these commands in a script.
fn call_of(commands: &[Vec<String>]) -> Vec<String> {
    let known = all_keys();
    let words = || commands.iter().flatten().map(String::as_str);
    let keys: BTreeSet<&str> = words().filter(|word| known.contains(word)).collect();
    let mut call = request(&["EVAL", SCRIPT, &keys.len().to_string()]);
    call.extend(keys.into_iter().map(str::to_owned));
    for command in commands {
        call.push(command.len().to_string());
        call.extend(command.iter().cloned());
    }
    call
}

/// The commands that such a call runs; nothing if it is none.
pub fn commands_of(call: &[String]) -> Option<Vec<Vec<String>>> {
    let [name, script, keys, words @ ..] = call else { return None };
    if name != "EVAL" || script != SCRIPT {
        return None;
    }
    let mut words = words.get(keys.parse().ok()?..)?;
    let mut commands = Vec::new();
    while let [length, rest @ ..] = words {
        let (command, rest) = rest.split_at_checked(length.parse().ok()?)?;
        commands.push(command.to_vec());
        words = rest;
    }
    Some(commands)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_says_which_commands_it_runs() {
        let commands = [request(&["SADD", "t1", "f", "2"]), request(&["SINTERSTORE", "t2", "t1", "l"])];
        let call = call_of(&commands);
        assert_eq!(call[2..6], request(&["3", "l", "t1", "t2"]));
        assert_eq!(commands_of(&call), Some(commands.to_vec()));
        assert_eq!(commands_of(&request(&["EVAL", "return 1", "0"])), None);
    }
}
