#!/usr/bin/env bash
# Two hosts on one queue and one state, one of which dies for good while both bring files over: the other one takes what
# it had in hand within two minutes, no file is there twice, the run is counted once. Prints how long it took.
set -euo pipefail
cd "$(dirname "$0")/.."
export REQUIRE_SERVERS=1
exec cargo test --test it -- --ignored --nocapture --exact insights::queued::what_a_dead_host_had_in_hand_is_taken_within_two_minutes_and_counted_once
