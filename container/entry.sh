#!/bin/sh
# The container's first program: readies the volume, then becomes what was asked for.
#
# A home that cannot be written to is told here, before anything half starts. The kernels that were compiled with the
# image are copied to the volume once for each image, where a CPU of another kind can add its own; numba uses no
# cache that it cannot write to.
set -eu
umask 027

home=${FLEET_HOME:-/var/lib/fleet}
if [ "${3:-}" = fleet ] && ! { [ -d "$home" ] && [ -w "$home" ]; }; then
  echo "Error: the home $home cannot be written to by user $(id -u):$(id -g)." >&2
  echo "Hint: give the folder to that user (chown -R $(id -u):$(id -g) FOLDER), or start the container with --user." >&2
  exit 2
fi

seed=/opt/numba
cache=${NUMBA_CACHE_DIR:-$home/cache/numba}
if ! mkdir -p "$cache" 2> /dev/null || ! [ -w "$cache" ]; then
  cache=$home/cache/numba
fi
if [ -w "$home" ] && [ ! "$cache/.from-image" -nt "$seed" ]; then
  [ ! -e "$cache/.from-image" ] || rm -rf "$cache"
  mkdir -p "$cache" && cp -rp "$seed/." "$cache/" && touch "$cache/.from-image"
fi
export NUMBA_CACHE_DIR="$cache"

exec "$@"
