#!/bin/sh
# Runs pman as the user `pman`, never as root, with the one group that may use the engine's socket.
# A container that was started as another user (Kubernetes' runAsNonRoot) runs as that one.
set -eu

if [ "$(id -u)" -ne 0 ]; then
    exec pman "$@"
fi

address=${CONTAINER_HOST:-${DOCKER_HOST:-unix:///var/run/docker.sock}}
socket=${address#unix://}
if [ -S "$socket" ]; then
    exec setpriv --reuid=pman --regid=pman --groups="$(stat -c %g "$socket")" --no-new-privs -- pman "$@"
fi
exec setpriv --reuid=pman --regid=pman --clear-groups --no-new-privs -- pman "$@"
