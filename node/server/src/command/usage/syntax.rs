//! Arguments as people write them down: `[a]` may be left out, `a | b` is one of them, `a [a ...]` is once or more often.

use super::{Argument, Kind, Times};

/// Several arguments, one behind the other.
pub fn of_sequence(arguments: &[Argument]) -> String {
    arguments.iter().map(of_argument).collect::<Vec<_>>().join(" ")
}

fn of_argument(argument: &Argument) -> String {
    let (body, has_choice) = match &argument.kind {
        Kind::Token => (String::new(), false),
        Kind::OneOf(choices) => (choices.iter().map(of_argument).collect::<Vec<_>>().join(" | "), true),
        Kind::Block(parts) => (of_sequence(parts), false),
        Kind::Text | Kind::Integer | Kind::Double | Kind::Key | Kind::Pattern | Kind::UnixTime => {
            (argument.name.clone().into_owned(), false)
        }
    };
    // A choice that nothing else encloses has brackets of its own.
    let is_alone = argument.is_optional && argument.token.is_none() && argument.times == Times::Once;
    let body = if has_choice && !is_alone { format!("<{body}>") } else { body };
    let once = match argument.token {
        Some("") if argument.kind == Kind::Token => "\"\"".to_owned(),
        Some(token) if argument.kind == Kind::Token => token.to_owned(),
        Some(token) => format!("{token} {body}"),
        None => body.clone(),
    };
    let text = match argument.times {
        Times::Once => once,
        Times::Several => format!("{once} [{body} ...]"),
        Times::SeveralWithToken => format!("{once} [{once} ...]"),
    };
    if argument.is_optional { format!("[{text}]") } else { text }
}
