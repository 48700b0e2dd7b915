#!/usr/bin/env bash
# Makes a release archive that carries its own Node: scoutsync-VERSION-linux-ARCH.tar.gz, for servers without npm.
#   deploy/release.sh [FOLDER]     the folder that the archive is put into (default: dist)
# Unpack it as /opt/scoutsync; docs/operations.md says how to go on from there.
set -euo pipefail
cd "$(dirname "$0")/.."

case "$(uname -m)" in
  x86_64) arch=x64 ;;
  aarch64 | arm64) arch=arm64 ;;
  *) echo "release.sh: no Node comes with the packages for $(uname -m)" >&2; exit 1 ;;
esac
target=$(mkdir -p "${1:-dist}" && cd "${1:-dist}" && pwd)
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' packages/cli/package.json)
name="scoutsync-$version-linux-$arch"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root="$scratch/$name"
mkdir -p "$root"

# What is committed, without what only development needs.
git archive HEAD packages services proto deploy docs package.json package-lock.json LICENSE README.md | tar -x -C "$root"
find "$root/packages" "$root/services" -type d -name test -prune -exec rm -rf {} +
(cd "$root" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --silent)
# Node came with the packages; here it has a place of its own that no npm command can take away.
mkdir -p "$root/node/bin" "$root/bin"
mv "$root/node_modules/node-linux-$arch/bin/node" "$root/node/bin/node"
rm -rf "$root/node_modules/node-linux-$arch" "$root/node_modules/.bin/node"
# Binaries of other platforms, and tools that nothing here runs.
find "$root/node_modules/better-sqlite3" -type d -path '*prebuilds/*' ! -name "linux-$arch*" -prune -exec rm -rf {} +
cat >"$root/bin/scoutsync" <<'RUN'
#!/bin/sh
# Whichever link it was started through: the archive's own Node runs the archive's own program.
here=$(dirname "$(dirname "$(readlink -f "$0")")")
exec "$here/node/bin/node" "$here/packages/cli/bin/scoutsync.mjs" "$@"
RUN
chmod 755 "$root/bin/scoutsync"
"$root/bin/scoutsync" --version >/dev/null
tar -C "$scratch" --owner=0 --group=0 --sort=name -czf "$target/$name.tar.gz" "$name"
echo "$target/$name.tar.gz"
