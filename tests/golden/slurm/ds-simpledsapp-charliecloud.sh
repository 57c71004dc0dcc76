#!/bin/bash
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-1
finish() { echo "$?" >"$directory/rc.new" && mv "$directory/rc.new" "$directory/rc"; }
trap finish EXIT
if ! mkdir "$directory/begun" 2>/dev/null && [ -e "$directory/begun" ]; then
  echo "pman: a node failed or the job was preempted, and SLURM began it anew; a job runs only once"
  exit 75
fi
stop() { :; }
alone() {  # without what slurmd and the script have in their environment
  for name in $(compgen -e); do
    case $name in PATH | USER | LANG | CUDA_VISIBLE_DEVICES | SLURM_JOB_ID | SLURM_PROCID) ;; *) unset "$name" ;; esac
  done
}
more() {
  options=()
}

run() {
  export USER=${USER:-$(id -un)}
  ch-image list localhost/fnndsc/pl-simpledsapp:1.0.3 >/dev/null 2>&1 || ch-image pull localhost/fnndsc/pl-simpledsapp:1.0.3 || exit 125
  more
  set -- "$(command -v ch-run)" "${options[@]}"
  alone
  unset options
  export CHRIS_USER_TOKEN=vjecd9Rk
  export HOME=/tmp
  exec "$@" --write-fake --cd / --bind /srv/storebase/key-chris-jid-1/incoming:/share/incoming --bind /srv/storebase/key-chris-jid-1/outgoing:/share/outgoing \
    localhost/fnndsc/pl-simpledsapp:1.0.3 -- simpledsapp --prefix le --sleepLength 2 /share/incoming /share/outgoing
}

work() {
  trap 'stop >/dev/null 2>&1' TERM
  run &
  wait "$!"
  code=$?
  wait
  exit "$code"
}
work
