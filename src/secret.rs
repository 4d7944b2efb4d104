//! Passwords, tokens and keys: a type that is wiped from memory when dropped, that `Debug` does not
//! show, and that nothing can display or serialize.

pub use secrecy::{ExposeSecret, SecretString as Secret};
