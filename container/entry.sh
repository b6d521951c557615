#!/bin/sh
# The container's entry point: prepares the volume, then execs the command.
#
# It reports a home that is not writable before any program starts. It copies the kernels that were compiled with the
# image to the volume, once for each image. numba uses only a writable cache, and another CPU model adds its own kernels.
set -eu
umask 027

home=${FLEET_HOME:-/var/lib/fleet}
if [ "${3:-}" = fleet ] && ! { [ -d "$home" ] && [ -w "$home" ]; }; then
  echo "Error: the home $home is not writable for user $(id -u):$(id -g)." >&2
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
