//! Real homeservers on loopback, filled with accounts and rooms, for Tern's tests, demo and
//! benchmarks. Development only.
