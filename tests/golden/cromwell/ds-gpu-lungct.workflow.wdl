version 1.0

task plugin_instance {
  command <<<
exec 2>&1 </dev/null
__pman_nl=$(printf '\012x'); __pman_nl=${__pman_nl%x}; __pman_cr=$(printf '\015')
test -z "$IMAGE_WORKDIR" || cd "$IMAGE_WORKDIR" || exit 126
unset IMAGE_WORKDIR
export CHRIS_USER_TOKEN=vjecd9Rk
export CUDA_VISIBLE_DEVICES=0
export OMP_NUM_THREADS=4
export HOME=/tmp
exec lungct --inputImage chest-ct.nii.gz /share/incoming /share/outgoing
  >>>
  runtime {
    docker: "docker.io/fnndsc/pl-lungct@sha256:4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
    docker_user: "1001:1002"
    shm_size: 64  # MiB
    cpu: 4  # millicores -> whole cores, which SLURM hands out
    millicores: 4000  # the container's own limit
    memory: "16384 MiB"
    gpu_limit: 1  # not gpu, which is WDL's own
    number_of_workers: 1
    timelimit: 90  # minutes
    slurm_partition: "short"
    slurm_constraint: "gpu&rack1"
    storebase: "/srv/storebase"  # below it, the nodes follow no link
    inputdir_source: "/srv/storebase/key-chris-jid-6/incoming"
    inputdir_target: "/share/incoming"  # read-only
    outputdir_source: "/srv/storebase/key-chris-jid-6/outgoing"
    outputdir_target: "/share/outgoing"
    jid: "chris-jid-6"
  }
}

workflow ChRISJob {
  call plugin_instance
}
