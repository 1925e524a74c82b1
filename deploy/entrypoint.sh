#!/bin/sh
# What the image runs: `rnnsearch`, as a node of the Ray cluster at RAY_ADDRESS if there is one.
#
# The process that directs a study on a cluster has to be on one of its nodes. This node offers no
# CPUs, so that trials run on the workers. Commands that only read a study do without.
set -eu
for word; do
  case $word in
    start | resume | extend)
      if [ -n "${RAY_ADDRESS:-}" ]; then
        ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 \
          --object-store-memory=1000000000 --disable-usage-stats >/dev/null
      fi
      break
      ;;
  esac
done
exec rnnsearch "$@"
