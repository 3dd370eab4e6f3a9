//! The arguments of the programs among the tests: names with values, and names alone.

/// What a program was called with.
#[derive(Clone, Debug)]
pub struct Arguments {
    words: Vec<String>,
    usage: &'static str,
}

impl Arguments {
    /// Those of this process. `usage` is shown for what cannot be understood.
    pub fn of_program(usage: &'static str) -> Self {
        Self { words: std::env::args().skip(1).collect(), usage }
    }

    /// Whether a name is there.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.words.windows(2).filter(move |pair| pair[0] == name).map(|pair| pair[1].as_str())
    }

    /// The first value of a name.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.all(name).next().unwrap_or(default).to_owned()
    }

    /// The first value of a name, as a number. Panics with the usage if it is none.
    pub fn number(&self, name: &str, default: u64) -> u64 {
        match self.all(name).next().map(str::parse) {
            None => default,
            Some(Ok(number)) => number,
            Some(Err(_)) => panic!("{name} wants a number\n{}", self.usage),
        }
    }

    /// The same, as a count.
    pub fn count(&self, name: &str, default: u64) -> usize {
        usize::try_from(self.number(name, default)).unwrap_or(usize::MAX)
    }
}
