//! The arguments of the programs among the tests: names with values, and names alone. The text that explains a program also
//! says what it takes: what is not in it is refused.
//!
//! Each line of the usage up to the first sentence is one form of a call: names without brackets choose the form, and have a
//! value if a word follows them; names in brackets have a value. What the sentences after them name goes with every form.

/// What a program was called with.
#[derive(Clone, Debug)]
pub struct Arguments {
    flags: Vec<String>,
    values: Vec<(String, String)>,
}

/// One way to call a program.
#[derive(Debug, Default)]
struct Form<'u> {
    flags: Vec<&'u str>,
    /// Those of the flags that have a value.
    flags_with_value: Vec<&'u str>,
    values: Vec<&'u str>,
}

const HELP: &str = "--help";

impl Arguments {
    /// Those of this process. What `usage` does not have ends the process with a sentence that says what it is, and so does
    /// `--help`, with the usage.
    pub fn of_program(usage: &str) -> Self {
        let words: Vec<String> = std::env::args().skip(1).collect();
        if words.iter().any(|word| word == HELP) {
            println!("{usage}");
            std::process::exit(0);
        }
        Self::parse(&words, usage).unwrap_or_else(|error| {
            eprintln!("{error}\n{usage}");
            std::process::exit(2);
        })
    }

    /// As [`Arguments::of_program`], of these words. The error is a sentence.
    pub fn parse(words: &[String], usage: &str) -> Result<Self, String> {
        let (forms, sentences) = forms(usage);
        let is_flag = |word: &str| forms.iter().any(|form| form.flags.contains(&word));
        let (mut flags, mut values) = (Vec::new(), Vec::new());
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if is_flag(word) {
                flags.push(word.clone());
                if forms.iter().any(|form| form.flags_with_value.contains(&word.as_str())) {
                    let value = rest.next().ok_or_else(|| format!("{word} wants a value"))?;
                    values.push((word.clone(), value.clone()));
                }
            } else {
                let known = forms.iter().any(|form| form.values.contains(&word.as_str()));
                if !known && !sentences.values.contains(&word.as_str()) {
                    return Err(format!("{word} is not understood"));
                }
                let value = rest.next().ok_or_else(|| format!("{word} wants a value"))?;
                values.push((word.clone(), value.clone()));
            }
        }
        let fits = |form: &&Form<'_>| flags.iter().map(String::as_str).eq(form.flags.iter().copied());
        let form = forms.iter().find(fits).ok_or_else(|| match flags.as_slice() {
            [] => "say what to do".to_owned(),
            several => format!("{} do not go together", several.join(" and ")),
        })?;
        let stray = values.iter().find(|(name, _)| {
            ![&form.values, &form.flags, &sentences.values].iter().any(|known| known.contains(&name.as_str()))
        });
        match stray {
            Some((name, _)) => Err(format!("{name} does not go with {}", form.flags.join(" "))),
            None => Ok(Self { flags, values }),
        }
    }

    /// Whether a name is there.
    pub fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.values.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a name.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.all(name).next().unwrap_or(default).to_owned()
    }

    /// The first value of a name, as a number. Ends the process with a sentence if it is none.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        let Some(text) = self.all(name).next() else { return default };
        text.parse().unwrap_or_else(|_| {
            eprintln!("{name} wants a number, and {text} is none");
            std::process::exit(2);
        })
    }

    /// The same, as a count.
    pub fn count(&self, name: &str, default: u64) -> usize {
        usize::try_from(self.number(name, default)).unwrap_or(usize::MAX)
    }
}

/// The forms, and what goes with all of them.
fn forms(usage: &str) -> (Vec<Form<'_>>, Form<'_>) {
    let (mut forms, mut sentences) = (Vec::new(), Form::default());
    for line in usage.lines() {
        let is_form = line.starts_with("usage:") || line.starts_with(' ');
        let mut form = Form::default();
        let mut words = line.split(' ').peekable();
        while let Some(word) = words.next() {
            if !word.trim_start_matches('[').starts_with("--") {
                continue;
            }
            match word.strip_prefix('[') {
                Some(name) => form.values.push(name),
                None if is_form => {
                    form.flags.push(word);
                    if words.peek().is_some_and(|next| !next.starts_with(['[', '-'])) {
                        form.flags_with_value.push(word);
                    }
                }
                None => form.values.push(word),
            }
        }
        if is_form { forms.push(form) } else { sentences.values.extend(form.values) }
    }
    (forms, sentences)
}
