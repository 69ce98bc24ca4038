#!/usr/bin/env bash
# Builds the registry that tests run against, once, into the cache of ../build.sh, and prints its path.
# A module and a key of its own: a change here does not rebuild the control plane.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=registry-$(cat "$here/go.mod" "$here/go.sum" "$here/main.go" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
cache=${D8_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/d8-delivery/tools}
bin=$cache/$key

[ -e "$bin" ] && { echo "$bin"; exit 0; }
command -v go >/dev/null || { echo "error: Go is needed to build the test registry (see README.md)" >&2; exit 1; }
mkdir -p "$cache"
exec 9>"$bin.lock"
flock 9
[ -e "$bin" ] && { echo "$bin"; exit 0; }
cd "$here"
echo "building the test registry from Go modules (once)" >&2
CGO_ENABLED=0 GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -ldflags='-s -w' -o "$cache/.$key" . >&2
mv "$cache/.$key" "$bin"
echo "$bin"
