//! One test binary: contract suites, worlds, real servers, the house itself.
