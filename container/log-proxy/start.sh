#!/bin/bash
# Starts haproxy for the containers in OLLAMA_CONTAINER; `start.sh check` exits 0 if the Engine answers through it.
set -eu

export DOCKER_SOCKET=${DOCKER_SOCKET:-/host/run/docker.sock}
export LISTEN=${LISTEN:-:2375}
here=$(dirname "$(readlink -f "$0")")

if [ "${1:-}" = check ]; then
  exec 3<>"/dev/tcp/127.0.0.1/${LISTEN##*:}"
  printf 'GET /_ping HTTP/1.0\r\n\r\n' >&3
  read -r _ status _ <&3
  [ "$status" = 200 ]
  exit
fi

quoted=
for name in ${OLLAMA_CONTAINER:-}; do
  if ! [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]]; then
    echo "Error: OLLAMA_CONTAINER: $name is not a valid container name" >&2
    exit 2
  fi
  quoted=$quoted${quoted:+%2C}%22$name%22
done
if [ -z "$quoted" ]; then
  echo "Error: OLLAMA_CONTAINER names no container" >&2
  exit 2
fi
export EVENT_FILTERS="%7B%22type%22%3A%5B%22container%22%5D%2C%22container%22%3A%5B$quoted%5D%7D"
exec haproxy -W -q -f "$here/haproxy.cfg"
