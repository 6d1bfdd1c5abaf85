#!/usr/bin/env bash
# Eight handlers of the Functions host on one queue, killed at random: 5,000 files from a real SFTP server, once each.
# Prints the throughput against one handler.
set -euo pipefail
cd "$(dirname "$0")/.."
export REQUIRE_SERVERS=1
exec cargo test --test it -- --ignored --nocapture --exact handler::queue::eight_handlers_killed_at_random_bring_five_thousand_files_once
