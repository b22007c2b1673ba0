#!/usr/bin/env bash
# Installs the servers that bench/run compares with, at pinned versions, from the registries of their languages:
#
#     bench/peers.sh                     the libraries: uWebSockets, Bun, ws
#     bench/peers.sh soketi reverb sockudo
#     bench/peers.sh all
#
# libraries  npm; Node.js 20 or newer. Scripts of the packages are not run; Bun's binary comes in a package of its own.
#            `uwebsockets` is a repackaging of uWebSockets.js, whose authors publish on GitHub only.
# soketi     npm. Its uWebSockets.js is on GitHub and too old for this Node: the same repackaging takes its place.
# reverb     Packagist; PHP 8.2 or newer with Composer (Debian: php-cli php-curl php-mbstring php-xml composer). An event
#            loop of PECL (ev, event or uv) is used if it is installed; without one Reverb takes 1,000 connections at most.
# sockudo    crates.io; Rust, and some ten minutes.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/peers"

need() {
    local program
    for program in $1; do
        command -v "$program" >/dev/null || {
            echo "missing: $program; install $2" >&2
            exit 1
        }
    done
}

install_npm() {
    need "node npm" "Node.js 20 or newer, with npm"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund)
}

install_one() {
    case "$1" in
        libraries) install_npm . ;;
        soketi) install_npm soketi ;;
        reverb)
            need "php composer" "PHP 8.2 or newer, with Composer"
            (cd reverb && composer install --no-dev --no-interaction --no-progress)
            ;;
        sockudo)
            need cargo "Rust (https://rustup.rs)"
            cargo install sockudo --version 5.2.0 --locked --root sockudo
            ;;
        *)
            echo "no peer is called $1: libraries, soketi, reverb, sockudo, all" >&2
            exit 2
            ;;
    esac
}

[ $# -gt 0 ] || set -- libraries
[ "$1" != all ] || set -- libraries soketi reverb sockudo
for peer; do
    install_one "$peer"
done
