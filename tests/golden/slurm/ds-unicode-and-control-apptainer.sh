#!/bin/bash
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-8
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
  more
  export APPTAINERENV_CHRIS_USER_TOKEN=vjecd9Rk
  export 'APPTAINERENV_NAME=Ł🧠
'
  exec apptainer exec --containall --writable-tmpfs --no-eval --pwd / \
    --mount 'type=bind,source=/srv/storebase/home/Łukasz/Bilder für 🧠/ein,destination=/share/incoming,ro' \
    --mount type=bind,source=/srv/storebase/key-chris-jid-8/outgoing,destination=/share/outgoing \
     "${options[@]}" docker://docker.io/fnndsc/pl-simpledsapp:2.1.0 \
env HOME=/tmp simpledsapp --patient 'Grünwald, Łukasz 🧠 王' --rtl 'שלום' --control 'tab	newline
crescape[31mdelnelsep bom﻿' --empty '' /share/incoming /share/outgoing
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
