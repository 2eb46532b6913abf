#!/bin/sh
# Every peer check, each with fresh random models: builds a virtual environment where there is none, then
# runs tests/peer/*.py but what they share, and accuracy.py (a table); then the checks of pretraining, in the same
# environment. VDM_VENV names one that is there already.
set -eu
cd "$(dirname "$0")/../.."
venv=${VDM_VENV:-build/venv}
here=tests/peer
if ! "$venv/bin/python" -c 'import torch, diffusers, peft, transformers, sentencepiece, skimage, sklearn, pycocotools' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q torch==2.13.0
    "$venv/bin/pip" install -q -r $here/requirements.txt
fi
programs=
for script in $here/*.py; do
    case $script in
    */common.py | */accuracy.py) ;;
    *) programs="$programs $script" ;;
    esac
done
# Scripts run side by side (tests/run.sh): a thread each, since PyTorch's threads wait for each other by spinning.
export OMP_NUM_THREADS=1
export PYTHON="$venv/bin/python" VDM_PEER_FULL=1 VDM="${VDM_PEER_BUILD:-build/peer}/vdm"
exec tests/run.sh $programs python/pretrain/test_pretrain.py
