//! The `yamabiko` binary.

fn main() {}
