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
  mkdir -p "$directory/bundle" && printf %s '{"ociVersion": "1.0.0", "root": {"path": "/srv/storebase/.pman/images/localhost/fnndsc/pl-simpledsapp:1.0.3", "readonly": true}, "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}, "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}, {"destination": "/share/incoming", "type": "none", "source": "/srv/storebase/key-chris-jid-1/incoming", "options": ["rbind", "ro"]}, {"destination": "/share/outgoing", "type": "none", "source": "/srv/storebase/key-chris-jid-1/outgoing", "options": ["rbind", "rw"]}], "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "user"}]}}' >"$directory/bundle/config.json" || exit 125
  more
  set -- "$(command -v srun)" --ntasks 1 --cpus-per-task 1 --kill-on-bad-exit=0 "${options[@]}" --container "$directory/bundle"
  unset options names  # an array is not exported, whatever a job's variable of that name is
  export CHRIS_USER_TOKEN=vjecd9Rk
  export HOME=/tmp
  exec "$@" simpledsapp --prefix le --sleepLength 2 /share/incoming /share/outgoing
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
