#!/bin/sh
# repro-kubernetes: jobs of Kubernetes for `repro` (kubernetes.toml). `submit NAME OPTIONS...` takes
# the script on standard input; `state` writes a line for each pod.
set -eu
case "$1" in
submit)
    name=$2
    shift 2
    limits='' deadline=86400 image=''
    for option; do
        case "$option" in
        deadline=*) deadline=${option#*=} ;;
        image=*) image=${option#*=} ;;
        *) limits="$limits
            ${option%%=*}: \"${option#*=}\"" ;;
        esac
    done
    script=$(base64 | tr -d '\n')
    kubectl create -o name -f - <<END
apiVersion: batch/v1
kind: Job
metadata:
  name: $name
  labels: {app: repro}
spec:
  backoffLimit: 0
  activeDeadlineSeconds: $deadline
  ttlSecondsAfterFinished: 3600
  template:
    metadata:
      labels: {app: repro}
    spec:
      restartPolicy: Never
      containers:
      - name: main
        image: $image
        command: [sh, -c, "echo \$SCRIPT | base64 -d > /tmp/script; exec sh /tmp/script"]
        env:
        - {name: SCRIPT, value: $script}
        resources:
          limits:$limits
END
    ;;
state)
    kubectl get pods -l app=repro -o jsonpath='{range .items[*]}{.metadata.labels.job-name}|{.status.phase}|{.status.containerStatuses[0].state.terminated.reason}|{.spec.nodeName}{"\n"}{end}'
    ;;
esac
