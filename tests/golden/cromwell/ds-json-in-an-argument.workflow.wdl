version 1.0

task plugin_instance {
  command <<<
exec 2>&1 </dev/null
__pman_nl=$(printf '\012x'); __pman_nl=${__pman_nl%x}; __pman_cr=$(printf '\015')
test -z "$IMAGE_WORKDIR" || cd "$IMAGE_WORKDIR" || exit 126
unset IMAGE_WORKDIR
export CHRIS_USER_TOKEN=vjecd9Rk
export HOME=/tmp
exec dicom_headeredit --tagStruct '{"PatientName": "%_name|patientID_PatientName", "PatientID": "%_md5|7_PatientID", "re:.*hysician": "#tag: '"'"'x'"'"'"}' --yaml 'key: [a, b]'"$__pman_nl"'- c: *anchor' --jinja '{{ 7 * 7 }} {% raw %} ~''{x} ${y} $(z)' /share/incoming /share/outgoing
  >>>
  runtime {
    docker: "docker.io/fnndsc/pl-dicom_headeredit:1.0.0"
    docker_user: "1001:1002"
    shm_size: 64  # MiB
    cpu: 1  # millicores -> whole cores, which SLURM hands out
    millicores: 1000  # the container's own limit
    memory: "200 MiB"
    number_of_workers: 1
    timelimit: 90  # minutes
    slurm_partition: "short"
    slurm_constraint: "gpu&rack1"
    storebase: "/srv/storebase"  # below it, the nodes follow no link
    inputdir_source: "/srv/storebase/key-chris-jid-10/incoming"
    inputdir_target: "/share/incoming"  # read-only
    outputdir_source: "/srv/storebase/key-chris-jid-10/outgoing"
    outputdir_target: "/share/outgoing"
    jid: "chris-jid-10"
  }
}

workflow ChRISJob {
  call plugin_instance
}
