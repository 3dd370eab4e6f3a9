//! Properties of the keyspace over random histories at several replicas: at every step every replica shows what the
//! specification says for the writes it has seen, and in the end all are equal. Every failure prints the line that
//! repeats it, and the smallest script found.
#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

#[path = "../../../../crdt/tests/properties/decimal.rs"]
mod decimal;
mod generator;
mod histories;
mod history;
mod images;
#[path = "../../../../crdt/tests/properties/random.rs"]
mod random;
mod ranked;
mod recovery;
mod reference;
#[path = "../../../../crdt/tests/properties/replicas.rs"]
mod replicas;
mod rows;
mod spec;
mod spec_fields;
mod spec_lifetime;
mod spec_list;
mod spec_stream;
mod spec_value;
mod standing;
mod system;
mod wild;
mod world;
