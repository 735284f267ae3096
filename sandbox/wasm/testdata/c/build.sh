#!/bin/sh
# Rebuilds the C programs that metering is measured with, and their digests. Needs clang, lld and wasi-libc
# (Debian: clang lld wasi-libc libclang-rt-dev-wasm32); built with clang 14.
set -eu
cd "$(dirname "$0")"
for f in *.c; do
	clang --target=wasm32-wasi -O2 -mbulk-memory -Wall -Wextra -Wl,--strip-all -o "${f%.c}.wasm" "$f"
done
sha256sum -- *.c *.wasm >SHA256SUMS
