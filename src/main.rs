//! The command line comes with the road that it drives.

fn main() {}
