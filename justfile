# Commands of a working day: `just` lists them. Each is one line that also runs by itself.

default:
    @just --list

# Build the program.
build:
    cargo build

# All tests, those with real servers included.
test *WHAT:
    ./scripts/test.sh {{WHAT}}

# Tests without servers: in less than two minutes once built.
test-fast:
    ./scripts/test-fast.sh

# What the gate says of form and lints.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings

# The whole gate, as root.
gate:
    .ci/run

# Whole runs beside other tools.
bench *ROW:
    ./scripts/bench.sh {{ROW}}

# The demo, without a cloud.
demo:
    cargo run --release -- demo
