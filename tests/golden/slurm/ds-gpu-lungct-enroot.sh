#!/bin/bash
# shellcheck disable=SC2034,SC2317  # a site's blocks may use what those that pman ships do not
exec </dev/null
directory=/srv/storebase/.pman/jobs/chris-jid-6
apart=  # yes: run finds the directories at "$incoming" and "$outgoing" once it has entered by "${inside[@]}"
anew=
finish() {  # the first code stands, but for that of a run that is no more than this: the one before may still be ending
  echo "$?" >"$directory/rc.$$" && mv ${anew:--n} "$directory/rc.$$" "$directory/rc"
}
trap finish EXIT
if ! mkdir "$directory/begun" 2>/dev/null && [ -e "$directory/begun" ]; then
  anew=-f
  echo "pman: a node failed or the job was preempted, and SLURM began it anew; a job runs only once"
  exit 75
fi
stop() { :; }
alone() {  # without what slurmd and the script have in their environment
  for name in $(compgen -e); do
    case $name in PATH | USER | LANG | CUDA_VISIBLE_DEVICES | SLURM_JOB_ID | SLURM_PROCID) ;; *) unset "$name" ;; esac
  done
}
refuse() {  # a sentence, which pman reads: the job is not run
  echo "pman: $1" >&2
  printf %s "$1" >"$directory/asked"
  exit 78
}
compare() {  # the open directory $1 is $3 in the storebase itself, and none that pman keeps its jobs in
  local base real own
  base=$(cd -P /srv/storebase && pwd -P)
  real=$(readlink "/proc/self/fd/$1")
  [ "$real" = "${base%/}/$3" ] || refuse "$2 leads elsewhere by a link: ${base%/}/$3 is $real"
  own=$(cd -P "$directory/../.." && pwd -P)
  for own in "$own"/{jobs,aside,images}; do
    [[ $own/ != "$real"/* && $real/ != "$own"/* ]] || refuse "$2: the directories of the jobs are there, in $own"
  done
}
hold() {
  exec 8</srv/storebase/key-chris-jid-6/incoming/. || refuse "input_dir cannot be opened on the node"
  exec 9</srv/storebase/key-chris-jid-6/outgoing/. || refuse "output_dir cannot be opened on the node"
  compare 8 input_dir key-chris-jid-6/incoming
  compare 9 output_dir key-chris-jid-6/outgoing
}
more() {
  options=()
}

run() {
  more
  set -- "$(command -v srun)" --ntasks 1 --cpus-per-task 4 --kill-on-bad-exit=0 "${options[@]}" \
    --container-image 'docker.io#fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f' --no-container-entrypoint --no-container-mount-home \
    --container-mounts /srv/storebase/key-chris-jid-6/incoming:/share/incoming:ro,/srv/storebase/key-chris-jid-6/outgoing:/share/outgoing
  names=()
  names+=(CHRIS_USER_TOKEN)
  names+=(CUDA_VISIBLE_DEVICES)
  names+=(OMP_NUM_THREADS)
  names+=(HOME)
  set -- "$@" --container-env "$(IFS=,; echo "${names[*]}")"
  unset options names  # an array is not exported, whatever a job's variable of that name is
  export CHRIS_USER_TOKEN=vjecd9Rk
  export CUDA_VISIBLE_DEVICES=0
  export OMP_NUM_THREADS=4
  export HOME=/tmp
  exec "$@" lungct --inputImage chest-ct.nii.gz /share/incoming /share/outgoing
}

work() {
  if [ "$apart" ]; then enter; else hold; fi
  trap 'stop >/dev/null 2>&1' TERM
  run 8<&- 9<&- &
  worker=$!
  wait "$worker"
  code=$?
  wait "$worker"
  [ -z "$keeper" ] || kill "$keeper"
  exit "$code"
}
work
