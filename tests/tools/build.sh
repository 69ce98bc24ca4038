#!/usr/bin/env bash
# Builds the control plane that the tests run on (kube-apiserver, etcd, kubectl, helm) from this
# folder's go.mod, once, into a cache outside the checkout, and prints the folder they are in.
#
#   D8_TOOLS_CACHE       where to keep them (default: $XDG_CACHE_HOME or ~/.cache, d8-delivery/tools)
#   KUBEBUILDER_ASSETS   a folder that already has kube-apiserver, etcd and kubectl: those are used
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
key=$(cat "$here/go.mod" "$here/go.sum" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
cache=${D8_TOOLS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/d8-delivery/tools}
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  assets=$(cd "$KUBEBUILDER_ASSETS" && pwd)
  key=$key-$(printf %s "$assets" | sha256sum | cut -c1-8)
fi
bin=$cache/$key

[ -e "$bin/complete" ] && { echo "$bin"; exit 0; }

command -v go >/dev/null || { echo "error: Go is needed to build the test control plane (see README.md)" >&2; exit 1; }
mkdir -p "$bin"
exec 9>"$cache/$key.lock"
flock 9
[ -e "$bin/complete" ] && { echo "$bin"; exit 0; }

cd "$here"
export CGO_ENABLED=0 GOFLAGS='-mod=readonly -buildvcs=false -trimpath' GOWORK=off
k8s=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${k8s#v1.}; minor=${minor%%.*}
# Without these the API server would call itself v0.0.0-master.
stamp=k8s.io/component-base/version
kflags="-s -w -X $stamp.gitVersion=$k8s -X $stamp.gitMajor=1 -X $stamp.gitMinor=$minor"

build() { # NAME PACKAGE LDFLAGS
  if [ -n "${assets:-}" ] && [ -x "$assets/$1" ]; then
    ln -sfn "$assets/$1" "$bin/$1"
    return
  fi
  local start=$SECONDS
  echo "building $1 from Go modules (once)" >&2
  go build -ldflags="$3" -o "$bin/.$1" "$2" >&2
  mv "$bin/.$1" "$bin/$1"
  echo "built $1 in $((SECONDS - start)) s" >&2
}
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver "$kflags"
build etcd go.etcd.io/etcd/server/v3 '-s -w'
build kubectl k8s.io/kubernetes/cmd/kubectl "$kflags"
build helm helm.sh/helm/v3/cmd/helm '-s -w'
touch "$bin/complete"
echo "$bin"
