#!/usr/bin/env bash
# What AWS's Ray Serve container does as its first process, /usr/local/bin/sagemaker_entrypoint.sh (aws/deep-learning-
# containers), in its order: no trap, so that SIGTERM is ignored as the kernel ignores it for the first process of a
# container; the adapter in the foreground. Run by serving_container.py in namespaces of its own: processes, mounts, and a
# network with nothing but loopback.
package=$1
set -e
ip link set lo up
# The model is read-only, below the path that it has on SageMaker.
mount -t tmpfs none /opt
mkdir -p /opt/ml/model
mount --bind "$package" /opt/ml/model
mount -o remount,ro,bind /opt/ml/model
cd /opt/ml/model
export PYTHONPATH="/opt/ml/model:/opt/ml/model/code:$PYTHONPATH"

ray start --head --port=6379 --include-dashboard=False --node-ip-address=127.0.0.1
sleep 5
serve start --http-host=127.0.0.1 --http-port=8000
sleep 5
serve run /opt/ml/model/config.yaml &
sleep 5
python -m kennel.local.sagemaker.adapter --port 8080
