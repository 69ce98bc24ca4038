#!/usr/bin/env bash
# Builds programs for the tests from a Go module, once, into a cache outside of the checkout. Prints the directory of
# the programs.
#
#   build.sh control-plane   kube-apiserver, etcd, kubectl and helm, from the module in this directory
#   build.sh registry        the test registry, from the module in registry/
#
#   D8_TOOLS_CACHE       the cache (default: d8-delivery/tools in $XDG_CACHE_HOME or ~/.cache)
#   KUBEBUILDER_ASSETS   a directory that already has kube-apiserver, etcd and kubectl: these are used
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
case "${1:-}" in
  control-plane) module=$here ;;
  registry) module=$here/registry ;;
  *) echo "usage: build.sh control-plane|registry" >&2; exit 2 ;;
esac

# The directory is keyed by everything that is built: a change of one module does not rebuild the other.
key=$1-$(find "$module" -maxdepth 1 -type f \( -name 'go.*' -o -name '*.go' -o -name '*.sh' \) -print0 |
  sort -z | xargs -0 cat | sha256sum | cut -c1-16)
if [ "$1" = control-plane ] && [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  assets=$(cd "$KUBEBUILDER_ASSETS" && pwd)
  key=$key-$(printf %s "$assets" | sha256sum | cut -c1-8)
fi
cache=${D8_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/d8-delivery/tools}
bin=$cache/$key
[ -e "$bin/complete" ] && { echo "$bin"; exit 0; }

command -v go >/dev/null || { echo "error: Go is needed to build the test tools (see README.md)" >&2; exit 1; }
mkdir -p "$bin"
exec 9>"$bin.lock"
flock 9
# Another process may have built them while this one waited for the lock.
[ -e "$bin/complete" ] && { echo "$bin"; exit 0; }

cd "$module"
export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOWORK=off

build() { # NAME PACKAGE [LDFLAGS]
  if [ -n "${assets:-}" ] && [ -x "$assets/$1" ]; then
    ln -sfn "$assets/$1" "$bin/$1"
    return
  fi
  local start=$SECONDS
  echo "building $1 from Go modules (once)" >&2
  go build -ldflags="-s -w ${3:-}" -o "$bin/.$1" "$2" >&2
  mv "$bin/.$1" "$bin/$1"
  echo "built $1 in $((SECONDS - start)) s" >&2
}

if [ "$1" = registry ]; then
  build registry .
else
  k8s=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
  minor=${k8s#v1.}; minor=${minor%%.*}
  # Without these flags the API server reports version v0.0.0-master.
  stamp=k8s.io/component-base/version
  kflags="-X $stamp.gitVersion=$k8s -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor"
  build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$kflags"
  build etcd go.etcd.io/etcd/server/v3
  build kubectl k8s.io/kubernetes/cmd/kubectl "$kflags"
  build helm helm.sh/helm/v3/cmd/helm
fi
touch "$bin/complete"
echo "$bin"
