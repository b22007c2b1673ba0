#!/usr/bin/env bash
# Installs the servers that bench/run compares with, at the versions in bench/peers/package-lock.json, from the npm
# registry. Scripts of the packages are not run; Bun's binary comes in a package of its own. `uwebsockets` is a
# repackaging of uWebSockets.js, whose authors publish on GitHub only.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/peers"

command -v node >/dev/null && command -v npm >/dev/null || {
    echo "missing: install Node.js 20 or newer, with npm" >&2
    exit 1
}
npm ci --ignore-scripts --no-audit --no-fund
