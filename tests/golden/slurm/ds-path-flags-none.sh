#!/bin/bash
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-9
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
  alone
  export CHRIS_USER_TOKEN=vjecd9Rk
  export HOME=/tmp
  exec mri_convert --verbose --in /srv/storebase/key-chris-jid-9/incoming --mask=cube/mask --n 3 --out /srv/storebase/key-chris-jid-9/incoming /srv/storebase/key-chris-jid-9/incoming /srv/storebase/key-chris-jid-9/outgoing
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
